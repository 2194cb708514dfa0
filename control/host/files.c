// SPDX-License-Identifier: Apache-2.0
#include "control/host/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/must.h"
#include "base/now.h"
#include "base/secret/secret.h"

#define TRIES_MAX 5

static struct files_entry *add_entry(struct files *files, const char *name, const char *path)
{
    files->entries = must_grow(files->entries, files->num + 1, sizeof *files->entries);
    struct files_entry *entry = &files->entries[files->num++];
    *entry = (struct files_entry){.path = must_strdup(path)};
    entry->name = name == NULL ? NULL : must_strdup(name);
    return entry;
}

// Sets err, and the entry's error, to the file's name and `what`, and to its path if that isn't the
// name. Returns false.
static bool entry_error(struct files_entry *entry, struct err *err, const char *what)
{
    struct err made = {{0}, {0}};
    if (strcmp(entry->name, entry->path) == 0) {
        err_set(&made, "%s: %s", entry->name, what);
    } else {
        err_set(&made, "%s: %s (looked for %s)", entry->name, what, entry->path);
    }
    free(entry->error);
    entry->error = must_strdup(made.text);
    return err_set(err, "%s", made.text);
}

static const struct files_entry *find_path(const struct files *files, const char *path)
{
    for (size_t i = 0; files != NULL && i < files->num; i++) {
        if (strcmp(files->entries[i].path, path) == 0) {
            return &files->entries[i];
        }
    }
    return NULL;
}

// Whether nothing has the name. A symbolic link that leads nowhere is something.
static bool is_gone(const char *path)
{
    struct stat st;
    return lstat(path, &st) != 0 && errno == ENOENT;
}

static bool is_blank(const struct file *file)
{
    return strspn(file->bytes, " \t\r\n") == file->len;
}

bool files_is_missed(const struct files *files, const struct files_entry *before)
{
    return before->file.bytes != NULL && is_gone(before->path) &&
           (before->hold == FILES_MISSED ? now_ms() - before->since_ms < files->missed_ms
                                         : files->missed_ms > 0);
}

// Whether Kubernetes has put the file there: it writes a volume's files into a new folder, and when
// all are whole it leads the link `..data` there, through which every name goes.
static bool is_swapped_in(const char *path)
{
    static const char through[] = "..data/";
    char target[sizeof through];
    ssize_t len = readlink(path, target, sizeof target);
    return len == (ssize_t)sizeof target && memcmp(target, through, sizeof through - 1) == 0;
}

// Whether a file that was read is whole, where the kernel doesn't tell that its writer is done.
static bool is_still(const struct files *files, const struct files_entry *entry,
                     const struct files_entry *before)
{
    const struct file_stamp *stamp = &entry->file.stamp;
    if (before != NULL && file_stamp_equal(stamp, &before->file.stamp)) {
        return before->hold == FILES_SETTLED ||
               (before->hold == FILES_UNSTILL && now_ms() - before->since_ms >= files->still_ms);
    }
    uint64_t wait_ms = entry->lease == LEASE_BLIND ? FILES_OLD_MS : files->still_ms;
    return stamp->ctime_ns / 1000000 + (int64_t)wait_ms < now_unix_ms();
}

static enum files_hold hold_of(const struct files *files, const struct files_entry *entry,
                               const struct files_entry *before, bool is_read)
{
    if (entry->lease == LEASE_WRITER) {
        return FILES_OPEN;
    }
    if (!is_read) {
        return before != NULL && files_is_missed(files, before) ? FILES_MISSED : FILES_SETTLED;
    }
    bool is_told =
        (entry->lease == LEASE_HELD && !entry->is_in_pieces) || is_swapped_in(entry->path);
    return is_told || files->still_ms == 0 || is_still(files, entry, before) ? FILES_SETTLED
                                                                             : FILES_UNSTILL;
}

