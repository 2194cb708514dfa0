// SPDX-License-Identifier: Apache-2.0
#include "base/must.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void must_have_failed(void)
{
    log_error("msg=\"out of memory\"");
    abort();
}

void *must_alloc(size_t num, size_t size)
{
    bool is_empty = num == 0 || size == 0;
    return must_have_checked(is_empty ? calloc(1, 1) : calloc(num, size));
}

void *must_grow(void *ptr, size_t num, size_t size)
{
    size_t len = 0;
    if (__builtin_mul_overflow(num, size, &len)) {
        must_have_failed();
    }
    return must_have_checked(realloc(ptr, len > 0 ? len : 1));
}

void *must_copy(const void *bytes, size_t len)
{
    void *copy = must_have_checked(malloc(len > 0 ? len : 1));
    if (len > 0) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

char *must_strdup(const char *text)
{
    return must_copy(text, strlen(text) + 1);
}
