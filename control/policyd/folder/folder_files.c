// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/folder/folder_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/array.h"
#include "base/must.h"
#include "control/policyd/fleet/fleet.h"

static const char *const ca_names[] = {"ca/ca.pem", "ca/crl.pem", "roots.pem", "crls.pem"};

static bool is_piece(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".yaml") == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// Lists the pieces' names, sorted, as char * that the list owns.
static bool list_pieces(struct array *list, const char *path, struct err *err)
{
    DIR *folder = opendir(path);
    bool ok = folder != NULL || err_set(err, "fleet: %s", strerror(errno));
    for (struct dirent *entry; ok && (entry = readdir(folder)) != NULL;) {
        if (!is_piece(entry)) {
            continue;
        }
        char name[sizeof entry->d_name + 8];
        snprintf(name, sizeof name, "fleet/%s", entry->d_name);
        char **item = array_add(list, sizeof *item);
        *item = must_strdup(name);
        if (list->num > FLEET_PIECES_MAX) {
            ok = err_set(err, "fleet: more than %d .yaml files", FLEET_PIECES_MAX);
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

static bool add_file(struct files *files, const char *dir, const char *name, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return files_add(files, NULL, name, path, true, err);
}

static bool read_once(void *ctx, struct files *files, struct err *err)
{
    const char *dir = ctx;
    char path[PATH_MAX];
    struct array names = {.num = 0};
    bool ok = true;
    for (size_t i = 0; i < sizeof ca_names / sizeof ca_names[0]; i++) {
        ok = add_file(files, dir, ca_names[i], err) && ok;
    }
    snprintf(path, sizeof path, "%s/fleet", dir);
    files_add_folder(files, path);
    ok = ok && list_pieces(&names, path, err);
    for (uint32_t i = 0; ok && i < names.num; i++) {
        ok = add_file(files, dir, ((char **)names.items)[i], err);
    }
    free_names(&names);
    return ok;
}

bool folder_files_read(struct files *out, const char *dir, struct err *err)
{
    out->file_len_max = FOLDER_FILE_BYTES_MAX;
    out->len_max = FOLDER_BYTES_MAX;
    return files_read(out, "the folder", read_once, (void *)dir, err);
}

static bool same_texts(const struct files *a, const struct files *b, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const struct files_entry *left = &a->entries[i];
        const struct files_entry *right = &b->entries[i];
        if (strcmp(left->name, right->name) != 0 ||
            (left->file.bytes == NULL) != (right->file.bytes == NULL) ||
            left->file.len != right->file.len ||
            (left->file.len > 0 &&
             memcmp(left->file.bytes, right->file.bytes, left->file.len) != 0)) {
            return false;
        }
    }
    return true;
}

bool folder_same_ca(const struct files *a, const struct files *b)
{
    return a->num >= FOLDER_NUM_FIXED && b->num >= FOLDER_NUM_FIXED &&
           same_texts(a, b, 0, FOLDER_FLEET);
}

bool folder_same_fleet(const struct files *a, const struct files *b)
{
    return a->num >= FOLDER_NUM_FIXED && a->num == b->num &&
           same_texts(a, b, FOLDER_NUM_FIXED, a->num);
}
