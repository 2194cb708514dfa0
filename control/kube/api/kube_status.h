// SPDX-License-Identifier: Apache-2.0
//
// What the API server says when it refuses: an object of kind Status, in a response or in a watch's
// ERROR event, put into one line of text.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_STATUS_H
#define TABARD_CONTROL_KUBE_API_KUBE_STATUS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

// kube_status_text sets err to "403 Forbidden: pods is forbidden: ..." from an HTTP status and the
// body, which may be NULL or anything. It returns false.
bool kube_status_text(struct err *err, unsigned status, const json_t *body);

// kube_status_code returns the code of a Status (410, say), 0 if it has none.
unsigned kube_status_code(const json_t *status);

// kube_json_read reads a whole text as one JSON value. NULL sets err.
json_t *kube_json_read(const char *text, size_t len, struct err *err);

#endif
