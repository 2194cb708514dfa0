// SPDX-License-Identifier: Apache-2.0
//
// The stream to one policy agent: its connection, its TLS, its one Subscribe call. pa_source opens
// it as often as subscription says, and sends on the call that pa_stream_call returns. Heap, owned
// by pa_source; the loop thread; bounded by gRPC's limits with PA_RESPONSE_BYTES_MAX a message.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_STREAM_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_STREAM_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "control/agent/sources/policy_agent/pa_access.h"
#include "tabard/v1/policy_agent.pb-c.h"

struct grpc_call;
struct pa_stream; // opaque

struct pa_stream_hooks {
    void *ctx;
    void (*on_message)(void *ctx, const uint8_t *bytes, size_t len);
    void (*on_leaving)(void *ctx); // the server says that it goes; the stream may go on
    void (*on_end)(void *ctx, const char *why); // foreign text: log it quoted
};

// pa_stream_new takes over access->roots. NULL sets err.
struct pa_stream *pa_stream_new(uv_loop_t *loop, struct pa_access *access,
                                const struct pa_stream_hooks *hooks, struct err *err);
void pa_stream_free(struct pa_stream *stream); // NULL is allowed; no hook is called

// pa_stream_learn has what the last state in force says (NULL: there is none) prove the policy
// agent from the next pa_stream_open on (pa_roots_learn).
bool pa_stream_learn(struct pa_stream *stream, const Tabard__V1__State *state, struct err *err);

// pa_stream_open begins a call on a connection of its own, over TCP with this certificate
// (identity may be NULL). false sets err.
bool pa_stream_open(struct pa_stream *stream, const Tabard__V1__Identity *identity, EVP_PKEY *key,
                    struct err *err);
void pa_stream_close(struct pa_stream *stream); // on_end does not come

// pa_stream_call returns the call under way, borrowed until it ends; NULL: none.
struct grpc_call *pa_stream_call(const struct pa_stream *stream);

#endif
