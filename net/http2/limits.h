// SPDX-License-Identifier: Apache-2.0
//
// Every limit of an HTTP/2 connection: one list makes the struct, the defaults, the names and the
// counters. A time of 0 is no limit of that kind; every other value must be positive.
#ifndef TABARD_NET_HTTP2_LIMITS_H
#define TABARD_NET_HTTP2_LIMITS_H

#include <stdint.h>

// X(name, default). The name is what the end of a stream or of a connection says when the limit
// bites.
#define H2_LIMITS(X)                                                                               \
    X(header_bytes_max, 8192)        /* of one header list received, as RFC 9113 counts it */      \
    X(list_bytes_max, 32768)         /* of one header list, or the connection ends */              \
    X(hello_ms, 3000)                /* from accept to the whole ClientHello */                    \
    X(streams_max, 100)              /* at a time that the peer may open, a connection */          \
    X(window_bytes, 1u << 20)        /* a stream's receive window: what comes unconsumed */        \
    X(open_ms, 10000)                /* from connect or accept to the peer's SETTINGS */           \
    X(idle_ms, 300000)               /* a server's connection without a stream */                  \
    X(send_stall_ms, 60000)          /* the peer takes nothing of what waits */                    \
    X(keepalive_ms, 0)               /* silence before a PING; 0: none */                          \
    X(keepalive_answer_ms, 20000)    /* from our PING to its answer */                             \
    X(linger_ms, 1000)               /* from our last byte to the peer's */                        \
    X(control_frames_burst, 400)     /* frames that carry no message, without a pause */           \
    X(control_frames_per_second, 50) /* and in the long run, beside one for each we send */

struct h2_limits {
#define X(name, default_value) uint32_t name;
    H2_LIMITS(X)
#undef X
};

enum h2_limit {
#define X(name, default_value) H2_LIMIT_##name,
    H2_LIMITS(X)
#undef X
        H2_LIMIT_NUM
};

struct h2_limits h2_limits_default(void);

const char *h2_limit_name(enum h2_limit limit);

#endif
