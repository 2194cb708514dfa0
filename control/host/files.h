// SPDX-License-Identifier: Apache-2.0
//
// Files that belong together, read as they all stood at one moment. Its owner sets the limits,
// calls files_read with a function that adds what it needs, and keeps the result: files_moved says
// later whether that is still what the disk holds. Any thread, one at a time.
#ifndef TABARD_CONTROL_HOST_FILES_H
#define TABARD_CONTROL_HOST_FILES_H

#include "base/err.h"
#include "base/file.h"

struct files_entry {
    char *tag;        // owned; for files_find; may be NULL
    char *name;       // owned; for errors
    char *path;       // owned; where it was looked for
    struct file file; // bytes are NULL if there is no such file, or it is a folder
    bool is_folder;   // a file that comes into it or goes from it is a change
};

// Zero state but for the limits.
struct files {
    struct files_entry *entries; // owned
    size_t num;
    size_t len; // of all of them
    size_t file_len_max;
    size_t len_max; // of all of them
    bool is_recent; // one had changed so recently that its stamp may hide a next change
};

// files_read calls read_once, and again, a few times, while files change under it. read_once adds
// files and returns whether it found what it needs; it sets err if not. false sets err; what was
// looked at is there all the same, for files_moved and for watching. `name` stands in the error of
// files that don't stop changing.
bool files_read(struct files *files, const char *name,
                bool (*read_once)(void *ctx, struct files *files, struct err *err), void *ctx,
                struct err *err);

// files_add reads a file, which becomes the last entry also if it can't be read. A file that isn't
// there is an error unless is_optional. false sets err, which begins with the name.
bool files_add(struct files *files, const char *tag, const char *name, const char *path,
               bool is_optional, struct err *err);

// files_find returns the entry with a tag, or NULL.
const struct files_entry *files_find(const struct files *files, const char *tag);

// files_add_folder notes a folder, so that a file that comes or goes in it counts as a change. Call
// it before the folder is listed.
void files_add_folder(struct files *files, const char *path);

// files_moved says whether any path has changed since it was read.
bool files_moved(const struct files *files);

// files_same_stamps says whether two readings looked at the same paths in the same state.
bool files_same_stamps(const struct files *a, const struct files *b);

// files_copy_stamps copies paths and stamps, without names and bytes.
struct files files_copy_stamps(const struct files *files);

// files_cleanup wipes what was read and leaves no entry; the limits stay.
void files_cleanup(struct files *files);

#endif
