// SPDX-License-Identifier: Apache-2.0
//
// The webhook that puts sidecars into pods: HTTPS, POST /inject, asked by the API server for each
// pod of a namespace that opted in. policyd makes one with webhook_new once it has a certificate,
// gives it what injection needs with webhook_set_config and webhook_set_trust, and ends with
// webhook_drain and webhook_close. Until it has both, it answers 503, which the API server asks
// again. The loop's thread; reviews are decided on libuv's workers, WEBHOOK_JOBS_MAX at once, the
// smallest first, so that pods don't wait for what only a stranger sends.
//
// Anybody who reaches the port may ask, and learns what a pod of his own would get. Nothing but an
// answer comes of it. Who asks can't be told apart, unless the TLS context demands certificates.
#ifndef TABARD_CONTROL_KUBE_WEBHOOK_WEBHOOK_H
#define TABARD_CONTROL_KUBE_WEBHOOK_WEBHOOK_H

#include <uv.h>

#include "base/err.h"
#include "control/host/http.h"
#include "control/host/listen.h"
#include "control/host/metrics.h"
#include "control/kube/inject/inject_config.h"

#define WEBHOOK_PATH            "/inject"
#define WEBHOOK_UNCLEAR_PATH    "/unclear" // pods of a namespace whose label is neither of the words
#define WEBHOOK_CONNECTIONS_MAX 1024
// Of one address. An API server has 600 requests under way at most (--max-requests-inflight and
// --max-mutating-requests-inflight), each on a connection of its own.
#define WEBHOOK_SOURCE_MAX         640
#define WEBHOOK_LEFT_MAX           1280
#define WEBHOOK_HEAD_MS            5000
#define WEBHOOK_IDLE_MS            120000 // longer than an API server keeps an idle connection, 90 s
#define WEBHOOK_BODY_MS            10000
#define WEBHOOK_ANSWER_MS          10000 // an API server waits for 30 s at most, usually for 10
#define WEBHOOK_BODY_BYTES_MAX     (10u << 20)
#define WEBHOOK_ALL_BODY_BYTES_MAX (32u << 20)
#define WEBHOOK_JOBS_MAX           2
#define WEBHOOK_WAIT_MS            8000 // that a review waits for a worker

struct webhook; // opaque

// webhook_new listens, on one address at least. The context is counted. NULL sets err.
struct webhook *webhook_new(uv_loop_t *loop, const struct listen_addrs *addrs,
                            struct ssl_ctx_st *tls, struct err *err);

// webhook_set_tls has new connections get another certificate.
void webhook_set_tls(struct webhook *webhook, struct ssl_ctx_st *tls);

// webhook_set_config takes over how pods are injected. webhook_set_trust sets the trust domain and
// the roots (PEM), which are copied. Reviews under way go on with what was there before.
void webhook_set_config(struct webhook *webhook, Tabard__V1__InjectConfig *config);
void webhook_set_trust(struct webhook *webhook, const char *trust_domain, const char *roots);

// webhook_drain goes on serving, but sends each client elsewhere with its answer.
void webhook_drain(struct webhook *webhook);

// webhook_close ends it; reviews that wait are put off. NULL is allowed. Its memory goes with the
// loop's next turns.
void webhook_close(struct webhook *webhook);

void webhook_metrics(const struct webhook *webhook, struct metrics_page *page);

#endif