// Decides whether the entry's own bytes count, and gives it those of the reading before if not.
static void settle(struct files *files, struct files_entry *entry, bool is_read)
{
    const struct files_entry *before = find_path(files->before, entry->path);
    entry->is_in_pieces = before != NULL && before->is_in_pieces &&
                          before->file.stamp.dev == entry->file.stamp.dev &&
                          before->file.stamp.ino == entry->file.stamp.ino;
    entry->hold = hold_of(files, entry, before, is_read);
    if (entry->hold == FILES_SETTLED) {
        entry->is_in_pieces = is_read && is_blank(&entry->file);
        entry->is_absent = !is_read && is_gone(entry->path);
        return;
    }
    bool is_new = before == NULL && files->before != NULL && files->before->num > 0;
    entry->is_absent = is_new || (before != NULL && before->is_absent);
    bool is_as_before =
        before != NULL && before->hold == entry->hold &&
        (entry->hold != FILES_UNSTILL || file_stamp_equal(&entry->file.stamp, &before->file.stamp));
    entry->since_ms = is_as_before ? before->since_ms : now_ms();
    entry->is_said = is_as_before && before->is_said;
    files->num_held++;
    struct file_stamp stamp = entry->file.stamp;
    file_cleanup(&entry->file);
    entry->file.stamp = stamp;
    if (before != NULL && before->file.bytes != NULL) {
        size_t len = before->file.len;
        entry->file.bytes =
            entry->is_secret ? must_have(secret_alloc(len + 1)) : must_alloc(len + 1, 1);
        memcpy(entry->file.bytes, before->file.bytes, len + 1);
        entry->file.len = len;
    }
}

static bool add_len(struct files *files, struct files_entry *entry, struct err *err)
{
    files->len += entry->file.len;
    if (files->len > files->len_max) {
        char what[80];
        snprintf(what, sizeof what, "makes all files together exceed %zu MiB",
                 files->len_max >> 20);
        return entry_error(entry, err, what);
    }
    return true;
}

static void close_leased(int fd, enum lease lease)
{
    if (lease == LEASE_HELD) {
        lease_end(fd);
    }
    if (fd >= 0) {
        close(fd);
    }
}

// Reads a file, unless somebody has it open for writing. Nobody opens it for writing meanwhile, as
// far as the kernel tells of writers.
static bool read_at_rest(struct files_entry *entry, size_t len_max, struct err *err)
{
    int fd = file_open(entry->path);
    entry->lease = fd < 0 ? LEASE_BLIND : lease_begin(fd);
    bool ok = file_read_fd(&entry->file, fd, entry->lease == LEASE_WRITER ? 0 : len_max,
                           entry->is_secret ? FILE_SECRET : FILE_ANY, err);
    close_leased(fd, entry->lease);
    return ok;
}

static bool has_writer(const char *path)
{
    int fd = file_open(path);
    enum lease lease = fd < 0 ? LEASE_BLIND : lease_begin(fd);
    close_leased(fd, lease);
    return lease == LEASE_WRITER;
}

bool files_add(struct files *files, const char *tag, const char *name, const char *path,
               enum files_need need, struct err *err)
{
    struct err why = {{0}, {0}};
    struct files_entry *entry = add_entry(files, name, path);
    bool is_optional = need == FILES_OPTIONAL;
    entry->tag = tag == NULL ? NULL : must_strdup(tag);
    entry->is_secret = need == FILES_SECRET;
    bool is_read = read_at_rest(entry, files->file_len_max, &why);
    settle(files, entry, is_read);
    if (entry->hold != FILES_SETTLED) {
        return (entry->file.bytes != NULL || (is_optional && entry->is_absent) ||
                entry_error(entry, err, files_hold_text(entry->hold))) &&
               add_len(files, entry, err);
    }
    if (!is_read) {
        return (is_optional && entry->is_absent) || entry_error(entry, err, why.text);
    }
    if (entry->is_in_pieces) {
        struct file_stamp stamp = entry->file.stamp;
        file_cleanup(&entry->file);
        entry->file.stamp = stamp;
        return entry_error(entry, err, "is empty");
    }
    return add_len(files, entry, err);
}

