// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // renameat2
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret/secret.h"

// A file's times come from a clock that ticks every 10 ms at the slowest.
#define RECENT_NS 20000000
#define READ_FLAGS                                                                                 \
    (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) // O_NONBLOCK: a FIFO without writer would wait

static int64_t ns_of(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

static struct file_stamp stamp_of(const struct stat *st)
{
    return (struct file_stamp){.dev = (uint64_t)st->st_dev,
                               .ino = (uint64_t)st->st_ino,
                               .size = (uint64_t)st->st_size,
                               .mtime_ns = ns_of(&st->st_mtim),
                               .ctime_ns = ns_of(&st->st_ctim)};
}

bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->error == b->error && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

bool file_stamp_is_recent(const struct file_stamp *stamp, int64_t began_ns, int64_t ended_ns)
{
    // What lies further ahead is of a file server whose clock is, and never becomes older.
    return stamp->ctime_ns > began_ns - RECENT_NS && stamp->ctime_ns < ended_ns + RECENT_NS;
}

struct file_stamp file_look(const char *path, const struct file_stamp *before)
{
    struct stat st;
    if (before->error != 0) {
        int fd = open(path, READ_FLAGS);
        if (fd < 0) {
            return (struct file_stamp){.error = errno};
        }
        close(fd);
    }
    if (stat(path, &st) != 0) {
        return (struct file_stamp){.error = errno};
    }
    return stamp_of(&st);
}

static bool fail_long(size_t len_max, struct err *err)
{
    if (len_max % (1u << 20) == 0) {
        return err_set(err, "is over the limit of %zu MiB", len_max >> 20);
    }
    return err_set(err, "is over the limit of %zu bytes", len_max);
}

static bool check_stat(const struct stat *st, size_t len_max, enum file_care care, struct err *err)
{
    if (!S_ISREG(st->st_mode)) {
        return err_set(err, "is %s, not a regular file",
                       S_ISDIR(st->st_mode)    ? "a directory"
                       : S_ISFIFO(st->st_mode) ? "a FIFO"
                       : S_ISSOCK(st->st_mode) ? "a socket"
                                               : "a device");
    }
    if (care == FILE_OURS && (st->st_uid != geteuid() || (st->st_mode & 022) != 0)) {
        return err_set(err, "others may write to it: it must be ours alone, mode 0600");
    }
    return (uint64_t)st->st_size <= len_max || fail_long(len_max, err);
}

// Reads to the end, whatever stat said of the size.
static bool read_all(struct file *file, int fd, size_t len_max, enum file_care care,
                     struct err *err)
{
    // One byte over the limit tells a file that is too long.
    size_t cap = file->stamp.size < len_max ? file->stamp.size + 1 : len_max + 1;
    for (;;) {
        // Not realloc: what it leaves behind may be a key.
        char *bytes = care == FILE_SECRET ? secret_alloc(cap + 1) : malloc(cap + 1);
        if (bytes == NULL) {
            return err_set(err, "out of memory for %zu bytes", cap);
        }
        if (file->len > 0) {
            memcpy(bytes, file->bytes, file->len);
        }
        secret_free(file->bytes);
        file->bytes = bytes;
        while (file->len < cap) {
            ssize_t got = read(fd, bytes + file->len, cap - file->len);
            if (got < 0 && errno == EINTR) {
                continue;
            }
            if (got < 0) {
                return err_set(err, "%s", strerror(errno));
            }
            if (got == 0) {
                bytes[file->len] = '\0';
                return true;
            }
            file->len += (size_t)got;
        }
        if (file->len > len_max) {
            return fail_long(len_max, err);
        }
        cap = cap * 2 < len_max ? cap * 2 : len_max + 1;
    }
}

// Takes the byte order mark away that editors of Windows write before UTF-8. A reader that passed
// over the line it stands in would lose a certificate or a key.
static bool take_mark(struct file *file, struct err *err)
{
    if (file->len >= 2 &&
        (memcmp(file->bytes, "\xff\xfe", 2) == 0 || memcmp(file->bytes, "\xfe\xff", 2) == 0)) {
        return err_set(err, "is UTF-16: write it as UTF-8");
    }
    if (file->len >= 3 && memcmp(file->bytes, "\xef\xbb\xbf", 3) == 0) {
        file->len -= 3;
        memmove(file->bytes, file->bytes + 3, file->len + 1);
    }
    return true;
}

static bool read_open(struct file *out, int fd, size_t len_max, enum file_care care,
                      struct err *err)
{
    *out = (struct file){0};
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        out->stamp.error = errno;
        return err_set(err, "%s",
                       errno == ENXIO ? "is a socket, not a regular file" : strerror(errno));
    }
    out->stamp = stamp_of(&st);
    bool ok = check_stat(&st, len_max, care, err) && read_all(out, fd, len_max, care, err) &&
              take_mark(out, err);
    if (!ok) {
        struct file_stamp stamp = out->stamp;
        file_cleanup(out);
        out->stamp = stamp;
    }
    return ok;
}

