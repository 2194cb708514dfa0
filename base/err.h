// SPDX-License-Identifier: Apache-2.0
//
// An error message with its context, for set-up and control code. A function that can fail takes a
// struct err of the caller's stack and fills it where the fact is known; its callers put their
// context before it. Text that is too long is cut. Ends of connections have reasons instead (see
// proxy/rules/reason.h).
#ifndef TABARD_BASE_ERR_H
#define TABARD_BASE_ERR_H

#include <stdbool.h>

struct err {
    char where[160]; // the field's path, "policies[2].ports[0]", or empty
    char text[800];  // what is wrong and what would be right
};

// err_set writes the message and clears the path. It returns false, so that `return err_set(...)`
// reads well. A NULL err is allowed everywhere, and an argument may be a part of err. Control
// characters become '?': a message is one line.
bool err_set(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// err_set_at is err_set for the field at `where` (borrowed, copied).
bool err_set_at(struct err *err, const char *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// err_prefix puts context before the message: "context: message". It returns false.
bool err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

// err_prefix_where puts a parent's path before the field's path, joined by a dot. It returns false.
bool err_prefix_where(struct err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// err_text returns "where: text", or the text alone where there is no path. The result lives in
// `buf`.
const char *err_text(const struct err *err, char *buf, unsigned long buf_len);

#endif
