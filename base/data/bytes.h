// SPDX-License-Identifier: Apache-2.0
//
// A byte buffer that grows by doubling. Its owner embeds and bounds it. Where a stranger chooses
// the size, the owner calls bytes_reserve first, which may refuse; the other functions abort when
// there is no memory.
#ifndef TABARD_BASE_BYTES_H
#define TABARD_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Zero state: empty.
struct bytes {
    uint8_t *at; // owned; NULL while cap is 0
    size_t len;
    size_t cap;
};

void bytes_cleanup(struct bytes *bytes);

// bytes_wipe is bytes_cleanup for what may have held a secret.
void bytes_wipe(struct bytes *bytes);

// bytes_reserve makes room for `more` bytes behind those that are there; pushing that much then
// can't abort. false: out of memory, and nothing changed.
bool bytes_reserve(struct bytes *bytes, size_t more);

// bytes_extend adds `more` bytes for the caller to write, and returns where they begin; the pointer
// is valid until the buffer grows again.
uint8_t *bytes_extend(struct bytes *bytes, size_t more);

// bytes_push appends a copy of len bytes.
void bytes_push(struct bytes *bytes, const void *from, size_t len);

// bytes_push_text appends the text without its NUL, and bytes_push_format what printf would print.
void bytes_push_text(struct bytes *bytes, const char *text);
void bytes_push_format(struct bytes *bytes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// bytes_take_text appends a NUL and returns the bytes as a text that the caller frees. The buffer
// is empty again.
char *bytes_take_text(struct bytes *bytes);

#endif
