// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// One line, whatever was put into it: a message goes into a log line or onto a terminal.
static void flatten(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            *text = '?';
        }
    }
}

// Formats beside and copies, since an argument may be a part of err itself.
static void set_text(struct err *err, const char *format, va_list args)
{
    char text[sizeof err->text];
    vsnprintf(text, sizeof text, format, args);
    flatten(text);
    memcpy(err->text, text, sizeof text);
}

bool err_set(struct err *err, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        set_text(err, format, args);
        va_end(args);
        err->where[0] = '\0';
    }
    return false;
}

bool err_set_at(struct err *err, const char *where, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        set_text(err, format, args);
        va_end(args);
        char copy[sizeof err->where];
        snprintf(copy, sizeof copy, "%s", where);
        memcpy(err->where, copy, sizeof copy);
    }
    return false;
}

// Puts `prefix` and `joint` before what is in `field`, cutting at its end.
static void prepend(char *field, size_t field_len, const char *prefix, const char *joint)
{
    char whole[1024];
    snprintf(whole, sizeof whole, "%s%s%s", prefix, joint, field);
    snprintf(field, field_len, "%.*s", (int)field_len - 1, whole);
}

bool err_prefix(struct err *err, const char *format, ...)
{
    if (err != NULL) {
        char prefix[512];
        va_list args;
        va_start(args, format);
        vsnprintf(prefix, sizeof prefix, format, args);
        va_end(args);
        flatten(prefix);
        prepend(err->text, sizeof err->text, prefix, ": ");
    }
    return false;
}

bool err_prefix_where(struct err *err, const char *format, ...)
{
    if (err != NULL) {
        char prefix[160];
        va_list args;
        va_start(args, format);
        vsnprintf(prefix, sizeof prefix, format, args);
        va_end(args);
        const char *joint = err->where[0] == '\0' || err->where[0] == '[' ? "" : ".";
        prepend(err->where, sizeof err->where, prefix, joint);
    }
    return false;
}

const char *err_text(const struct err *err, char *buf, unsigned long buf_len)
{
    if (err->where[0] == '\0') {
        snprintf(buf, buf_len, "%s", err->text);
    } else {
        snprintf(buf, buf_len, "%s: %s", err->where, err->text);
    }
    return buf;
}