int file_open(const char *path)
{
    return open(path, READ_FLAGS);
}

bool file_read_fd(struct file *out, int fd, size_t len_max, enum file_care care, struct err *err)
{
    return read_open(out, fd, len_max, care, err);
}

bool file_read(struct file *out, const char *path, size_t len_max, enum file_care care,
               struct err *err)
{
    int fd = open(path, READ_FLAGS | (care == FILE_NO_LINK || care == FILE_OURS ? O_NOFOLLOW : 0));
    bool ok = read_open(out, fd, len_max, care, err);
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

void file_cleanup(struct file *file)
{
    secret_free(file->bytes);
    *file = (struct file){0};
}

bool file_read_text(char **out_text, size_t *out_len, const char *path, size_t len_max,
                    struct err *err)
{
    struct file file;
    bool ok = file_read(&file, path, len_max, FILE_ANY, err) || err_prefix(err, "%s", path);
    *out_text = file.bytes;
    *out_len = file.len;
    return ok;
}

static bool err_of_file(struct err *err, const char *path, const char *what)
{
    return err_set(err, "%s: %s: %s", path, what, strerror(errno));
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

// Writes a file that is not there yet. false sets err about `path`, and leaves nothing behind.
static bool write_new(const char *temp, const char *path, const char *bytes, size_t len,
                      mode_t mode, bool is_durable, struct err *err)
{
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        return err_of_file(err, path, "can't be created");
    }
    // The umask of whoever runs a program must not decide whether another one can read its file.
    bool ok = fchmod(fd, mode) == 0 && write_all(fd, bytes, len) && (!is_durable || fsync(fd) == 0);
    int error = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        error = errno;
    }
    if (!ok) {
        unlink(temp);
        errno = error;
        return err_of_file(err, path, "can't be written");
    }
    return true;
}

// A file's new name is on the disk only once its folder is.
static bool sync_folder(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

bool file_draft_write(struct file_draft *out, const char *path, const char *text, mode_t mode,
                      struct err *err)
{
    *out = (struct file_draft){0};
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
    if (!write_new(out->temp, path, text, strlen(text), mode, true, err)) {
        out->temp[0] = '\0';
        return false;
    }
    return true;
}

bool file_draft_commit(struct file_draft *draft, bool can_replace, struct err *err)
{
    int rc =
        renameat2(AT_FDCWD, draft->temp, AT_FDCWD, draft->path, can_replace ? 0 : RENAME_NOREPLACE);
    if (rc != 0 && !can_replace && (errno == EINVAL || errno == ENOSYS)) {
        // This file system can't do that in one step. link(2) doesn't replace a file either.
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

void file_draft_abandon(struct file_draft *draft)
{
    if (draft->temp[0] != '\0') {
        unlink(draft->temp);
    } else if (draft->is_in_place) {
        unlink(draft->path);
    }
    *draft = (struct file_draft){0};
}

bool file_write_text(const char *path, const char *text, mode_t mode, bool can_replace,
                     struct err *err)
{
    struct file_draft draft;
    if (!file_draft_write(&draft, path, text, mode, err)) {
        return false;
    }
    if (!file_draft_commit(&draft, can_replace, err)) {
        file_draft_abandon(&draft);
        return false;
    }
    return true;
}

bool file_replace(const char *path, const void *bytes, size_t len, bool is_durable, struct err *err)
{
    char temp[PATH_MAX];
    if (snprintf(temp, sizeof temp, "%s.new", path) >= (int)sizeof temp) {
        return err_set(err, "%.100s...: the path is too long", path);
    }
    unlink(temp);
    if (!write_new(temp, path, bytes, len, 0600, is_durable, err)) {
        return false;
    }
    if (rename(temp, path) != 0 || (is_durable && !sync_folder(path))) {
        err_of_file(err, path, "can't be put in its place");
        unlink(temp);
        return false;
    }
    return true;
}

bool file_is_free(const char *path, struct err *err)
{
    struct stat st;
    if (lstat(path, &st) == 0) {
        return err_set(err, "%s: is there already and is not overwritten", path);
    }
    return errno == ENOENT || err_of_file(err, path, "can't be looked at");
}
