// SPDX-License-Identifier: Apache-2.0
//
// A byte buffer that grows by doubling. Owned by the caller; one thread; the caller bounds it.
// What grows by a stranger's choice is asked for by bytes_reserve first, which may say no; the
// other functions abort when there is no memory.
#ifndef TABARD_BASE_BYTES_H
#define TABARD_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Zero state: empty.
struct bytes {
    uint8_t *at; // owned; NULL while nothing was ever asked for
    size_t len;
    size_t cap;
};

void bytes_cleanup(struct bytes *bytes);

// bytes_reserve makes room for `more` bytes behind those that are there. false: out of memory, and
// nothing changed. Pushing that much aborts no more.
bool bytes_reserve(struct bytes *bytes, size_t more);

// bytes_extend adds `more` bytes for the caller to write, and returns where they begin; the place
// holds until the buffer grows again.
uint8_t *bytes_extend(struct bytes *bytes, size_t more);

void bytes_push(struct bytes *bytes, const void *from, size_t len);

// bytes_push_text appends the text without its NUL; bytes_push_format what printf would print.
void bytes_push_text(struct bytes *bytes, const char *text);
void bytes_push_format(struct bytes *bytes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// bytes_take_text puts a NUL behind what is there and hands it out as a text to free(). The buffer
// is empty again.
char *bytes_take_text(struct bytes *bytes);

#endif
