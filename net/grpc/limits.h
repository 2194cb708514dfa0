// SPDX-License-Identifier: Apache-2.0
//
// Every limit of a gRPC channel or server: those of its HTTP/2 connections, and one list of its
// own, from which the struct, the defaults and the names are made. A time of 0 is no limit of that
// kind, and strangers_max of 0 asks no connection for a proof; every other value must be positive.
#ifndef TABARD_NET_GRPC_LIMITS_H
#define TABARD_NET_GRPC_LIMITS_H

#include <stdint.h>

#include "net/http2/limits.h"

// X(name, default). The name is what the end of a call says when the limit bites.
#define GRPC_LIMITS(X)                                                                             \
    X(message_bytes_max, 4u << 20)    /* of one message received; checked before its memory */     \
    X(held_bytes_max, 16u << 20)      /* of messages not yet delivered, a connection */            \
    X(send_queue_bytes_max, 1u << 20) /* not yet taken by the peer, a call */                      \
    X(message_ms, 30000)              /* from a message's first byte to its last */                \
    X(connections_max, 1024)          /* of a server */                                            \
    X(strangers_max, 0)             /* those of them that have proved nothing; 0: all are fine */  \
    X(strangers_of_source_max, 256) /* of one address, IPv6 /64 or Unix user */                    \
    X(prove_ms, 30000)              /* from accept to the proof */

struct grpc_limits {
    struct h2_limits h2;
#define X(name, default_value) uint32_t name;
    GRPC_LIMITS(X)
#undef X
};

// The limits of the connection come first: their numbers are those of enum h2_limit.
enum grpc_limit {
    GRPC_LIMIT_LAST_OF_H2 = H2_LIMIT_NUM - 1,
#define X(name, default_value) GRPC_LIMIT_##name,
    GRPC_LIMITS(X)
#undef X
        GRPC_LIMIT_NUM
};

// How often each limit has bitten.
struct grpc_bites {
    uint64_t num[GRPC_LIMIT_NUM];
};

struct grpc_limits grpc_limits_default(void);

// grpc_limit_name also names the limits of the connection.
const char *grpc_limit_name(unsigned limit);

#endif
