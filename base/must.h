// SPDX-License-Identifier: Apache-2.0
//
// Memory of fixed or configured size. When there is none, these log it and abort, and the
// supervisor starts the program again: a caller has no branch for it. What a stranger chose the
// size of (a frame, a response, a file) is allocated by other means and refused with an error. What
// these return is free()d by the caller. Any thread.
#ifndef TABARD_BASE_MUST_H
#define TABARD_BASE_MUST_H

#include <stddef.h>

// must_alloc returns num zeroed items of size bytes; never NULL, also for no items.
void *must_alloc(size_t num, size_t size) __attribute__((malloc, returns_nonnull));

// must_grow is realloc for num items: the new ones are not zeroed.
void *must_grow(void *ptr, size_t num, size_t size) __attribute__((returns_nonnull));

// must_copy and must_strdup copy; a NULL `bytes` is allowed when len is 0.
void *must_copy(const void *bytes, size_t len) __attribute__((malloc, returns_nonnull));
char *must_strdup(const char *text) __attribute__((malloc, returns_nonnull));

// must_have passes on what a library allocated, and aborts when it had no memory for it: use it
// where a NULL can have no other cause.
#define must_have(ptr) ((__typeof__(ptr))must_have_checked(ptr))
void must_have_failed(void) __attribute__((noreturn, cold));

__attribute__((returns_nonnull)) static inline void *must_have_checked(void *ptr)
{
    if (ptr == NULL) {
        must_have_failed();
    }
    return ptr;
}

#endif
