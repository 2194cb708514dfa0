// SPDX-License-Identifier: Apache-2.0
//
// Every limit of a gRPC channel or server: one list makes the struct, the defaults, the names and
// the counters. Owned by the caller, copied; any thread; fixed size. A time of 0 is no limit of
// that kind; every other value must be positive. It enforces nothing itself.
#ifndef TABARD_NET_HTTP2_LIMITS_H
#define TABARD_NET_HTTP2_LIMITS_H

#include <stdint.h>

// X(name, default). The name is what the end of a call or of a connection says when the limit
// bites.
#define GRPC_LIMITS(X)                                                                             \
    X(message_bytes_max, 4u << 20)    /* of one message received; checked before its memory */     \
    X(header_bytes_max, 8192)         /* of one header list received, as RFC 9113 counts it */     \
    X(held_bytes_max, 16u << 20)      /* of messages not yet delivered, a connection */            \
    X(send_queue_bytes_max, 1u << 20) /* not yet taken by the peer, a call */                      \
    X(streams_max, 100)               /* calls at a time that the peer may open, a connection */   \
    X(connections_max, 1024)          /* of a server */                                            \
    X(window_bytes, 1u << 20)         /* a stream's receive window: what a pause lets come */      \
    X(open_ms, 10000)                 /* from connect or accept to the peer's SETTINGS */          \
    X(idle_ms, 300000)                /* a server's connection without a call */                   \
    X(message_ms, 30000)              /* from a message's first byte to its last */                \
    X(send_stall_ms, 60000)           /* the peer takes nothing of what waits */                   \
    X(keepalive_ms, 0)                /* silence before a PING; 0: none */                         \
    X(keepalive_answer_ms, 20000)     /* from our PING to its answer */                            \
    X(linger_ms, 1000)                /* from our last byte to the peer's */                       \
    X(control_frames_burst, 400)      /* frames that carry no message, without a pause */          \
    X(control_frames_per_second, 50)  /* and in the long run, beside one for each we send */

struct grpc_limits {
#define X(name, default_value) uint32_t name;
    GRPC_LIMITS(X)
#undef X
};

enum grpc_limit {
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

const char *grpc_limit_name(enum grpc_limit limit);

#endif
