// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // renameat2
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static bool err_of_file(struct err *err, const char *path, const char *what)
{
    return err_set(err, "%s: %s: %s", path, what, strerror(errno));
}

bool ca_file_read(char **out_text, size_t *out_len, const char *path, size_t len_max,
                  struct err *err)
{
    *out_text = NULL;
    *out_len = 0;
    bool ok = false;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err_of_file(err, path, "can't be opened");
        goto out;
    }
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        err_set(err, "%s: not a regular file", path);
        goto out;
    }
    if (st.st_size < 0 || (uint64_t)st.st_size > len_max) {
        err_set(err, "%s: %lld bytes, more than %zu", path, (long long)st.st_size, len_max);
        goto out;
    }
    size_t len = (size_t)st.st_size;
    text = malloc(len + 1);
    if (text == NULL) {
        err_set(err, "out of memory");
        goto out;
    }
    size_t num_read = 0;
    while (num_read < len) {
        ssize_t n = read(fd, text + num_read, len - num_read);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            err_of_file(err, path, "can't be read");
            goto out;
        }
        if (n == 0) {
            break; // it became shorter while it was read
        }
        num_read += (size_t)n;
    }
    text[num_read] = '\0';
    *out_text = text;
    *out_len = num_read;
    text = NULL;
    ok = true;
out:
    free(text);
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static bool write_all(int fd, const char *text)
{
    size_t len = strlen(text);
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        text += n;
        len -= (size_t)n;
    }
    return fsync(fd) == 0;
}

bool ca_draft_write(struct ca_draft *out, const char *path, const char *text, mode_t mode,
                    struct err *err)
{
    *out = (struct ca_draft){0};
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, 0) != sizeof number) {
        return err_set(err, "no random number for the name of a draft");
    }
    if (snprintf(out->path, sizeof out->path, "%s", path) >= (int)sizeof out->path ||
        snprintf(out->temp, sizeof out->temp, "%s.draft-%016llx", path,
                 (unsigned long long)number) >= (int)sizeof out->temp) {
        out->temp[0] = '\0';
        return err_set(err, "%.100s...: the path is too long", path);
    }
    int fd = open(out->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        err_of_file(err, path, "can't be created");
        out->temp[0] = '\0';
        return false;
    }
    bool ok = write_all(fd, text);
    int error = errno;
    ok = close(fd) == 0 && ok;
    if (!ok) {
        errno = error;
        err_of_file(err, path, "can't be written");
        ca_draft_abandon(out);
    }
    return ok;
}

// A name is on the disk only when its folder is.
static void sync_folder(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

bool ca_draft_commit(struct ca_draft *draft, bool can_replace, struct err *err)
{
    int rc =
        renameat2(AT_FDCWD, draft->temp, AT_FDCWD, draft->path, can_replace ? 0 : RENAME_NOREPLACE);
    if (rc != 0 && !can_replace && (errno == EINVAL || errno == ENOSYS)) {
        // A file system without that flag: a second name, which also never replaces, and then one
        // name less.
        rc = link(draft->temp, draft->path);
        if (rc == 0) {
            unlink(draft->temp);
        }
    }
    if (rc != 0) {
        return errno == EEXIST
                   ? err_set(err, "%s: is there already and is not overwritten", draft->path)
                   : err_of_file(err, draft->path, "can't be put in its place");
    }
    draft->temp[0] = '\0';
    draft->is_in_place = !can_replace;
    sync_folder(draft->path);
    return true;
}

void ca_draft_abandon(struct ca_draft *draft)
{
    if (draft->temp[0] != '\0') {
        unlink(draft->temp);
    } else if (draft->is_in_place) {
        unlink(draft->path);
    }
    *draft = (struct ca_draft){0};
}

bool ca_file_write(const char *path, const char *text, mode_t mode, bool can_replace,
                   struct err *err)
{
    struct ca_draft draft;
    if (!ca_draft_write(&draft, path, text, mode, err)) {
        return false;
    }
    if (!ca_draft_commit(&draft, can_replace, err)) {
        ca_draft_abandon(&draft);
        return false;
    }
    return true;
}

bool ca_file_is_free(const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) == 0) {
        return err_set(err, "%s: is there already and is not overwritten", path);
    }
    return errno == ENOENT || err_of_file(err, path, "can't be looked at");
}
