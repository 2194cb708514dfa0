// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/token.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/data/hex.h"
#include "base/file.h"
#include "base/log.h"

#define RANDOM_LEN   32
#define HOLDER_LEN   8
#define NAME_LEN     (2 * SHA256_DIGEST_LENGTH)
#define LINE_LEN_MAX (SPIFFE_ID_LEN_MAX + 32 + TOKEN_CERTIFICATES_MAX)
#define COUNTED      '.' // behind the line, one for each certificate

_Static_assert(sizeof((struct token_name *)0)->text == NAME_LEN + 1, "a name fits");
_Static_assert(sizeof((struct token_name *)0)->holder == HEX_TEXT_LEN(HOLDER_LEN), "a holder fits");

static void name_of(char out[NAME_LEN + 1], const char *token)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)token, strlen(token), digest);
    hex_text(digest, sizeof digest, out);
}

static bool make_folders(const char *dir, struct err *err)
{
    static const char *const names[] = {"tokens", "tokens/held", "tokens/used"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            return err_set(err, "%s: can't be made a folder: %s", path, strerror(errno));
        }
    }
    return true;
}

bool token_make(char out[TOKEN_TEXT_MAX], const char *dir, const char *spiffe_id, time_t expires,
                struct err *err)
{
    uint8_t bytes[RANDOM_LEN];
    char name[NAME_LEN + 1], path[PATH_MAX], line[LINE_LEN_MAX];
    RAND_bytes(bytes, sizeof bytes);
    strcpy(out, TOKEN_PREFIX);
    hex_text(bytes, sizeof bytes, out + strlen(TOKEN_PREFIX));
    name_of(name, out);
    snprintf(path, sizeof path, "%s/tokens/%s", dir, name);
    snprintf(line, sizeof line, "%s %lld\n", spiffe_id, (long long)expires);
    return make_folders(dir, err) && file_write_text(path, line, 0600, false, err);
}

// Reads a token's file: its first word is the id, its second the time at which it expires.
static bool read_line(const char *path, char out_id[SPIFFE_ID_LEN_MAX + 1], time_t *out_expires,
                      struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    long long expires = 0;
    bool ok = file_read_text(&text, &len, path, LINE_LEN_MAX, err);
    char *blank = ok ? strchr(text, ' ') : NULL;
    ok = ok &&
         ((blank != NULL && (size_t)(blank - text) <= SPIFFE_ID_LEN_MAX &&
           sscanf(blank, " %lld", &expires) == 1) ||
          err_set(err, "%s: does not hold a SPIFFE id and the time at which it expires", path));
    if (ok) {
        memcpy(out_id, text, (size_t)(blank - text));
        out_id[blank - text] = '\0';
        *out_expires = (time_t)expires;
    }
    free(text);
    return ok;
}

// Where a token's file may be.
struct paths {
    char good[PATH_MAX];
    char held[PATH_MAX];
    char used[PATH_MAX];
};

static struct paths paths_of(const struct token_name *name, const char *dir)
{
    struct paths paths;
    snprintf(paths.good, PATH_MAX, "%s/tokens/%s", dir, name->text);
    snprintf(paths.held, PATH_MAX, "%s/tokens/held/%s-%s", dir, name->text, name->holder);
    snprintf(paths.used, PATH_MAX, "%s/tokens/used/%s", dir, name->text);
    return paths;
}

// Ends a hold that is older than any that a stream keeps. By whichever clock it was made: one that
// lies ahead of ours as far counts as old, too.
static bool end_old_hold(const char *held, const char *good, time_t now)
{
    struct stat st;
    if (stat(held, &st) != 0 || llabs((long long)(now - st.st_mtime)) <= TOKEN_HOLD_SECONDS ||
        rename(held, good) != 0) {
        return false;
    }
    log_info("msg=\"join token given back: whoever held it is gone\"");
    return true;
}

// Looks at who holds a token, or all of them (""), and ends the holds that are old by *now (NULL:
// none). Returns whether somebody still does.
static bool look_at_holds(const char *dir, const char *name, const time_t *now)
{
    char folder[PATH_MAX], held[PATH_MAX], good[PATH_MAX];
    bool is_held = false;
    snprintf(folder, sizeof folder, "%s/tokens/held", dir);
    DIR *open_folder = opendir(folder);
    for (struct dirent *entry; open_folder != NULL && (entry = readdir(open_folder)) != NULL;) {
        if (strlen(entry->d_name) < NAME_LEN || strncmp(entry->d_name, name, strlen(name)) != 0) {
            continue;
        }
        snprintf(held, sizeof held, "%s/tokens/held/%s", dir, entry->d_name);
        snprintf(good, sizeof good, "%s/tokens/%.*s", dir, NAME_LEN, entry->d_name);
        is_held = now == NULL || !end_old_hold(held, good, *now) || is_held;
    }
    if (open_folder != NULL) {
        closedir(open_folder);
    }
    return is_held;
}

// Says why a token is not there.
static enum token_result missing(const struct token_name *name, const char *dir, struct err *err)
{
    struct paths paths = paths_of(name, dir);
    if (access(paths.used, F_OK) == 0) {
        err_set(err, "the join token was used before; each admits one sidecar once");
        return TOKEN_USED;
    }
    if (look_at_holds(dir, name->text, NULL)) {
        err_set(err,
                "the join token has just admitted a sidecar that has not accepted its certificate "
                "yet: if it doesn't, the token is good again within %d seconds of its stream's end",
                TOKEN_HOLD_SECONDS);
        return TOKEN_HELD;
    }
    err_set(err, "the join token is not known here");
    return TOKEN_UNKNOWN;
}

