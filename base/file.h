// SPDX-License-Identifier: Apache-2.0
//
// Files that are whole or not there: read with a limit, written beside their place and moved into
// it. A draft is owned by the caller, on the stack; one thread. Bounded by the limit that is given,
// and by PATH_MAX. It knows nothing of certificates.
#ifndef TABARD_BASE_FILE_H
#define TABARD_BASE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

// ca_file_read reads a whole file as malloc'd, NUL-terminated text of at most len_max bytes. false
// sets err.
bool ca_file_read(char **out_text, size_t *out_len, const char *path, size_t len_max,
                  struct err *err);

// A file under way. Zero state: {0}.
struct ca_draft {
    char path[PATH_MAX]; // where it shall stand
    char temp[PATH_MAX]; // where it is now, or empty
    bool is_in_place;    // committed, and was not there before
};

// ca_draft_write puts the text beside `path`, on the disk to the last byte, with `mode` from its
// first byte on. false sets err and leaves nothing behind.
bool ca_draft_write(struct ca_draft *out, const char *path, const char *text, mode_t mode,
                    struct err *err);

// ca_draft_commit moves the file into its place in one step. Without can_replace a file that is
// there already is an error.
bool ca_draft_commit(struct ca_draft *draft, bool can_replace, struct err *err);

// ca_draft_abandon takes back what was written: the draft, or the file if it is in place and
// replaced nothing. Does nothing to a draft that was never written.
void ca_draft_abandon(struct ca_draft *draft);

// ca_file_write is the three in one.
bool ca_file_write(const char *path, const char *text, mode_t mode, bool can_replace,
                   struct err *err);

// ca_file_is_free says whether nothing stands at `path`. false sets err.
bool ca_file_is_free(const char *path, struct err *err);

#endif
