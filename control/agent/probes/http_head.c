// SPDX-License-Identifier: Apache-2.0
#include "control/agent/probes/http_head.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

// What is not looked at yet.
struct rest {
    const char *at;
    size_t len;
};

// Takes a line without its CR and LF. false: it isn't whole yet.
static bool take_line(struct rest *rest, struct rest *out_line)
{
    const char *end = rest->len == 0 ? NULL : memchr(rest->at, '\n', rest->len);
    if (end == NULL) {
        return false;
    }
    size_t len = (size_t)(end - rest->at);
    *out_line = (struct rest){.at = rest->at, .len = len};
    if (len > 0 && rest->at[len - 1] == '\r') {
        out_line->len--;
    }
    rest->at += len + 1;
    rest->len -= len + 1;
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

// "HTTP/1.1 204 No Content"; the reason may be absent.
static bool read_status(unsigned *out, const struct rest *line, struct err *err)
{
    static const char version[] = "HTTP/1.";
    const char *at = line->at;
    if (line->len < 12 || memcmp(at, version, sizeof version - 1) != 0 || !is_digit(at[7]) ||
        at[8] != ' ' || !is_digit(at[9]) || !is_digit(at[10]) || !is_digit(at[11]) ||
        (line->len > 12 && at[12] != ' ')) {
        return err_set(err, "the answer is no HTTP/1 (it begins with \"%.*s\")",
                       (int)(line->len < 40 ? line->len : 40), at);
    }
    *out = (unsigned)(at[9] - '0') * 100 + (unsigned)(at[10] - '0') * 10 + (unsigned)(at[11] - '0');
    return (*out >= 100 && *out <= 599) ||
           err_set(err, "the answer's status %u is none of 100 to 599", *out);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

// Reads one header, and keeps the first Location.
static bool read_header(struct http_head *out, const struct rest *line, struct err *err)
{
    static const char name[] = "location";
    const char *colon = memchr(line->at, ':', line->len);
    if (colon == NULL || colon == line->at || is_blank(line->at[0])) {
        return err_set(err, "the answer has a line that is no header (\"%.*s\")",
                       (int)(line->len < 40 ? line->len : 40), line->at);
    }
    size_t name_len = (size_t)(colon - line->at);
    if (out->location[0] != '\0' || name_len != sizeof name - 1 ||
        strncasecmp(line->at, name, name_len) != 0) {
        return true;
    }
    const char *value = colon + 1;
    size_t len = line->len - name_len - 1;
    while (len > 0 && is_blank(value[0])) {
        value++;
        len--;
    }
    while (len > 0 && is_blank(value[len - 1])) {
        len--;
    }
    if (len > HTTP_HEAD_LOCATION_MAX || memchr(value, '\0', len) != NULL) {
        return err_set(err, "the answer redirects to more than %d bytes, or to none that are text",
                       HTTP_HEAD_LOCATION_MAX);
    }
    memcpy(out->location, value, len);
    out->location[len] = '\0';
    return true;
}

enum http_head_result http_head_parse(struct http_head *out, const uint8_t *bytes, size_t len,
                                      struct err *err)
{
    struct rest rest = {.at = (const char *)bytes, .len = len};
    struct rest line = {0};
    *out = (struct http_head){0};
    while (take_line(&rest, &line)) {
        if (out->status == 0) {
            if (!read_status(&out->status, &line, err)) {
                return HTTP_HEAD_BAD;
            }
        } else if (line.len > 0) {
            if (!read_header(out, &line, err)) {
                return HTTP_HEAD_BAD;
            }
        } else if (out->status >= 200 || out->status == 101) {
            return HTTP_HEAD_DONE;
        } else {
            *out = (struct http_head){0};
        }
    }
    if (len >= HTTP_HEAD_BYTES_MAX) {
        err_set(err, "the answer's head is longer than %d bytes", HTTP_HEAD_BYTES_MAX);
        return HTTP_HEAD_BAD;
    }
    return HTTP_HEAD_MORE;
}
