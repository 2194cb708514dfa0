// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/policyd_server.h"

#include "base/process.h"

// Makes the limits on connections: what there are descriptors for, and what half of the memory that
// the control group gives holds. Strangers may take three quarters of them, and those of one source
// a third of that, since a whole fleet may join at once and from behind one address.
static void limit_connections(struct grpc_limits *limits)
{
    uint64_t num = POLICYD_CONNS_MAX;
    uint64_t by_memory = process_memory_max() / 2 / POLICYD_CONN_BYTES;
    num = process_descriptors_max() < num ? process_descriptors_max() : num;
    num = by_memory < num ? by_memory : num;
    num = num < POLICYD_CONNS_MIN ? POLICYD_CONNS_MIN : num;
    limits->connections_max = (uint32_t)num;
    limits->strangers_max = limits->connections_max / 4 * 3;
    limits->strangers_of_source_max = limits->strangers_max / 3;
    limits->h2.open_ms = POLICYD_OPEN_MS;
}

struct grpc_server *policyd_server_new(uv_loop_t *loop, struct service *service, struct err *err)
{
    struct grpc_server_config config = {.loop = loop,
                                        .methods = &service_method,
                                        .num_methods = 1,
                                        .limits = grpc_limits_default(),
                                        .ctx = service,
                                        .on_disconnect = service_disconnected};
    config.limits.message_bytes_max = SERVICE_MESSAGE_MAX;
    config.limits.held_bytes_max = 4 * SERVICE_MESSAGE_MAX;
    config.limits.h2.window_bytes = SERVICE_MESSAGE_MAX;
    limit_connections(&config.limits);
    config.limits.h2.streams_max = POLICYD_CALLS_MAX;
    config.limits.h2.keepalive_ms = 60000;
    return grpc_server_new(&config, err);
}
