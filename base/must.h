// SPDX-License-Identifier: Apache-2.0
//
// Allocates memory of fixed or configured size. When there is none these functions log that and
// abort, and the supervisor starts the program again, so a caller has no branch for it. Memory
// whose size a stranger chose (of a frame, a response, a file) is allocated by other means, and a
// lack of it is an error. The caller frees what these functions return. Any thread.
#ifndef TABARD_BASE_MUST_H
#define TABARD_BASE_MUST_H

#include <stddef.h>

// must_alloc returns num zeroed items of size bytes, and not NULL for no items either.
void *must_alloc(size_t num, size_t size) __attribute__((malloc, returns_nonnull));

// must_grow is realloc for num items. New items are not zeroed.
void *must_grow(void *ptr, size_t num, size_t size) __attribute__((returns_nonnull));

// must_copy and must_strdup return a copy; a NULL `bytes` is allowed when len is 0.
void *must_copy(const void *bytes, size_t len) __attribute__((malloc, returns_nonnull));
char *must_strdup(const char *text) __attribute__((malloc, returns_nonnull));

// must_have returns `ptr`, which a library allocated, and aborts if it is NULL. Use it only where a
// lack of memory is the one possible cause.
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
