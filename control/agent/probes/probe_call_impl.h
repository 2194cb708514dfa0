// SPDX-License-Identifier: Apache-2.0
//
// What the files of probe_call share: the call, and how each kind of it begins.
#ifndef TABARD_CONTROL_AGENT_PROBES_PROBE_CALL_IMPL_H
#define TABARD_CONTROL_AGENT_PROBES_PROBE_CALL_IMPL_H

#include "base/data/bytes.h"
#include "base/err.h"
#include "control/agent/probes/http_target.h"
#include "control/agent/probes/probe_call.h"
#include "net/grpc/client.h"
#include "net/http2/transport.h"

struct probe_call {
    struct probe_call_config config;
    uv_timer_t timer;           // the deadline, and then what ends the call
    struct transport transport; // HTTP, TCP
    struct http_target target;  // HTTP
    struct bytes head;          // HTTP: of the answer, as far as it has come
    unsigned num_redirects;
    struct grpc_channel *channel; // owned; gRPC
    bool is_serving;              // gRPC: the answer said so
    bool has_transport;
    bool follows; // a redirection: connects again once the transport is closed
    bool is_decided;
    bool is_good;
    struct err why;
    unsigned handles_open;
};

// probe_call_decide ends the call with an answer, soon, outside of whatever callback found it. The
// first one counts.
void probe_call_decide(struct probe_call *call, bool is_good, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// probe_call_connect opens a transport to the target; its on_closed must release the call.
void probe_call_connect(struct probe_call *call, const struct transport_hooks *hooks, SSL_CTX *tls);

// probe_call_release takes one handle away, with the last one the call.
void probe_call_release(struct probe_call *call);

void probe_http_start(struct probe_call *call);
void probe_tcp_start(struct probe_call *call);
void probe_grpc_start(struct probe_call *call);

#endif
