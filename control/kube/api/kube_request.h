// SPDX-License-Identifier: Apache-2.0
//
// One request to the API server and its one answer. kube_request sends it; on_answer comes once,
// from the loop, within the deadline, unless kube_request_cancel came first. What the server has
// certainly not done is tried again within the deadline: a request that it has not seen, one that
// it put off (429 or 503 with Retry-After), and a GET whose connection was lost. The loop's thread
// only; bounded by the options' bytes_max.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_REQUEST_H
#define TABARD_CONTROL_KUBE_API_KUBE_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/kube/api/kube_client.h"

// Content types of a PATCH (RFC 7396, RFC 6902; server-side apply, of which JSON is YAML enough).
#define KUBE_MERGE_PATCH "application/merge-patch+json"
#define KUBE_JSON_PATCH  "application/json-patch+json"
#define KUBE_APPLY_PATCH "application/apply-patch+yaml"

#define KUBE_REQUEST_MS        30000
#define KUBE_REQUEST_BYTES_MAX (4u << 20) // etcd keeps no object over 1.5 MiB
#define KUBE_RETRY_MS_MAX      5000
#define KUBE_RETRY_AFTER_S_MAX 30 // of a server's Retry-After

struct kube_request; // opaque

struct kube_request_options {
    const char *method;       // NULL: "GET"
    const char *path;         // with its query, encoded: see kube_escape. Copied
    const json_t *body;       // NULL: none. Written out before kube_request returns
    const char *text;         // the body as JSON already; NULL: as `body` says. Copied
    const char *content_type; // of the body; NULL: "application/json"
    uint32_t timeout_ms;      // 0: KUBE_REQUEST_MS
    size_t bytes_max;         // of the answer's body; 0: KUBE_REQUEST_BYTES_MAX
    bool is_single;           // the first failure is the answer: nothing is tried again
};

// Everything is borrowed during on_answer; json_incref keeps the body.
struct kube_answer {
    unsigned status;        // of HTTP; 0: there was no answer
    json_t *body;           // NULL: none, or none that is JSON
    uint32_t retry_after_s; // that the server asked for; 0: none
    const char *error; // NULL: it was done (2xx). Else what went wrong, in words, with the status
                       // and the server's own message; foreign text: log it quoted
};

// kube_request starts a request.
struct kube_request *kube_request(struct kube_client *client,
                                  const struct kube_request_options *options,
                                  void (*on_answer)(void *ctx, const struct kube_answer *answer),
                                  void *ctx);

// kube_request_cancel ends a request without an answer; the server may have done it. NULL is
// allowed. Not for use once on_answer has been called.
void kube_request_cancel(struct kube_request *request);

// kube_escape appends a text percent-encoded for one segment of a path or one value of a query
// (RFC 3986, section 2.1).
struct bytes;
void kube_escape(struct bytes *out, const char *text);

#endif
