// SPDX-License-Identifier: Apache-2.0
//
// The head of an HTTP/1.1 response, as far as a probe needs it: the status, and where it redirects
// to (RFC 9112, sections 2 to 5). Pure; the application chooses the bytes, so a fuzz target feeds
// it.
#ifndef TABARD_CONTROL_AGENT_PROBES_HTTP_HEAD_H
#define TABARD_CONTROL_AGENT_PROBES_HTTP_HEAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HTTP_HEAD_BYTES_MAX    16384
#define HTTP_HEAD_LOCATION_MAX 2048

enum http_head_result { HTTP_HEAD_MORE, HTTP_HEAD_DONE, HTTP_HEAD_BAD };

struct http_head {
    unsigned status;                           // 200 to 599: the final one
    char location[HTTP_HEAD_LOCATION_MAX + 1]; // empty: there is none
};

// http_head_parse looks at all that has come so far. Interim responses (RFC 9110, section 15.2) are
// passed over. HTTP_HEAD_BAD sets err.
enum http_head_result http_head_parse(struct http_head *out, const uint8_t *bytes, size_t len,
                                      struct err *err);

#endif
