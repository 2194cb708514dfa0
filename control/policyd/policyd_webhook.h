// SPDX-License-Identifier: Apache-2.0
//
// The webhook in policyd: its file watched, its certificate of policyd's own CA, its roots those in
// force. policyd.c calls policyd_webhook_start, policyd_webhook_trust whenever trust or certificate
// are new, and at the end policyd_webhook_drain and policyd_webhook_stop. It listens once it has
// its first certificate. Does nothing where the flags want no webhook. The loop's thread only.
#ifndef TABARD_CONTROL_POLICYD_POLICYD_WEBHOOK_H
#define TABARD_CONTROL_POLICYD_POLICYD_WEBHOOK_H

#include <uv.h>

#include "control/host/metrics.h"
#include "control/policyd/policyd_flags.h"

struct ssl_ctx_st;
struct inject_file;
struct webhook;

// Zero state: not started.
struct policyd_webhook {
    uv_loop_t *loop;
    const struct policyd_flags *flags; // borrowed
    struct inject_file *file;          // owned
    struct webhook *webhook;           // owned; NULL until there is a certificate
    void *early;                       // owned: a config that came before the webhook was there
    bool has_config;
    char failure[1024]; // why there is no config
};

void policyd_webhook_start(struct policyd_webhook *webhook, uv_loop_t *loop,
                           const struct policyd_flags *flags);

// policyd_webhook_trust gives it a certificate, what domain sidecars are of, and the roots (PEM)
// that prove policyd to them. false sets err: it can't listen.
bool policyd_webhook_trust(struct policyd_webhook *webhook, struct ssl_ctx_st *tls,
                           const char *trust_domain, const char *roots, struct err *err);

// policyd_webhook_is_ready says whether pods can be injected. false sets why.
bool policyd_webhook_is_ready(const struct policyd_webhook *webhook, struct err *why);

size_t policyd_webhook_num_held(const struct policyd_webhook *webhook);
void policyd_webhook_metrics(const struct policyd_webhook *webhook, struct metrics_page *page);
void policyd_webhook_drain(struct policyd_webhook *webhook);
void policyd_webhook_stop(struct policyd_webhook *webhook);

#endif
