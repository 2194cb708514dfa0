// SPDX-License-Identifier: Apache-2.0
//
// The gRPC server of policyd, with limits that are made from what the process may have. policyd.c
// makes one, has it listen and frees it.
#ifndef TABARD_CONTROL_POLICYD_POLICYD_SERVER_H
#define TABARD_CONTROL_POLICYD_POLICYD_SERVER_H

#include "control/policyd/stream/service.h"

#define POLICYD_CALLS_MAX  200 // streams of one connection
#define POLICYD_CONNS_MAX  20000
#define POLICYD_OPEN_MS    5000 // from accept to the end of TLS and the client's SETTINGS
#define POLICYD_CONNS_MIN  64
#define POLICYD_CONN_BYTES 65536 // that a connection with its stream takes at most, about

// policyd_server_new makes one that serves the service's method and doesn't listen yet. The service
// is borrowed. NULL sets err.
struct grpc_server *policyd_server_new(uv_loop_t *loop, struct service *service, struct err *err);

#endif
