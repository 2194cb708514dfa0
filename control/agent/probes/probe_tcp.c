// SPDX-License-Identifier: Apache-2.0
//
// A probe that only connects.
#include "control/agent/probes/probe_call_impl.h"

static void on_open(void *ctx)
{
    probe_call_decide(ctx, true, "connected");
}

static void on_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    (void)ctx;
    (void)bytes;
    (void)len;
}

static void on_written(void *ctx)
{
    (void)ctx;
}

static void on_end(void *ctx, const char *why)
{
    probe_call_decide(ctx, false, "%s", why);
}

static void on_closed(void *ctx)
{
    struct probe_call *call = ctx;
    call->has_transport = false;
    probe_call_release(call);
}

static const struct transport_hooks hooks = {.on_open = on_open,
                                             .on_bytes = on_bytes,
                                             .on_written = on_written,
                                             .on_end = on_end,
                                             .on_closed = on_closed};

void probe_tcp_start(struct probe_call *call)
{
    call->target.addr.port = (uint16_t)call->config.probe->tcp->port;
    probe_call_connect(call, &hooks, NULL);
}
