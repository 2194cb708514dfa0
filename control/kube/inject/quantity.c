// SPDX-License-Identifier: Apache-2.0
#include "control/kube/inject/quantity.h"

#include <string.h>

#include "base/digits.h"

#define DIGITS_MAX   18 // of a number, so that 64 bits hold it
#define EXPONENT_MAX 18

static const struct suffix {
    const char *text;
    double factor;
} suffixes[] = {
    {"", 1},        {"m", 1e-3},    {"k", 1e3},     {"M", 1e6},     {"G", 1e9},
    {"T", 1e12},    {"P", 1e15},    {"E", 1e18},    {"Ki", 0x1p10}, {"Mi", 0x1p20},
    {"Gi", 0x1p30}, {"Ti", 0x1p40}, {"Pi", 0x1p50}, {"Ei", 0x1p60},
};

static bool read_suffix(double *out_factor, const char *text)
{
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        if (strcmp(text, suffixes[i].text) == 0) {
            *out_factor = suffixes[i].factor;
            return true;
        }
    }
    if (*text != 'e' && *text != 'E') {
        return false;
    }
    bool is_negative = text[1] == '-';
    const char *digits = text + 1 + (is_negative || text[1] == '+');
    uint64_t exponent = 0;
    if (!digits_read(&exponent, digits, strlen(digits), DIGITS_TAKE_ZEROS, EXPONENT_MAX)) {
        return false;
    }
    for (*out_factor = 1; exponent > 0; exponent--) {
        *out_factor = is_negative ? *out_factor / 10 : *out_factor * 10;
    }
    return true;
}

bool quantity_parse(double *out, const char *text, struct err *err)
{
    size_t whole = strspn(text, "0123456789");
    const char *rest = text + whole;
    size_t part = *rest == '.' ? strspn(rest + 1, "0123456789") : 0;
    double value = 0;
    double scale = 1;
    double factor = 0;
    for (size_t i = 0; i < whole && i < DIGITS_MAX; i++) {
        value = value * 10 + (text[i] - '0');
    }
    for (size_t i = 0; i < part; i++) {
        scale /= 10;
        value += scale * (rest[1 + i] - '0');
    }
    rest += *rest == '.' ? 1 + part : 0;
    if (whole + part == 0 || whole > DIGITS_MAX || part > DIGITS_MAX ||
        !read_suffix(&factor, rest) || value * factor <= 0) {
        return err_set(err, "\"%.40s\" is no amount above 0, as 10m, 0.5, 64Mi or 1Gi", text);
    }
    *out = value * factor;
    return true;
}
