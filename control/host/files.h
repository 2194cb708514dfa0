// SPDX-License-Identifier: Apache-2.0
//
// Files that belong together, read as they all stood at one moment. Its owner sets the limits,
// calls files_read with a function that adds what it needs, and keeps the result: files_moved says
// later whether that is still what the disk holds. Any thread, one at a time.
//
// A file that is still being written does not count yet: what it held at the reading before does,
// until its writer has closed it. The kernel tells whether it has (control/host/lease.h); where it
// doesn't, a file counts once it has not changed for a while, or at once in a volume of Kubernetes,
// which puts whole files in place. An empty file is an error.
#ifndef TABARD_CONTROL_HOST_FILES_H
#define TABARD_CONTROL_HOST_FILES_H

#include "base/err.h"
#include "base/file.h"
#include "control/host/lease.h"

#define FILES_STILL_MS  6000   // without a change, where nothing tells that the writer is done
#define FILES_OLD_MS    600000 // the same at the first look, by a clock that isn't the file server's
#define FILES_MISSED_MS 500    // that a file is away before it counts as removed

// Why an entry has the bytes of the reading before, or none if that had none.
enum files_hold {
    FILES_SETTLED, // it has its own
    FILES_OPEN,    // somebody has the file open for writing
    FILES_UNSTILL, // it changed less than still_ms ago, and nothing tells that the writer is done
    FILES_MISSED,  // it went away less than missed_ms ago: an editor may be replacing it
};

// How files_add takes a file: whether it must be there, and whether its bytes lie where keys do
// (base/secret/secret.h).
enum files_need { FILES_NEEDED, FILES_OPTIONAL, FILES_SECRET };

struct files_entry {
    char *tag;        // owned; for files_find; may be NULL
    char *name;       // owned; for errors
    char *path;       // owned; where it was looked for
    struct file file; // bytes are NULL if there is no such file, or it is a folder
    char *error;      // owned; why it can't be read, with its name; NULL: it can, or needn't
    enum lease lease; // what the kernel told of its writers
    bool is_secret;   // its bytes lie where keys do
    bool is_folder;   // a file that comes into it or goes from it is a change
    enum files_hold hold;
    uint64_t since_ms; // of the hold (now_ms)
    bool is_absent;    // nothing is there, or nothing was and what comes isn't whole yet
    bool is_in_pieces; // its writer left it empty once: it may be closed and not be whole
    bool is_said;      // for the watch: the hold was logged
};

// Zero state but for the limits.
struct files {
    struct files_entry *entries; // owned
    size_t num;
    size_t len; // of all of them
    size_t file_len_max;
    size_t len_max;             // of all of them
    uint64_t still_ms;          // 0: what nothing tells of is taken as it is
    uint64_t missed_ms;         // 0: what is gone counts as removed at once
    const struct files *before; // borrowed while files_read runs; may be NULL
    size_t num_held;
    bool is_recent; // one had changed so recently that its stamp may hide a next change
};

// files_read calls read_once, and again, a few times, while files change under it. read_once adds
// files and returns whether it found what it needs; it sets err if not. `before` is the reading
// before this one, whose bytes files that are held keep; NULL: none. false sets err; what was
// looked at is there all the same, for files_moved and for watching. `name` stands in the error of
// files that don't stop changing.
bool files_read(struct files *files, const struct files *before, const char *name,
                bool (*read_once)(void *ctx, struct files *files, struct err *err), void *ctx,
                struct err *err);

// files_add reads a file, which becomes the last entry also if it can't be read. A file that isn't
// there, or wasn't at the reading before and is still being written, is an error unless it is
// FILES_OPTIONAL. One of which nothing is known but that it is being written is an error. false
// sets err, which begins with the name.
bool files_add(struct files *files, const char *tag, const char *name, const char *path,
               enum files_need need, struct err *err);

// files_find returns the entry with a tag, or NULL.
const struct files_entry *files_find(const struct files *files, const char *tag);

// files_add_folder notes a folder, so that a file that comes or goes in it counts as a change. Call
// it before the folder is listed.
void files_add_folder(struct files *files, const char *path);

// files_moved says whether any path has changed since it was read, or need not be held any longer.
bool files_moved(const struct files *files);

// files_is_missed says whether the reading before had a file at a path that is gone now, so
// recently that it may be on its way back: read_once then adds it as if it were there.
bool files_is_missed(const struct files *files, const struct files_entry *before);

// files_hold_text says in words why an entry is held.
const char *files_hold_text(enum files_hold hold);

// files_same_stamps says whether two readings looked at the same paths in the same state.
bool files_same_stamps(const struct files *a, const struct files *b);

// files_copy_stamps copies paths and stamps, without names and bytes.
struct files files_copy_stamps(const struct files *files);

// files_cleanup wipes what was read and leaves no entry; the limits stay.
void files_cleanup(struct files *files);

#endif