const char *files_hold_text(enum files_hold hold)
{
    return hold == FILES_OPEN      ? "is still being written: somebody has it open for writing"
           : hold == FILES_UNSTILL ? "may still be written: it changed a moment ago"
           : hold == FILES_MISSED  ? "went away a moment ago"
                                   : "is settled";
}

const struct files_entry *files_find(const struct files *files, const char *tag)
{
    for (size_t i = 0; i < files->num; i++) {
        if (files->entries[i].tag != NULL && strcmp(files->entries[i].tag, tag) == 0) {
            return &files->entries[i];
        }
    }
    return NULL;
}

void files_add_folder(struct files *files, const char *path)
{
    struct files_entry *entry = add_entry(files, path, path);
    entry->file.stamp = file_look(path, &entry->file.stamp);
    entry->is_folder = true;
}

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool is_recent(const struct files *files, int64_t began_ns)
{
    int64_t ended_ns = clock_ns();
    for (size_t i = 0; i < files->num; i++) {
        if (files->entries[i].hold == FILES_SETTLED &&
            file_stamp_is_recent(&files->entries[i].file.stamp, began_ns, ended_ns)) {
            return true;
        }
    }
    return false;
}

bool files_read(struct files *files, const struct files *before, const char *name,
                bool (*read_once)(void *ctx, struct files *files, struct err *err), void *ctx,
                struct err *err)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        files_cleanup(files);
        files->before = before;
        int64_t began_ns = clock_ns();
        bool ok = read_once(ctx, files, err);
        files->before = NULL;
        if (!files_moved(files)) {
            files->is_recent = is_recent(files, began_ns);
            return ok;
        }
    }
    return err_set(err, "%s: the files kept changing while they were read, %d times", name,
                   TRIES_MAX);
}

static bool entry_moved(const struct files *files, const struct files_entry *entry)
{
    if (entry->hold == FILES_OPEN) {
        return !has_writer(entry->path); // what the writer does meanwhile is nobody's business
    }
    struct file_stamp now = file_look(entry->path, &entry->file.stamp);
    uint64_t hold_ms = entry->hold == FILES_UNSTILL ? files->still_ms : files->missed_ms;
    return !file_stamp_equal(&now, &entry->file.stamp) ||
           (entry->hold != FILES_SETTLED && now_ms() - entry->since_ms >= hold_ms);
}

bool files_moved(const struct files *files)
{
    for (size_t i = 0; i < files->num; i++) {
        if (entry_moved(files, &files->entries[i])) {
            return true;
        }
    }
    return false;
}

bool files_same_stamps(const struct files *a, const struct files *b)
{
    if (a->num != b->num) {
        return false;
    }
    for (size_t i = 0; i < a->num; i++) {
        if (strcmp(a->entries[i].path, b->entries[i].path) != 0 ||
            !file_stamp_equal(&a->entries[i].file.stamp, &b->entries[i].file.stamp)) {
            return false;
        }
    }
    return true;
}

struct files files_copy_stamps(const struct files *files)
{
    struct files copy = {.is_recent = files->is_recent,
                         .still_ms = files->still_ms,
                         .missed_ms = files->missed_ms,
                         .num_held = files->num_held};
    for (size_t i = 0; i < files->num; i++) {
        struct files_entry *entry = add_entry(&copy, NULL, files->entries[i].path);
        const struct files_entry *from = &files->entries[i];
        entry->file.stamp = from->file.stamp;
        entry->is_folder = from->is_folder;
        entry->hold = from->hold;
        entry->since_ms = from->since_ms;
        entry->is_said = from->is_said;
    }
    return copy;
}

void files_cleanup(struct files *files)
{
    for (size_t i = 0; i < files->num; i++) {
        free(files->entries[i].tag);
        free(files->entries[i].name);
        free(files->entries[i].path);
        free(files->entries[i].error);
        file_cleanup(&files->entries[i].file);
    }
    free(files->entries);
    *files = (struct files){.file_len_max = files->file_len_max,
                            .len_max = files->len_max,
                            .still_ms = files->still_ms,
                            .missed_ms = files->missed_ms};
}