enum token_result token_find(struct token_name *out, char out_id[SPIFFE_ID_LEN_MAX + 1],
                             const char *dir, const char *token, time_t now, struct err *err)
{
    time_t expires = 0;
    name_of(out->text, token);
    out->holder[0] = '\0';
    struct paths paths = paths_of(out, dir);
    bool is_good = access(paths.good, F_OK) == 0 || errno != ENOENT;
    if (!is_good) {
        look_at_holds(dir, out->text, &now);
    }
    if (!is_good && access(paths.good, F_OK) != 0 && errno == ENOENT) {
        return missing(out, dir, err);
    }
    if (!read_line(paths.good, out_id, &expires, err)) {
        return TOKEN_BROKEN;
    }
    if (now >= expires) {
        err_set(err, "the join token expired %lld seconds ago", (long long)(now - expires));
        return TOKEN_EXPIRED;
    }
    return TOKEN_OK;
}

static enum token_result move(const char *from, const char *to, const struct token_name *name,
                              const char *dir, struct err *err)
{
    if (rename(from, to) == 0) {
        return TOKEN_OK;
    }
    if (errno == ENOENT) {
        return missing(name, dir, err);
    }
    err_set(err, "the join token can't be used up: %s", strerror(errno));
    return TOKEN_BROKEN;
}

static bool touch(const char *path, time_t now)
{
    const struct timespec times[2] = {{.tv_sec = now}, {.tv_sec = now}};
    return utimensat(AT_FDCWD, path, times, 0) == 0;
}

enum token_result token_hold(struct token_name *name, const char *dir, time_t now, struct err *err)
{
    uint8_t bytes[HOLDER_LEN];
    RAND_bytes(bytes, sizeof bytes);
    hex_text(bytes, sizeof bytes, name->holder);
    struct paths paths = paths_of(name, dir);
    if (!make_folders(dir, err)) { // a policyd of before may have made them
        return TOKEN_BROKEN;
    }
    touch(paths.good, now); // if it isn't there the move fails
    return move(paths.good, paths.held, name, dir, err);
}

// Takes back what is held no more, if nobody else has it: the hold has grown old.
static enum token_result hold_again(const struct token_name *name, const struct paths *paths,
                                    const char *dir, time_t now, struct err *err)
{
    touch(paths->good, now);
    return move(paths->good, paths->held, name, dir, err);
}

enum token_result token_keep(const struct token_name *name, const char *dir, time_t now,
                             struct err *err)
{
    struct paths paths = paths_of(name, dir);
    return touch(paths.held, now) ? TOKEN_OK : hold_again(name, &paths, dir, now, err);
}

enum token_result token_count(const struct token_name *name, const char *dir, time_t now,
                              bool *out_is_spent, struct err *err)
{
    struct paths paths = paths_of(name, dir);
    const char counted = COUNTED;
    char *text = NULL;
    size_t len = 0;
    *out_is_spent = false;
    enum token_result result = token_keep(name, dir, now, err);
    if (result != TOKEN_OK) {
        return result;
    }
    int fd = open(paths.held, O_WRONLY | O_APPEND | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, &counted, 1) == 1;
    if (fd >= 0) {
        close(fd);
    }
    if (!ok) {
        err_set(err, "the join token's use can't be counted: %s", strerror(errno));
        return TOKEN_BROKEN;
    }
    touch(paths.held, now);
    if (!file_read_text(&text, &len, paths.held, LINE_LEN_MAX, err)) {
        return TOKEN_BROKEN;
    }
    size_t num = 0;
    while (num < len && text[len - 1 - num] == COUNTED) {
        num++;
    }
    free(text);
    *out_is_spent = num >= TOKEN_CERTIFICATES_MAX;
    return *out_is_spent ? move(paths.held, paths.used, name, dir, err) : TOKEN_OK;
}

enum token_result token_spend(const struct token_name *name, const char *dir, struct err *err)
{
    struct paths paths = paths_of(name, dir);
    if (rename(paths.held, paths.used) == 0) {
        return TOKEN_OK;
    }
    return move(paths.good, paths.used, name, dir, err); // the hold has grown old
}

void token_give_back(const struct token_name *name, const char *dir)
{
    struct paths paths = paths_of(name, dir);
    if (rename(paths.held, paths.good) != 0) {
        log_warn("msg=\"join token not given back\" error=\"%s\"", strerror(errno));
    }
}

static void sweep_folder(const char *folder, time_t now)
{
    char path[PATH_MAX], id[SPIFFE_ID_LEN_MAX + 1];
    DIR *open_folder = opendir(folder);
    time_t expires = 0;
    for (struct dirent *entry; open_folder != NULL && (entry = readdir(open_folder)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (strlen(entry->d_name) == NAME_LEN && read_line(path, id, &expires, NULL) &&
            now - expires > TOKEN_MEMORY_SECONDS) {
            unlink(path);
        }
    }
    if (open_folder != NULL) {
        closedir(open_folder);
    }
}

void token_sweep(const char *dir, time_t now)
{
    char path[PATH_MAX];
    look_at_holds(dir, "", &now);
    snprintf(path, sizeof path, "%s/tokens", dir);
    sweep_folder(path, now);
    snprintf(path, sizeof path, "%s/tokens/used", dir);
    sweep_folder(path, now);
}
