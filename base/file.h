// SPDX-License-Identifier: Apache-2.0
//
// Reads files with a limit, and writes them beside their place and moves them into it, so that a
// file is there whole or not at all. Every configuration, certificate, key, token and state file
// comes in through file_read, which hangs on nothing: a FIFO, a device, a folder and a file over
// the limit are refused by name.
#ifndef TABARD_BASE_FILE_H
#define TABARD_BASE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

// A path's state by stat(2). Between two equal stamps the file didn't change, unless both are of
// one tick of the file system's clock (file_stamp_is_recent).
struct file_stamp {
    int error; // errno of the look, or 0
    uint64_t dev;
    uint64_t ino;
    uint64_t size;
    int64_t mtime_ns;
    int64_t ctime_ns;
};

bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b);

// file_stamp_is_recent says whether the file changed while it was read, from began_ns to ended_ns
// (since 1970), or so shortly before that the next change may have left it with the same times.
bool file_stamp_is_recent(const struct file_stamp *stamp, int64_t began_ns, int64_t ended_ns);

// file_look gives the stamp of a path now. A path whose earlier stamp says that it could not be
// opened is opened again, so that it can be compared with that.
struct file_stamp file_look(const char *path, const struct file_stamp *before);

// A file that was read. Zero state: {0}.
struct file {
    char *bytes; // owned; NUL-terminated beyond len; NULL if it could not be read
    size_t len;
    struct file_stamp stamp; // set also if it could not be read
};

// How careful file_read is: FILE_NO_LINK refuses a symbolic link, FILE_OURS also a file that
// another user owns or may write to. FILE_SECRET puts the bytes where keys lie
// (base/secret/secret.h).
enum file_care { FILE_ANY, FILE_NO_LINK, FILE_OURS, FILE_SECRET };

// file_read reads at most len_max bytes; a longer file is refused. false sets err to what is wrong,
// without the path. A byte order mark before UTF-8 is left out, and UTF-16 is refused by name.
// file_cleanup wipes what was read.
bool file_read(struct file *out, const char *path, size_t len_max, enum file_care care,
               struct err *err);
void file_cleanup(struct file *file);

// file_open opens a path for reading as file_read does. Returns the descriptor, or -1 with errno
// set.
int file_open(const char *path);

// file_read_fd is file_read with FILE_ANY or FILE_SECRET from a descriptor of file_open, which
// stays the caller's. Of a negative one it reports errno.
bool file_read_fd(struct file *out, int fd, size_t len_max, enum file_care care, struct err *err);

// file_read_text is file_read with FILE_ANY for a caller that needs only the text, malloc'd. false
// sets err, which begins with the path.
bool file_read_text(char **out_text, size_t *out_len, const char *path, size_t len_max,
                    struct err *err);

// A file that is being written. Zero state: {0}.
struct file_draft {
    char path[PATH_MAX]; // where it shall stand
    char temp[PATH_MAX]; // where it is now, or empty
    bool is_in_place;    // committed, and was not there before
};

// file_draft_write puts the text beside `path`, on the disk to the last byte, with `mode`, whatever
// the umask, from its first byte on. false sets err and leaves nothing behind.
bool file_draft_write(struct file_draft *out, const char *path, const char *text, mode_t mode,
                      struct err *err);

// file_draft_commit moves the file into its place in one step. Without can_replace a file that is
// there already is an error.
bool file_draft_commit(struct file_draft *draft, bool can_replace, struct err *err);

// file_draft_abandon takes back what was written: the draft, or the file if it is in place and
// replaced nothing. Does nothing to a draft that was never written.
void file_draft_abandon(struct file_draft *draft);

// file_write_text writes a draft and commits it. false sets err and leaves nothing behind.
bool file_write_text(const char *path, const char *text, mode_t mode, bool can_replace,
                     struct err *err);

// file_replace writes a file, mode 0600, that only this process writes: either the old one or the
// new one is there, also after a power cut if is_durable. Its draft, `path`.new, is overwritten if
// a run that was cut short left one. false sets err, which names the path.
bool file_replace(const char *path, const void *bytes, size_t len, bool is_durable,
                  struct err *err);

// file_is_free says whether nothing stands at `path`. false sets err.
bool file_is_free(const char *path, struct err *err);

#endif
