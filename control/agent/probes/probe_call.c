// SPDX-License-Identifier: Apache-2.0
#include "control/agent/probes/probe_call_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"

void probe_call_release(struct probe_call *call)
{
    if (--call->handles_open == 0) {
        bytes_cleanup(&call->head);
        free(call);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    probe_call_release(handle->data);
}

static void close_all(struct probe_call *call)
{
    call->is_decided = true;
    uv_close((uv_handle_t *)&call->timer, on_timer_closed);
    grpc_channel_free(call->channel);
    call->channel = NULL;
    if (call->has_transport) {
        transport_close(&call->transport);
    }
}

static void on_over(uv_timer_t *timer)
{
    struct probe_call *call = timer->data;
    probe_call_on_done *on_done = call->config.on_done;
    void *ctx = call->config.ctx;
    bool is_good = call->is_good;
    struct err why = call->why;
    close_all(call);
    on_done(ctx, is_good, why.text);
}

static void on_late(uv_timer_t *timer)
{
    struct probe_call *call = timer->data;
    unsigned seconds = call->config.probe->timeout_seconds;
    probe_call_decide(call, false, "no whole answer in %u s", seconds == 0 ? 1 : seconds);
}

void probe_call_decide(struct probe_call *call, bool is_good, const char *format, ...)
{
    if (call->is_decided) {
        return;
    }
    char text[sizeof call->why.text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    err_set(&call->why, "%s", text);
    call->is_decided = true;
    call->is_good = is_good;
    uv_timer_start(&call->timer, on_over, 0, 0);
}

void probe_call_connect(struct probe_call *call, const struct transport_hooks *hooks, SSL_CTX *tls)
{
    struct err err = {{0}, {0}};
    const struct h2_target target = {.addr = call->target.addr};
    call->transport = (struct transport){.hooks = hooks, .ctx = call, .is_any_protocol = true};
    call->has_transport = true;
    call->handles_open++;
    if (!transport_connect(&call->transport, call->config.loop, &target, tls, NULL, &err)) {
        probe_call_decide(call, false, "%s", err.text);
    }
}

struct probe_call *probe_call_start(const struct probe_call_config *config)
{
    struct probe_call *call = must_alloc(1, sizeof *call);
    const Tabard__V1__Probe *probe = config->probe;
    uint64_t seconds = probe->timeout_seconds == 0 ? 1 : probe->timeout_seconds;
    call->config = *config;
    uv_timer_init(config->loop, &call->timer);
    call->timer.data = call;
    call->handles_open = 1;
    uv_timer_start(&call->timer, on_late, seconds * 1000, 0);
    call->target.addr.ip = config->ip;
    switch (probe->kind_case) {
    case TABARD__V1__PROBE__KIND_HTTP:
        probe_http_start(call);
        break;
    case TABARD__V1__PROBE__KIND_TCP:
        probe_tcp_start(call);
        break;
    default:
        probe_grpc_start(call);
        break;
    }
    return call;
}

void probe_call_cancel(struct probe_call *call)
{
    close_all(call);
}
