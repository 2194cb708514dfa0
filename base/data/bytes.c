// SPDX-License-Identifier: Apache-2.0
#include "base/data/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

#define CAP_MIN 256

void bytes_cleanup(struct bytes *bytes)
{
    free(bytes->at);
    *bytes = (struct bytes){0};
}

void bytes_wipe(struct bytes *bytes)
{
    if (bytes->at != NULL) {
        explicit_bzero(bytes->at, bytes->cap);
    }
    bytes_cleanup(bytes);
}

// Returns how many bytes to allocate in all when `more` don't fit. 0: no size_t is that large.
static size_t cap_for(const struct bytes *bytes, size_t more)
{
    size_t need = 0;
    if (__builtin_add_overflow(bytes->len, more, &need)) {
        return 0;
    }
    size_t doubled = bytes->cap > SIZE_MAX / 2 ? need : 2 * bytes->cap;
    size_t cap = doubled < CAP_MIN ? CAP_MIN : doubled;
    return cap < need ? need : cap;
}

bool bytes_reserve(struct bytes *bytes, size_t more)
{
    if (more <= bytes->cap - bytes->len) {
        return true;
    }
    size_t cap = cap_for(bytes, more);
    uint8_t *grown = cap == 0 ? NULL : realloc(bytes->at, cap);
    if (grown == NULL) {
        return false;
    }
    bytes->at = grown;
    bytes->cap = cap;
    return true;
}

uint8_t *bytes_extend(struct bytes *bytes, size_t more)
{
    must_have(bytes_reserve(bytes, more) ? bytes : NULL);
    uint8_t *place = bytes->at + bytes->len;
    bytes->len += more;
    return place;
}

void bytes_push(struct bytes *bytes, const void *from, size_t len)
{
    if (len > 0) {
        memcpy(bytes_extend(bytes, len), from, len);
    }
}

void bytes_push_text(struct bytes *bytes, const char *text)
{
    bytes_push(bytes, text, strlen(text));
}

void bytes_push_format(struct bytes *bytes, const char *format, ...)
{
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        char *place = (char *)bytes_extend(bytes, (size_t)len + 1); // and vsnprintf's NUL
        vsnprintf(place, (size_t)len + 1, format, again);
        bytes->len--;
    }
    va_end(again);
}

char *bytes_take_text(struct bytes *bytes)
{
    bytes_push(bytes, "", 1);
    char *text = (char *)bytes->at;
    *bytes = (struct bytes){0};
    return text;
}
