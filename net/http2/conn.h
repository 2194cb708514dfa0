// SPDX-License-Identifier: Apache-2.0
//
// One HTTP/2 connection: nghttp2's session over a transport, the calls on it, its limits and its
// end (RFC 9113). Heap; it frees itself after on_closed, or after conn_abandon; the loop's thread
// only; bounded by struct grpc_limits. nghttp2's callbacks record; conn_advance tells users, sends
// and ends. It routes nothing and never reconnects. Internal to net/grpc.
#ifndef TABARD_NET_HTTP2_CONN_H
#define TABARD_NET_HTTP2_CONN_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "net/grpc/call_impl.h"
#include "net/http2/limits.h"
#include "net/http2/transport.h"

struct grpc_conn;

// The owner's: a channel or a server.
struct conn_hooks {
    // May refuse the peer, with err, before a byte of HTTP/2 is believed. NULL: everybody is
    // welcome.
    bool (*accepts_peer)(void *owner, const struct grpc_peer *peer, struct err *err);
    void (*on_open)(void *owner, struct grpc_conn *conn);    // the peer's SETTINGS came
    void (*on_request)(void *owner, struct grpc_call *call); // a server's; sets call->hooks
    void (*on_going_away)(void *owner, struct grpc_conn *conn,
                          const char *why); // open no calls; why may be empty
    void (*on_closed)(void *owner, struct grpc_conn *conn,
                      const char *why); // the last; no call is left
};

struct grpc_conn {
    struct transport transport;
    uv_idle_t idle; // conn_wake: runs before the loop waits, whoever woke it
    uv_timer_t timer;
    unsigned handles_open;
    nghttp2_session *session;       // owned
    const struct conn_hooks *hooks; // borrowed
    void *owner;                    // borrowed; NULL after conn_abandon
    struct grpc_conn *prev;         // in the owner's list
    struct grpc_conn *next;
    struct grpc_limits limits;
    struct grpc_bites *bites; // borrowed, the owner's; own_bites after conn_abandon
    struct grpc_bites own_bites;

    struct grpc_call *calls; // owned
    unsigned num_calls;
    struct grpc_call *ready_first;
    struct grpc_call *ready_last;
    struct grpc_call *dead; // owned, until conn_advance ends
    size_t held_bytes;

    uint64_t armed_ms; // the timer's loop time; UINT64_MAX: not armed
    uint64_t opening_since_ms;
    uint64_t idle_since_ms; // 0: there are calls
    uint64_t heard_ms;      // bytes came last
    uint64_t ping_since_ms; // our PING waits for its answer since
    uint64_t shutdown_since_ms;
    uint64_t linger_since_ms;
    uint32_t control_tokens;
    uint64_t control_refill_ms;

    char why[256]; // the reason of its end, the first one
    bool is_server;
    bool is_open;       // the peer's SETTINGS came
    bool is_going_away; // a GOAWAY came, or ours is under way
    bool has_open_news; // and the owner doesn't know
    bool has_going_away_news;
    bool is_advancing;
    bool is_lost; // nothing more comes or goes
    bool is_over; // to be stopped
    bool is_stopped;
};

// conn_connect and conn_accept: NULL sets err, and everything is cleaned up. limits are copied, the
// rest borrowed.
struct grpc_conn *conn_connect(uv_loop_t *loop, const struct grpc_target *target, SSL_CTX *ssl_ctx,
                               const char *server_name, const struct grpc_limits *limits,
                               struct grpc_bites *bites, const struct conn_hooks *hooks,
                               void *owner, struct err *err);
struct grpc_conn *conn_accept(uv_stream_t *listener, SSL_CTX *ssl_ctx,
                              const struct grpc_limits *limits, struct grpc_bites *bites,
                              const struct conn_hooks *hooks, void *owner, struct err *err);

// conn_shutdown lets the calls under way finish and takes no new ones: GOAWAY with 2^31-1, and the
// real number after a round trip (RFC 9113, section 6.8).
void conn_shutdown(struct grpc_conn *conn);

// conn_abandon ends every call (on_end is called inside) with `code`, sends GOAWAY as far as the
// kernel takes it, and frees the connection; the owner hears no more of it.
void conn_abandon(struct grpc_conn *conn, enum grpc_code code, const char *why);

// conn_fail ends the connection with an HTTP/2 error, which the peer is told.
void conn_fail(struct grpc_conn *conn, uint32_t error_code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// conn_advance does all that there is to do: tells users, sends, ends. Not for use inside callbacks
// of nghttp2.
void conn_advance(struct grpc_conn *conn);

// conn_goes_away: no more calls are started on it; the owner is told once.
void conn_goes_away(struct grpc_conn *conn);

// For calls.
void conn_wake(struct grpc_conn *conn);
void conn_call_is_ready(struct grpc_conn *conn, struct grpc_call *call);
void conn_due(struct grpc_conn *conn, uint64_t at_ms); // look at the deadlines then
uint64_t conn_now(const struct grpc_conn *conn);
void conn_bite(struct grpc_conn *conn, enum grpc_limit limit);

// In session.c.
extern const nghttp2_data_provider conn_data_provider;
bool conn_session_new(struct grpc_conn *conn, struct err *err);
void conn_reason(struct grpc_conn *conn, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// In deadlines.c: ends what has waited for too long and arms the timer for the next.
void conn_check_deadlines(struct grpc_conn *conn);

#endif
