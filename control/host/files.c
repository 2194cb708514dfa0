// SPDX-License-Identifier: Apache-2.0
#include "control/host/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/must.h"

#define TRIES_MAX 5

static struct files_entry *add_entry(struct files *files, const char *name, const char *path)
{
    files->entries = must_grow(files->entries, files->num + 1, sizeof *files->entries);
    struct files_entry *entry = &files->entries[files->num++];
    *entry = (struct files_entry){.path = must_strdup(path)};
    entry->name = name == NULL ? NULL : must_strdup(name);
    return entry;
}

// Sets err to the file's name and `what`, and to its path if that isn't the name. Returns false.
static bool entry_error(const struct files_entry *entry, struct err *err, const char *what)
{
    if (strcmp(entry->name, entry->path) == 0) {
        return err_set(err, "%s: %s", entry->name, what);
    }
    return err_set(err, "%s: %s (looked for %s)", entry->name, what, entry->path);
}

bool files_add(struct files *files, const char *tag, const char *name, const char *path,
               bool is_optional, struct err *err)
{
    struct err why = {{0}, {0}};
    struct files_entry *entry = add_entry(files, name, path);
    entry->tag = tag == NULL ? NULL : must_strdup(tag);
    if (!file_read(&entry->file, path, files->file_len_max, FILE_ANY, &why)) {
        return (is_optional && entry->file.stamp.error == ENOENT) ||
               entry_error(entry, err, why.text);
    }
    files->len += entry->file.len;
    if (files->len > files->len_max) {
        char what[80];
        snprintf(what, sizeof what, "makes all files together exceed %zu MiB",
                 files->len_max >> 20);
        return entry_error(entry, err, what);
    }
    return true;
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

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool is_recent(const struct files *files, int64_t began_ns)
{
    int64_t ended_ns = now_ns();
    for (size_t i = 0; i < files->num; i++) {
        if (file_stamp_is_recent(&files->entries[i].file.stamp, began_ns, ended_ns)) {
            return true;
        }
    }
    return false;
}

bool files_read(struct files *files, const char *name,
                bool (*read_once)(void *ctx, struct files *files, struct err *err), void *ctx,
                struct err *err)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        files_cleanup(files);
        int64_t began_ns = now_ns();
        bool ok = read_once(ctx, files, err);
        if (!files_moved(files)) {
            files->is_recent = is_recent(files, began_ns);
            return ok;
        }
    }
    return err_set(err, "%s: the files kept changing while they were read, %d times", name,
                   TRIES_MAX);
}

bool files_moved(const struct files *files)
{
    for (size_t i = 0; i < files->num; i++) {
        const struct file_stamp *before = &files->entries[i].file.stamp;
        struct file_stamp now = file_look(files->entries[i].path, before);
        if (!file_stamp_equal(&now, before)) {
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
    struct files copy = {.is_recent = files->is_recent};
    for (size_t i = 0; i < files->num; i++) {
        struct files_entry *entry = add_entry(&copy, NULL, files->entries[i].path);
        entry->file.stamp = files->entries[i].file.stamp;
        entry->is_folder = files->entries[i].is_folder;
    }
    return copy;
}

void files_cleanup(struct files *files)
{
    for (size_t i = 0; i < files->num; i++) {
        free(files->entries[i].tag);
        free(files->entries[i].name);
        free(files->entries[i].path);
        file_cleanup(&files->entries[i].file);
    }
    free(files->entries);
    *files = (struct files){.file_len_max = files->file_len_max, .len_max = files->len_max};
}
