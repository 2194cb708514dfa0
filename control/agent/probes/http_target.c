// SPDX-License-Identifier: Apache-2.0
#include "control/agent/probes/http_target.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/digits.h"

#define HTTP_PORT  80
#define HTTPS_PORT 443

// What may stand in a path or a query as it is (RFC 3986, section 3.3), and "%", since what is
// escaped already stays so.
static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~!$&'()*+,;=:@/?%[]", c) != NULL);
}

bool http_target_set_path(struct http_target *target, const char *path)
{
    static const char digits[] = "0123456789ABCDEF";
    char *out = target->path;
    size_t len = 0;
    if (*path != '/') {
        out[len++] = '/';
    }
    for (; *path != '\0' && *path != '#'; path++) {
        unsigned char c = (unsigned char)*path;
        if (len + 3 > HTTP_TARGET_PATH_MAX) {
            return false;
        }
        if (is_plain(c)) {
            out[len++] = (char)c;
        } else {
            out[len++] = '%';
            out[len++] = digits[c >> 4];
            out[len++] = digits[c & 15];
        }
    }
    out[len] = '\0';
    return true;
}

// Reads "host:port", whose host must be the target's own address.
static enum http_redirect take_authority(struct http_target *target, const char *text, size_t len)
{
    char host[ADDR_TEXT_MAX];
    struct ip ip;
    uint64_t port = target->is_https ? HTTPS_PORT : HTTP_PORT;
    const char *at = memchr(text, '@', len);
    const char *begin = at == NULL ? text : at + 1; // a user's name and password are not sent
    const char *end = text + len;
    bool is_v6 = begin < end && *begin == '[';
    const char *host_end = is_v6 ? memchr(begin, ']', (size_t)(end - begin)) : NULL;
    if (is_v6 && host_end == NULL) {
        return HTTP_REDIRECT_BAD;
    }
    const char *from = is_v6 ? host_end + 1 : begin;
    const char *colon = memchr(from, ':', (size_t)(end - from));
    host_end = is_v6 ? host_end : colon == NULL ? end : colon;
    begin += is_v6;
    if (colon != NULL && colon + 1 < end &&
        (!digits_read(&port, colon + 1, (size_t)(end - colon - 1), DIGITS_TAKE_ZEROS, UINT16_MAX) ||
         port == 0)) {
        return HTTP_REDIRECT_BAD;
    }
    if ((size_t)(host_end - begin) >= sizeof host) {
        return HTTP_REDIRECT_ELSEWHERE;
    }
    snprintf(host, sizeof host, "%.*s", (int)(host_end - begin), begin);
    if (!ip_parse(&ip, host, NULL) || !ip_equal(&ip, &target->addr.ip)) {
        return HTTP_REDIRECT_ELSEWHERE;
    }
    target->addr.port = (uint16_t)port;
    return HTTP_REDIRECT_FOLLOW;
}

// Puts a reference of a path below the folder of the path that was asked for. Its "." and ".."
// stay: servers take them out.
static enum http_redirect take_path(struct http_target *target, const char *reference)
{
    char joined[HTTP_TARGET_PATH_MAX + 1];
    size_t keep = 0;
    if (reference[0] == '?') {
        keep = strcspn(target->path, "?");
    } else if (reference[0] != '/') {
        size_t path_len = strcspn(target->path, "?");
        for (keep = path_len; keep > 0 && target->path[keep - 1] != '/'; keep--) {
        }
    }
    if (reference[0] == '\0' || reference[0] == '#') {
        return HTTP_REDIRECT_FOLLOW; // the same page
    }
    int len = snprintf(joined, sizeof joined, "%.*s%s", (int)keep, target->path, reference);
    return len >= 0 && (size_t)len < sizeof joined && http_target_set_path(target, joined)
               ? HTTP_REDIRECT_FOLLOW
               : HTTP_REDIRECT_BAD;
}

// The length of a scheme with its colon ("http:"), or 0 (RFC 3986, section 3.1).
static size_t scheme_len(const char *text)
{
    size_t len = strcspn(text, ":/?#");
    return text[len] == ':' && len > 0 ? len + 1 : 0;
}

enum http_redirect http_target_redirect(struct http_target *target, const char *location)
{
    size_t scheme = scheme_len(location);
    if (scheme > 0) {
        if (strncasecmp(location, "http:", scheme) == 0) {
            target->is_https = false;
        } else if (strncasecmp(location, "https:", scheme) == 0) {
            target->is_https = true;
        } else {
            return HTTP_REDIRECT_ELSEWHERE;
        }
        location += scheme;
        if (strncmp(location, "//", 2) != 0) {
            return HTTP_REDIRECT_BAD;
        }
    }
    if (strncmp(location, "//", 2) != 0) {
        return take_path(target, location);
    }
    location += 2;
    size_t len = strcspn(location, "/?#");
    enum http_redirect result = take_authority(target, location, len);
    if (result != HTTP_REDIRECT_FOLLOW) {
        return result;
    }
    snprintf(target->path, sizeof target->path, "/");
    return take_path(target, location + len);
}
