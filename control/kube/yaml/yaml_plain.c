// SPDX-License-Identifier: Apache-2.0
//
// What a plain word stands for in YAML 1.1, as gopkg.in/yaml.v2 has it, by which Kubernetes'
// programs read.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/kube/yaml/yaml_read.h"

#define NUMBER_MAX 64 // bytes; a longer word is a text

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(text, *words) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_null(const char *text)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL", NULL};
    return is_one_of(text, words);
}

static bool is_true(const char *text)
{
    static const char *const words[] = {"y",    "Y",    "yes", "Yes", "YES", "true",
                                        "True", "TRUE", "on",  "On",  "ON",  NULL};
    return is_one_of(text, words);
}

static bool is_false(const char *text)
{
    static const char *const words[] = {"n",     "N",     "no",  "No",  "NO",  "false",
                                        "False", "FALSE", "off", "Off", "OFF", NULL};
    return is_one_of(text, words);
}

// Copies the word without the underscores that YAML 1.1 lets stand between digits. false: too long.
static bool without_underscores(char *out, const char *text, size_t len)
{
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '_') {
            continue;
        }
        if (kept == NUMBER_MAX) {
            return false;
        }
        out[kept++] = text[i];
    }
    out[kept] = '\0';
    return true;
}

// 10, -5, +7, 0x1f, 0o17, 017, 0b101, from -2^63 to 2^63-1.
static bool is_integer(json_int_t *out, const char *text)
{
    static const struct {
        const char *prefix;
        int base;
        const char *digits;
    } forms[] = {
        {"0x", 16, "0123456789abcdefABCDEF"},
        {"0X", 16, "0123456789abcdefABCDEF"},
        {"0o", 8, "01234567"},
        {"0O", 8, "01234567"},
        {"0b", 2, "01"},
        {"0B", 2, "01"},
        {"0", 8, "01234567"},
        {"", 10, "0123456789"},
    };
    const char *digits = text + (*text == '-' || *text == '+');
    char number[NUMBER_MAX + 2];
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t prefix = strlen(forms[i].prefix);
        const char *rest = digits + prefix;
        if (strncmp(digits, forms[i].prefix, prefix) != 0 || *rest == '\0' ||
            strspn(rest, forms[i].digits) != strlen(rest)) {
            continue;
        }
        errno = 0;
        snprintf(number, sizeof number, "%s%s", *text == '-' ? "-" : "", rest);
        *out = strtoll(number, NULL, forms[i].base);
        return errno == 0;
    }
    return false;
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
static bool is_real(double *out, const char *text)
{
    const char *at = text + (*text == '-' || *text == '+');
    size_t whole = strspn(at, "0123456789");
    size_t part = at[whole] == '.' ? strspn(at + whole + 1, "0123456789") : 0;
    if (whole + part == 0) {
        return false;
    }
    at += whole + (at[whole] == '.' ? 1 + part : 0);
    if (*at == 'e' || *at == 'E') {
        at += 1 + (at[1] == '-' || at[1] == '+');
        size_t exponent = strspn(at, "0123456789");
        if (exponent == 0) {
            return false;
        }
        at += exponent;
    }
    *out = strtod(text, NULL);
    return *at == '\0' && isfinite(*out);
}

json_t *yaml_plain(const char *text, size_t len)
{
    char word[NUMBER_MAX + 1];
    json_int_t integer = 0;
    double real = 0;
    if (len > NUMBER_MAX || strlen(text) != len) {
        return json_stringn(text, len);
    }
    if (is_null(text)) {
        return json_null();
    }
    if (is_true(text) || is_false(text)) {
        return json_boolean(is_true(text));
    }
    bool is_number_like = len > 0 && strchr("+-.0123456789", text[0]) != NULL;
    if (is_number_like && without_underscores(word, text, len)) {
        if (is_integer(&integer, word)) {
            return json_integer(integer);
        }
        if (is_real(&real, word)) {
            return json_real(real);
        }
    }
    return json_stringn(text, len);
}
