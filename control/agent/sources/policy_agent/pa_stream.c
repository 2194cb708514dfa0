// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_stream.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "base/now.h"
#include "control/agent/sources/subscription/pa_response.h"
#include "control/agent/sources/policy_agent/pa_tls.h"
#include "net/grpc/client.h"

struct pa_stream {
    struct pa_stream_hooks hooks;
    struct pa_verifier *verifier; // counted; NULL on a Unix socket
    struct grpc_channel *channel; // owned
    struct grpc_call *call;       // borrowed until its on_end; NULL: none
};

static void on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct pa_stream *stream = grpc_call_ctx(call);
    if (stream != NULL) {
        stream->hooks.on_message(stream->hooks.ctx, bytes, len);
    }
}

static void on_end(struct grpc_call *call, const struct grpc_status *status)
{
    struct pa_stream *stream = grpc_call_ctx(call);
    if (stream == NULL) {
        return;
    }
    stream->call = NULL;
    char why[1024];
    const char *refusal = stream->verifier != NULL ? pa_verifier_why(stream->verifier) : "";
    snprintf(why, sizeof why, "%s%s%s%s%s", grpc_code_name(status->code),
             status->message[0] != '\0' ? ": " : "", status->message,
             refusal[0] != '\0' ? ": " : "", refusal);
    stream->hooks.on_end(stream->hooks.ctx, why);
}

static const struct grpc_call_hooks call_hooks = {.on_message = on_message, .on_end = on_end};

static void on_down(void *ctx, const char *why)
{
    (void)why; // the call's end says it
    struct pa_stream *stream = ctx;
    if (stream->call != NULL) {
        stream->hooks.on_leaving(stream->hooks.ctx);
    }
}

struct pa_stream *pa_stream_new(uv_loop_t *loop, struct pa_access *access,
                                const struct pa_stream_hooks *hooks, struct err *err)
{
    struct pa_stream *stream = must_alloc(1, sizeof *stream);
    stream->hooks = *hooks;
    struct grpc_channel_config config = {
        .loop = loop,
        .target = {.unix_path = access->unix_path, .host = access->host, .addr = access->addr},
        .limits = grpc_limits_default(),
        .ctx = stream,
        .on_down = on_down};
    config.limits.message_bytes_max = PA_RESPONSE_BYTES_MAX;
    config.limits.held_bytes_max = 2 * PA_RESPONSE_BYTES_MAX;
    if (access->unix_path == NULL) {
        // A host that is gone without a word is noticed by nothing else.
        config.limits.h2.keepalive_ms = GRPC_CHANNEL_KEEPALIVE_MS_MIN;
        stream->verifier = pa_verifier_new(access->roots, access->config->identity);
        access->roots = NULL;
        config.ssl_ctx = pa_tls_new(stream->verifier, NULL, NULL, err);
        if (config.ssl_ctx == NULL) {
            goto out;
        }
    }
    stream->channel = grpc_channel_new(&config, err);
out:
    SSL_CTX_free(config.ssl_ctx);
    if (stream->channel == NULL) {
        pa_stream_free(stream);
        return NULL;
    }
    return stream;
}

void pa_stream_free(struct pa_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    if (stream->channel != NULL) {
        pa_stream_close(stream);
    }
    grpc_channel_free(stream->channel);
    pa_verifier_unref(stream->verifier);
    free(stream);
}

bool pa_stream_open(struct pa_stream *stream, const Tabard__V1__Identity *identity, EVP_PKEY *key,
                    struct err *err)
{
    struct grpc_call_start start = {
        .path = "/tabard.v1.PolicyAgent/Subscribe", .hooks = &call_hooks, .ctx = stream};
    pa_stream_close(stream);
    if (stream->verifier != NULL) {
        SSL_CTX *ctx = pa_tls_new(stream->verifier, identity, key, err);
        if (ctx == NULL) {
            return false;
        }
        grpc_channel_set_tls(stream->channel, ctx);
        SSL_CTX_free(ctx);
    }
    if (grpc_channel_connect(stream->channel, err)) {
        stream->call = grpc_channel_call(stream->channel, &start, err);
    }
    return stream->call != NULL;
}

bool pa_stream_learn(struct pa_stream *stream, const Tabard__V1__State *state, struct err *err)
{
    return stream->verifier == NULL ||
           pa_roots_learn(pa_verifier_roots(stream->verifier), state, now_date_s(), err);
}

void pa_stream_close(struct pa_stream *stream)
{
    if (stream->call != NULL) {
        grpc_call_set_ctx(stream->call, NULL);
        grpc_call_cancel(stream->call);
        stream->call = NULL;
    }
    grpc_channel_disconnect(stream->channel);
}

struct grpc_call *pa_stream_call(const struct pa_stream *stream)
{
    return stream->call;
}
