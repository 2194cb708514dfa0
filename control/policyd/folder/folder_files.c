// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/folder/folder_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/data/array.h"
#include "base/must.h"
#include "control/policyd/fleet/fleet.h"

static const char *const ca_names[] = {"ca/ca.pem", "ca/crl.pem", "roots.pem", "crls.pem"};

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);
    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

static bool is_piece(const char *name)
{
    return ends_with(name, ".yaml") || ends_with(name, ".yml");
}

// Notes a name that whoever put it there may take for a piece. Editors' copies are none.
static void note_ignored(struct folder_errors *errors, const char *path, const char *name)
{
    char full[PATH_MAX];
    struct stat st;
    size_t len = strlen(errors->ignored);
    if (ends_with(name, "~") || strstr(name, ".draft-") != NULL ||
        snprintf(full, sizeof full, "%s/%s", path, name) >= (int)sizeof full ||
        stat(full, &st) != 0) {
        return;
    }
    int added = snprintf(errors->ignored + len, sizeof errors->ignored - len, "%sfleet/%s%s",
                         len == 0 ? "" : ", ", name, S_ISDIR(st.st_mode) ? " (a folder)" : "");
    if (len + (size_t)added >= sizeof errors->ignored) {
        snprintf(errors->ignored + sizeof errors->ignored - 4, 4, "...");
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_name(struct array *list, const char *name)
{
    char **item = array_add(list, sizeof *item);
    *item = must_strdup(name);
}

// Lists the names of the pieces of the reading before: all, or only those that are not there at
// this moment, but were a moment ago.
static void list_before(struct array *list, const struct files *files, bool is_all)
{
    for (size_t i = FOLDER_NUM_FIXED; files->before != NULL && i < files->before->num; i++) {
        const struct files_entry *entry = &files->before->entries[i];
        if (is_all || files_is_missed(files, entry)) {
            add_name(list, entry->name);
        }
    }
}

// Lists the pieces' names, sorted, as char * that the list owns.
static bool list_pieces(struct array *list, const struct files *files, const char *path,
                        struct folder_errors *errors)
{
    struct err *err = &errors->fleet;
    DIR *folder = opendir(path);
    bool ok = folder != NULL || err_set(err, "fleet: %s", strerror(errno));
    for (struct dirent *entry; ok && (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (!is_piece(entry->d_name)) {
            note_ignored(errors, path, entry->d_name);
            continue;
        }
        char name[sizeof entry->d_name + 8];
        snprintf(name, sizeof name, "fleet/%s", entry->d_name);
        add_name(list, name);
        if (list->num > FLEET_PIECES_MAX) {
            ok = err_set(err, "fleet: more than %d .yaml and .yml files", FLEET_PIECES_MAX);
        }
    }
    list_before(list, files, folder == NULL);
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

static void add_file(struct files *files, const char *dir, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    files_add(files, NULL, name, path, FILES_OPTIONAL, NULL); // its entry has the error
}

static void read_ca(struct files *files, const char *dir)
{
    for (size_t i = 0; i < sizeof ca_names / sizeof ca_names[0]; i++) {
        add_file(files, dir, ca_names[i]);
    }
}

static bool read_pieces(struct files *files, const char *dir, struct folder_errors *errors)
{
    char path[PATH_MAX];
    struct array names = {.num = 0};
    snprintf(path, sizeof path, "%s/fleet", dir);
    files_add_folder(files, path);
    bool ok = list_pieces(&names, files, path, errors);
    for (uint32_t i = 0; i < names.num; i++) {
        add_file(files, dir, ((char **)names.items)[i]);
    }
    free_names(&names);
    return ok;
}

struct folder_reader {
    const char *dir;
    struct folder_errors *errors;
};

static bool read_once(void *ctx, struct files *files, struct err *err)
{
    (void)err;
    const struct folder_reader *reader = ctx;
    struct folder_errors *errors = reader->errors;
    *errors = (struct folder_errors){.is_ca_bad = false};
    read_ca(files, reader->dir);
    errors->is_fleet_bad = !read_pieces(files, reader->dir, errors);
    return true;
}

void folder_files_read(struct files *out, const struct files *before, const char *dir,
                       struct folder_errors *errors)
{
    struct folder_reader reader = {.dir = dir, .errors = errors};
    struct err err = {{0}, {0}};
    out->file_len_max = FOLDER_FILE_BYTES_MAX;
    out->len_max = FOLDER_BYTES_MAX;
    out->still_ms = FILES_STILL_MS;
    out->missed_ms = FILES_MISSED_MS;
    if (!files_read(out, before, "the folder", read_once, &reader, &err)) {
        *errors = (struct folder_errors){true, true, err, err, ""};
    }
}

static bool same_text(const struct files_entry *a, const struct files_entry *b)
{
    return strcmp(a->name, b->name) == 0 && (a->file.bytes == NULL) == (b->file.bytes == NULL) &&
           a->file.len == b->file.len &&
           (a->file.len == 0 || memcmp(a->file.bytes, b->file.bytes, a->file.len) == 0);
}

bool folder_same_ca(const struct files *a, const struct files *b)
{
    bool same = a->num >= FOLDER_NUM_FIXED && b->num >= FOLDER_NUM_FIXED;
    for (size_t i = 0; same && i < FOLDER_FLEET; i++) {
        same = same_text(&a->entries[i], &b->entries[i]);
    }
    return same;
}

// Returns the place of the next piece that is there.
static size_t next_piece(const struct files *files, size_t at)
{
    while (at < files->num && files->entries[at].file.bytes == NULL) {
        at++;
    }
    return at;
}

bool folder_same_fleet(const struct files *a, const struct files *b)
{
    if (a->num < FOLDER_NUM_FIXED || b->num < FOLDER_NUM_FIXED) {
        return false;
    }
    size_t i = next_piece(a, FOLDER_NUM_FIXED);
    size_t j = next_piece(b, FOLDER_NUM_FIXED);
    while (i < a->num && j < b->num && same_text(&a->entries[i], &b->entries[j])) {
        i = next_piece(a, i + 1);
        j = next_piece(b, j + 1);
    }
    return i == a->num && j == b->num;
}
