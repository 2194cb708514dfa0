// SPDX-License-Identifier: Apache-2.0
//
// One HTTP/1.0 GET to the agent's admin socket, for `tabardctl status`, `audit` and `explain`. It
// blocks, until the deadline at most, and knows no redirects, no keep-alive and no chunks.
#ifndef TABARD_CONTROL_CTL_ASK_H
#define TABARD_CONTROL_CTL_ASK_H

#include <stddef.h>

#include "base/err.h"

#define ASK_BYTES_MAX (8u << 20) // of an answer with its headers

// ask gets `target` ("/status") from the socket at `path` and returns the body of a 200, malloc'd
// and NUL-terminated. NULL sets err: no agent there, too slow, too much, or the status line that
// wasn't 200.
char *ask(const char *path, const char *target, int deadline_ms, size_t *out_len, struct err *err);

#endif
