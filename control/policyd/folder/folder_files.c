// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/folder/folder_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "control/policyd/fleet/fleet.h"
#include "control/policyd/folder/source_folder.h"

#define READ_TRIES_MAX 5
#define RACY_MS        20 // a file's times come from a clock that ticks every 10 ms at the slowest

static const char *const fixed_names[FOLDER_NUM_FIXED] = {"ca/ca.pem", "ca/crl.pem", "roots.pem",
                                                          "crls.pem"};

void folder_files_cleanup(struct folder_files *files)
{
    struct folder_entry *entries = files->entries.items;
    for (uint32_t i = 0; i < files->entries.num; i++) {
        free(entries[i].name);
        free(entries[i].text);
    }
    array_cleanup(&files->entries);
    *files = (struct folder_files){.is_racy = false};
}

static bool look(struct stat *out, const char *dir, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (stat(path, out) != 0) {
        *out = (struct stat){.st_size = 0};
        return errno == ENOENT;
    }
    return true;
}

static bool same_stat(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool is_piece(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".yaml") == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// The pieces' names, sorted: `list` holds char *, owned.
static bool list_pieces(struct array *list, const char *dir, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/fleet", dir);
    DIR *folder = opendir(path);
    bool ok = folder != NULL || err_set(err, "fleet: %s", strerror(errno));
    for (struct dirent *entry; ok && (entry = readdir(folder)) != NULL;) {
        if (!is_piece(entry)) {
            continue;
        }
        char name[sizeof entry->d_name + 8];
        snprintf(name, sizeof name, "fleet/%s", entry->d_name);
        char **item = array_add(list, sizeof *item);
        ok = (*item = strdup(name)) != NULL;
        if (ok && list->num > FLEET_PIECES_MAX) {
            ok = err_set(err, "fleet: more than %d pieces", FLEET_PIECES_MAX);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    if (ok && list->num > 1) {
        qsort(list->items, list->num, sizeof(char *), compare_names);
    }
    return ok;
}

static void free_names(struct array *list)
{
    for (uint32_t i = 0; i < list->num; i++) {
        free(((char **)list->items)[i]);
    }
    array_cleanup(list);
}

static bool add_file(struct folder_files *files, const char *dir, const char *name, size_t *total,
                     struct err *err)
{
    char path[PATH_MAX];
    struct folder_entry *entry = array_add(&files->entries, sizeof *entry);
    entry->name = strdup(name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!look(&entry->st, dir, name)) {
        return err_set(err, "%s: %s", name, strerror(errno));
    }
    if (entry->st.st_ino == 0) {
        return entry->name != NULL;
    }
    if (!file_read_text(&entry->text, &entry->len, path, SOURCE_BYTES_MAX, err)) {
        return false;
    }
    *total += entry->len;
    return *total <= SOURCE_ALL_BYTES_MAX ||
           err_set(err, "the folder's files are over %u bytes in all", SOURCE_ALL_BYTES_MAX);
}

static bool read_once(struct folder_files *out, const char *dir, struct err *err)
{
    struct array names = {.num = 0};
    size_t total = 0;
    bool ok = true;
    for (size_t i = 0; i < FOLDER_NUM_FIXED; i++) {
        ok = add_file(out, dir, fixed_names[i], &total, err) && ok;
    }
    ok = ok && list_pieces(&names, dir, err);
    for (uint32_t i = 0; ok && i < names.num; i++) {
        ok = add_file(out, dir, ((char **)names.items)[i], &total, err);
    }
    free_names(&names);
    return ok;
}

static bool is_recent(const struct stat *st)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age_ms = (int64_t)(now.tv_sec - st->st_ctim.tv_sec) * 1000 +
                     (now.tv_nsec - st->st_ctim.tv_nsec) / 1000000;
    return age_ms < RACY_MS;
}

bool folder_files_read(struct folder_files *out, const char *dir, struct err *err)
{
    bool ok = false;
    for (int tries = 0; tries < READ_TRIES_MAX; tries++) {
        *out = (struct folder_files){.is_racy = false};
        ok = read_once(out, dir, err);
        if (!folder_files_moved(out, dir) || tries == READ_TRIES_MAX - 1) {
            break;
        }
        folder_files_cleanup(out);
    }
    const struct folder_entry *entries = out->entries.items;
    for (uint32_t i = 0; i < out->entries.num; i++) {
        out->is_racy = out->is_racy || is_recent(&entries[i].st);
    }
    return ok;
}

bool folder_files_moved(const struct folder_files *files, const char *dir)
{
    const struct folder_entry *entries = files->entries.items;
    struct array names = {.num = 0};
    bool has_moved = false;
    if (files->entries.num < FOLDER_NUM_FIXED) {
        return true;
    }
    bool ok = list_pieces(&names, dir, NULL);
    has_moved = ok && names.num != files->entries.num - FOLDER_NUM_FIXED;
    for (uint32_t i = 0; i < files->entries.num && !has_moved; i++) {
        struct stat now;
        look(&now, dir, entries[i].name);
        has_moved = !same_stat(&now, &entries[i].st) ||
                    (ok && i >= FOLDER_NUM_FIXED &&
                     strcmp(((char **)names.items)[i - FOLDER_NUM_FIXED], entries[i].name) != 0);
    }
    free_names(&names);
    return has_moved;
}

bool folder_files_same(const struct folder_files *a, const struct folder_files *b, bool pieces)
{
    const struct folder_entry *left = a->entries.items;
    const struct folder_entry *right = b->entries.items;
    uint32_t first = pieces ? FOLDER_NUM_FIXED : 0;
    uint32_t end = pieces ? a->entries.num : FOLDER_NUM_FIXED;
    if (a->entries.num < FOLDER_NUM_FIXED || b->entries.num < FOLDER_NUM_FIXED ||
        (pieces && a->entries.num != b->entries.num)) {
        return false;
    }
    for (uint32_t i = first; i < end; i++) {
        if (strcmp(left[i].name, right[i].name) != 0 ||
            (left[i].text == NULL) != (right[i].text == NULL) || left[i].len != right[i].len ||
            (left[i].len > 0 && memcmp(left[i].text, right[i].text, left[i].len) != 0)) {
            return false;
        }
    }
    return true;
}
