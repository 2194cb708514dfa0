// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // F_OFD_SETLK, asprintf
#include "control/intercept/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/must.h"

#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

enum {
    WORDS_MAX = 4096,
    TURN_TRIES = 100, // for as many hundredths of a second another `up` or `down` is waited for
};

static bool path_of(char out[PATH_MAX], struct err *err)
{
    uint64_t cookie = 0;
    socklen_t len = sizeof cookie;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int error = fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) != 0;
    error = error ? errno : 0;
    if (fd >= 0) {
        close(fd);
    }
    snprintf(out, PATH_MAX, RECORD_FOLDER "/%" PRIu64, cookie);
    return error == 0 ||
           err_set(err, "this kernel doesn't tell network namespaces apart: %s", strerror(error));
}

static int turn_open(int flags)
{
    char path[PATH_MAX];
    char *lock = NULL;
    if (!path_of(path, NULL)) {
        return -1;
    }
    must_have(asprintf(&lock, "%s.lock", path) < 0 ? NULL : lock);
    int fd = open(lock, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    free(lock);
    return fd;
}

int record_begin(void)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    mkdir(RECORD_FOLDER, 0700);
    int fd = turn_open(O_WRONLY | O_CREAT);
    for (int i = 0; fd >= 0 && fcntl(fd, F_OFD_SETLK, &whole) != 0; i++) {
        if (i == TURN_TRIES) {
            close(fd);
            return -1;
        }
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    if (fd >= 0) {
        futimens(fd, NULL);
    }
    return fd;
}

void record_end(int turn)
{
    if (turn >= 0) {
        close(turn);
    }
}

struct record_turn record_turn(void)
{
    struct record_turn turn = {0};
    struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    struct stat stat;
    int fd = turn_open(O_RDONLY);
    if (fd < 0) {
        return turn;
    }
    turn.is_under_way = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    if (fstat(fd, &stat) == 0) {
        turn.begun_ns = stat.st_mtim.tv_sec * 1000000000LL + stat.st_mtim.tv_nsec;
    }
    close(fd);
    return turn;
}

// Writes the first line, which tells this boot of the machine.
static bool put_boot(FILE *out, struct err *err)
{
    char id[64] = "";
    FILE *file = fopen(BOOT_ID_PATH, "re");
    size_t len = file == NULL ? 0 : fread(id, 1, sizeof id - 1, file);
    if (file != NULL) {
        fclose(file);
    }
    id[len] = '\0';
    id[strcspn(id, "\n")] = '\0';
    fprintf(out, "boot %s\n", id);
    return id[0] != '\0' || err_set(err, BOOT_ID_PATH " can't be read");
}

static bool write_words(const char *words, struct err *err)
{
    char path[PATH_MAX];
    char *text = NULL;
    size_t len = 0;
    if (!path_of(path, err)) {
        return false;
    }
    bool is_made = mkdir(RECORD_FOLDER, 0700) == 0 || errno == EEXIST;
    if (!is_made || access(RECORD_FOLDER, W_OK) != 0) {
        int error = errno;
        char *other = record_read(NULL);
        bool is_other = other != NULL && strcmp(other, words) != 0;
        free(other);
        // Without a record nothing is put back; with an older one, what nobody asks for any more.
        return (error == EROFS && !is_other) ||
               err_set(err, RECORD_FOLDER "%s: %s", is_other ? ", which has other flags" : "",
                       strerror(error));
    }
    FILE *out = must_have(open_memstream(&text, &len));
    bool good = put_boot(out, err);
    fprintf(out, "%s", words);
    must_have(fclose(out) == 0 ? text : NULL);
    good = good && file_write_text(path, text, 0600, true, err);
    free(text);
    return good;
}

bool record_write(int argc, char **argv, struct err *err)
{
    char *words = NULL;
    size_t len = 0;
    FILE *out = must_have(open_memstream(&words, &len));
    for (int i = 1; i < argc; i++) {
        fprintf(out, "%s\n", argv[i]);
    }
    must_have(fclose(out) == 0 ? words : NULL);
    bool good = write_words(words, err);
    free(words);
    return good;
}

char *record_read(struct err *err)
{
    char path[PATH_MAX];
    struct file file = {0};
    char *boot = NULL;
    size_t len = 0;
    char *words = NULL;
    struct err why = {{0}, {0}};
    if (!path_of(path, NULL)) {
        return NULL;
    }
    FILE *out = must_have(open_memstream(&boot, &len));
    bool good = put_boot(out, err);
    must_have(fclose(out) == 0 ? boot : NULL);
    if (good && file_read(&file, path, RECORD_BYTES_MAX, FILE_OURS, &why)) {
        bool is_of_this_boot = strncmp(file.bytes, boot, len) == 0;
        words = is_of_this_boot ? must_strdup(file.bytes + len) : NULL;
    } else if (good && file.stamp.error != ENOENT) {
        err_set(err, "%s: %s", path, why.text);
    }
    file_cleanup(&file);
    free(boot);
    return words;
}

void record_restore(const char *words)
{
    char path[PATH_MAX];
    if (words != NULL) {
        write_words(words, NULL);
    } else if (path_of(path, NULL)) {
        unlink(path);
    }
}

bool record_parse(struct asked *out, const char *words, struct err *err)
{
    char *copy = must_strdup(words);
    char *rest = NULL;
    char **argv = must_alloc(WORDS_MAX + 1, sizeof *argv);
    int argc = 1; // argv[0] is the program's place
    for (char *word = strtok_r(copy, "\n", &rest); word != NULL && argc < WORDS_MAX;
         word = strtok_r(NULL, "\n", &rest)) {
        argv[argc++] = word;
    }
    bool good = asked_parse(out, argc, argv, err);
    out->action = NULL;
    free(argv);
    free(copy);
    return good;
}
