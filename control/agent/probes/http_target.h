// SPDX-License-Identifier: Apache-2.0
//
// What a probe over HTTP asks for, and where a redirection leads it. Pure.
#ifndef TABARD_CONTROL_AGENT_PROBES_HTTP_TARGET_H
#define TABARD_CONTROL_AGENT_PROBES_HTTP_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define HTTP_TARGET_PATH_MAX 8192 // escaped

struct http_target {
    struct addr addr;
    bool is_https;
    char path[HTTP_TARGET_PATH_MAX + 1]; // with its query, escaped, from its slash on
};

// http_target_set_path takes a path as somebody wrote it: what may not stand in a request line is
// escaped (RFC 3986, section 2.1), a fragment left out, and a slash put before it. false: too long.
bool http_target_set_path(struct http_target *target, const char *path);

// Where a Location leads to (RFC 3986, section 5.2; RFC 9110, section 10.2.2).
enum http_redirect {
    HTTP_REDIRECT_FOLLOW,    // the same address: the target is changed
    HTTP_REDIRECT_ELSEWHERE, // another host, which a probe doesn't ask
    HTTP_REDIRECT_BAD,       // no URL
};
enum http_redirect http_target_redirect(struct http_target *target, const char *location);

#endif
