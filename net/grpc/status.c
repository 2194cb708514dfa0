// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/status.h"

#include <stdio.h>
#include <string.h>

#include "base/digits.h"
#include "net/http2/stream.h"

#define TIMEOUT_MAX 99999999 // of any unit: the protocol has room for eight digits

const char *grpc_code_name(enum grpc_code code)
{
    static const char *const names[] = {
#define X(name, number) [number] = #name,
        GRPC_CODES(X)
#undef X
    };
    return (unsigned)code < sizeof names / sizeof *names ? names[code] : "UNKNOWN";
}

bool grpc_code_parse(enum grpc_code *out, const char *text, size_t len)
{
    uint64_t number = GRPC_UNKNOWN;
    bool ok = digits_read(&number, text, len, DIGITS_TAKE_ZEROS, GRPC_UNAUTHENTICATED);
    *out = (enum grpc_code)number;
    return ok;
}

enum grpc_code grpc_code_of_http(unsigned http_status)
{
    switch (http_status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
        return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return GRPC_UNKNOWN;
    }
}

enum grpc_code grpc_code_of_reset(uint32_t error_code)
{
    switch (error_code) {
    case H2_REFUSED_STREAM:
        return GRPC_UNAVAILABLE;
    case H2_CANCEL:
        return GRPC_CANCELLED;
    case H2_ENHANCE_YOUR_CALM:
        return GRPC_RESOURCE_EXHAUSTED;
    case H2_INADEQUATE_SECURITY:
        return GRPC_PERMISSION_DENIED;
    default:
        return GRPC_INTERNAL;
    }
}

// Returns how many bytes the UTF-8 character that starts here has; 1 for a byte that starts none.
static size_t char_len(const char *text)
{
    unsigned char first = (unsigned char)*text;
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    for (size_t i = 1; i < len; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80) {
            return 1;
        }
    }
    return len;
}

static bool is_plain(char c)
{
    return c >= 0x20 && c <= 0x7e && c != '%';
}

size_t grpc_message_encode(char *out, size_t out_cap, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len = 0;
    while (*text != '\0') {
        size_t from = char_len(text);
        size_t need = is_plain(*text) ? 1 : 3 * from;
        if (len + need + 1 > out_cap) {
            break;
        }
        if (is_plain(*text)) {
            out[len++] = *text;
        } else {
            for (size_t i = 0; i < from; i++) {
                out[len++] = '%';
                out[len++] = digits[(unsigned char)text[i] >> 4];
                out[len++] = digits[(unsigned char)text[i] & 15];
            }
        }
        text += from;
    }
    out[len] = '\0';
    return len;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

size_t grpc_message_decode(char *out, size_t out_cap, const char *text, size_t len)
{
    size_t out_len = 0;
    for (size_t i = 0; i < len && out_len + 1 < out_cap; i++) {
        char c = text[i];
        if (c == '%' && len - i >= 3 && hex_value(text[i + 1]) >= 0 &&
            hex_value(text[i + 2]) >= 0) {
            c = (char)(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]));
            i += 2;
        }
        out[out_len++] = c == '\0' ? '?' : c;
    }
    out[out_len] = '\0';
    return out_len;
}

const char *grpc_timeout_format(char out[GRPC_TIMEOUT_TEXT_MAX], uint64_t ms)
{
    static const struct {
        uint64_t ms;
        char unit;
    } units[] = {{1, 'm'}, {1000, 'S'}, {60000, 'M'}, {3600000, 'H'}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t value = ms / units[i].ms + (ms % units[i].ms != 0);
        if (value <= TIMEOUT_MAX) {
            snprintf(out, GRPC_TIMEOUT_TEXT_MAX, "%llu%c", (unsigned long long)value,
                     units[i].unit);
            return out;
        }
    }
    return strcpy(out, "99999999H"); // some eleven thousand years
}

bool grpc_timeout_parse(uint64_t *out_ms, const char *text, size_t len)
{
    uint64_t value = 0;
    if (len < 2 || len > 9 || !digits_read(&value, text, len - 1, DIGITS_TAKE_ZEROS, TIMEOUT_MAX)) {
        return false;
    }
    switch (text[len - 1]) {
    case 'H':
        *out_ms = value * 3600000;
        return true;
    case 'M':
        *out_ms = value * 60000;
        return true;
    case 'S':
        *out_ms = value * 1000;
        return true;
    case 'm':
        *out_ms = value;
        return true;
    case 'u':
        *out_ms = (value + 999) / 1000;
        return true;
    case 'n':
        *out_ms = (value + 999999) / 1000000;
        return true;
    default:
        return false;
    }
}
