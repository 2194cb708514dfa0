// SPDX-License-Identifier: Apache-2.0
//
// One HTTP exchange with the API server: a request with its whole body, and the body of its
// response as it comes. What requests and watches are made of; nobody else starts one. An exchange
// frees itself after on_end, or after it was cancelled; the loop's thread only. What it holds is
// bounded by KUBE_WINDOW_BYTES. It has no deadline and is never tried again: both are its user's.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_EXCHANGE_H
#define TABARD_CONTROL_KUBE_API_KUBE_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "control/kube/api/kube_client.h"

struct kube_exchange; // opaque

// How an exchange ended.
struct kube_end {
    unsigned status;        // of HTTP; 0: no response came
    uint32_t retry_after_s; // 0: the server said nothing of it
    bool is_whole;          // the response came to its end
    bool is_unseen;         // the server has certainly not seen the request
    const char *why;        // where it isn't whole; borrowed, foreign text
};

// Both come from the loop and may start, cancel and close anything.
struct kube_exchange_hooks {
    void (*on_bytes)(void *ctx, unsigned status, const uint8_t *bytes, size_t len);
    void (*on_end)(void *ctx, const struct kube_end *end); // once, the last
};

struct kube_exchange_start {
    const char *method;
    const char *path;
    const char *content_type;                // NULL: no body
    char *body;                              // taken over, malloc'd; NULL: none
    const struct kube_exchange_hooks *hooks; // borrowed
    void *ctx;
};

// kube_exchange_start sends a request. NULL sets err, and no hook comes; the body is freed.
struct kube_exchange *kube_exchange_start(struct kube_client *client,
                                          const struct kube_exchange_start *start, struct err *err);

// kube_exchange_cancel ends it without a hook.
void kube_exchange_cancel(struct kube_exchange *exchange);

#endif
