// SPDX-License-Identifier: Apache-2.0
//
// Files that belong together, read all of one moment. Its owner calls files_read with a function
// that adds what it needs, and keeps the result: files_moved says later whether it is still what
// the disk holds. Owned by the caller; any thread, one at a time; bounded by the limits of its
// owner. It judges no content.
#ifndef TABARD_CONTROL_HOST_FILES_H
#define TABARD_CONTROL_HOST_FILES_H

#include "base/err.h"
#include "base/file.h"

struct files_entry {
    char *tag;        // owned; what its owner finds it by; NULL: nothing
    char *name;       // owned; as errors call it
    char *path;       // owned; where it was looked for
    struct file file; // no bytes: there is no such file, or it is a folder
    bool is_folder;   // what comes into it or goes from it is a change
};

// Zero state but for the limits.
struct files {
    struct files_entry *entries; // owned
    size_t num;
    size_t len; // of all of them
    size_t file_len_max;
    size_t len_max; // of all of them
    bool is_recent; // one changed so shortly before that a next change may not show
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

// files_add_folder notes a folder, so that what comes and goes in it counts as a change. It is to
// be called before the folder is listed.
void files_add_folder(struct files *files, const char *path);

// files_moved says whether any path isn't any more as it was read.
bool files_moved(const struct files *files);

// files_same_stamps says whether two readings looked at the same paths in the same state.
bool files_same_stamps(const struct files *a, const struct files *b);

// files_copy_stamps copies paths and stamps, without names and bytes.
struct files files_copy_stamps(const struct files *files);

// files_cleanup wipes what was read and leaves no entry; the limits stay.
void files_cleanup(struct files *files);

#endif
