// SPDX-License-Identifier: Apache-2.0
//
// One question to the application: HTTP, TCP or gRPC, with one deadline for all of it. probes.c
// starts one for a page that was asked for. Heap, frees itself; the loop's thread. Bounded by the
// probe's timeout, by HTTP_HEAD_BYTES_MAX and by REDIRECTS_MAX of its own.
#ifndef TABARD_CONTROL_AGENT_PROBES_PROBE_CALL_H
#define TABARD_CONTROL_AGENT_PROBES_PROBE_CALL_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <uv.h>

#include "base/addr.h"
#include "tabard/v1/probes.pb-c.h"

struct probe_call; // opaque

// Says what came of it: once, from the loop. `why` is borrowed for the call, and holds what the
// application chose.
typedef void probe_call_on_done(void *ctx, bool is_good, const char *why);

struct probe_call_config {
    uv_loop_t *loop;
    SSL_CTX *tls;                   // borrowed while the call lasts
    const Tabard__V1__Probe *probe; // checked; borrowed while the call lasts
    struct ip ip;                   // where the application is
    probe_call_on_done *on_done;
    void *ctx;
};

struct probe_call *probe_call_start(const struct probe_call_config *config);

// probe_call_cancel ends a call whose on_done has not come, and now won't.
void probe_call_cancel(struct probe_call *call);

#endif
