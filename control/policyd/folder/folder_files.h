// SPDX-License-Identifier: Apache-2.0
//
// The files of a policyd's folder, read all of one moment: the pieces of the fleet in the order of
// their names, and those of the CA. Owned by the caller; any thread, one at a time; bounded as
// source_folder.h says. It parses nothing.
#ifndef TABARD_CONTROL_POLICYD_FOLDER_FOLDER_FILES_H
#define TABARD_CONTROL_POLICYD_FOLDER_FOLDER_FILES_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/err.h"

enum folder_file { FOLDER_CA, FOLDER_CRL, FOLDER_ROOTS, FOLDER_CRLS, FOLDER_NUM_FIXED };

struct folder_entry {
    char *name; // owned; relative to the folder
    char *text; // owned; NULL: there is no such file
    size_t len;
    struct stat st; // all 0 where there is none
};

// Zero state: {0}. The first FOLDER_NUM_FIXED entries are those of the enum, then come the pieces.
struct folder_files {
    struct array entries; // of folder_entry
    bool is_racy;         // a file changed so shortly before that a next change may not show
};

// folder_files_read: false sets err; what was looked at is there all the same, for
// folder_files_same.
bool folder_files_read(struct folder_files *out, const char *dir, struct err *err);
void folder_files_cleanup(struct folder_files *files);

// folder_files_moved says whether the folder isn't any more as it was read.
bool folder_files_moved(const struct folder_files *files, const char *dir);

// folder_files_same compares texts: of the fleet's pieces, or of the CA's files.
bool folder_files_same(const struct folder_files *a, const struct folder_files *b, bool pieces);

#endif
