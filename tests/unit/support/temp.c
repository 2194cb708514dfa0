// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "tests/unit/support/temp.h"

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDERS_OPEN_MAX 16

char temp_folder[TEMP_PATH_BYTES];

static void expect(bool is_good, const char *what, const char *path)
{
    if (!is_good) {
        fprintf(stderr, "%s: %s: %m\n", path, what);
        abort();
    }
}

void temp_make(char out_path[TEMP_PATH_BYTES])
{
    static const char name[] = "/tabard-XXXXXX";
    const char *base = getenv("TEST_TMPDIR");
    bool fits = base != NULL && strlen(base) + sizeof name <= TEMP_PATH_BYTES;
    snprintf(out_path, TEMP_PATH_BYTES, "%s%s", fits ? base : "/tmp", name);
    expect(mkdtemp(out_path) != NULL, "can't be made", out_path);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void temp_remove(const char *path)
{
    expect(nftw(path, remove_one, FOLDERS_OPEN_MAX, FTW_DEPTH | FTW_PHYS) == 0, "can't be removed",
           path);
}

void temp_set_up(void)
{
    temp_make(temp_folder);
}

void temp_tear_down(void)
{
    temp_remove(temp_folder);
}

static FILE *open_below(const char *folder, const char *name, const char *mode)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return fopen(path, mode);
}

void temp_write(const char *folder, const char *name, const void *bytes, size_t len)
{
    FILE *file = open_below(folder, name, "w");
    expect(file != NULL, "can't be written", name);
    expect(fwrite(bytes, 1, len, file) == len, "can't be written", name);
    expect(fclose(file) == 0, "can't be written", name);
}

void temp_read(const char *folder, const char *name, char *out, size_t size)
{
    FILE *file = open_below(folder, name, "r");
    size_t len = file != NULL ? fread(out, 1, size - 1, file) : 0;
    out[len] = '\0';
    if (file != NULL) {
        fclose(file);
    }
}
