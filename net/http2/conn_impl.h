// SPDX-License-Identifier: Apache-2.0
//
// The inside of a connection: what conn.c, session.c, events.c, stream.c and deadlines.c share.
// Nobody outside net/http2 and its tests includes this.
#ifndef TABARD_NET_HTTP2_CONN_IMPL_H
#define TABARD_NET_HTTP2_CONN_IMPL_H

#include <nghttp2/nghttp2.h>

#include "net/http2/conn.h"

// How far a connection is towards its end.
enum h2_life {
    H2_LIVE,
    H2_LEAVING, // a GOAWAY came, or ours is under way: no new streams
    H2_LOST,    // nothing more comes or goes
    H2_OVER,    // to be stopped
    H2_STOPPED, // its handles are closing
};

// What the owner was told.
enum h2_told { H2_TOLD_NOTHING, H2_TOLD_OPEN, H2_TOLD_LEAVING };

struct h2_conn {
    struct transport transport;
    uv_idle_t idle; // h2_conn_wake: runs before the loop waits, whoever woke it
    uv_timer_t timer;
    unsigned handles_open;
    nghttp2_session *session;          // owned; NULL: of a server that isn't open yet
    const struct h2_conn_hooks *hooks; // borrowed
    void *owner;                       // borrowed
    struct h2_limits limits;
    uint64_t *bites; // borrowed, the owner's; own_bites after h2_conn_abandon
    uint64_t own_bites[H2_LIMIT_NUM];

    struct list streams;
    unsigned num_streams;
    struct list ready;    // streams to give a turn
    struct list released; // streams to give back when h2_conn_advance ends

    uint64_t armed_ms; // the timer's loop time; UINT64_MAX: not armed
    uint64_t opening_since_ms;
    uint64_t idle_since_ms; // 0: there are streams
    uint64_t heard_ms;      // bytes came last
    uint64_t ping_since_ms; // our PING waits for its answer since
    uint64_t shutdown_since_ms;
    uint64_t linger_since_ms;
    uint32_t list_bytes; // of the header list under way, whatever stream it is for
    uint32_t control_tokens;
    uint64_t control_refill_ms;

    char why[256]; // the reason of its end, the first one
    enum h2_life life;
    enum h2_told told;
    bool is_server;
    bool is_open;      // the peer's SETTINGS came
    bool is_deaf;      // what still comes isn't looked at: the peer has done harm
    bool is_abandoned; // the owner hears only of the end
    bool is_advancing; // h2_conn_advance is on the stack
};

// h2_conn_advance does all that there is to do: tells users, sends, ends. Not for use inside
// callbacks of nghttp2.
void h2_conn_advance(struct h2_conn *conn);

// h2_conn_wake asks for it in this turn of the loop.
void h2_conn_wake(struct h2_conn *conn);

// h2_conn_reason sets why the connection ends, unless it is set. h2_conn_fail ends it with an
// HTTP/2 error, which the peer is told; h2_conn_leave only says that no more streams may be opened.
void h2_conn_reason(struct h2_conn *conn, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void h2_conn_fail(struct h2_conn *conn, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void h2_conn_leave(struct h2_conn *conn);
void h2_conn_lose(struct h2_conn *conn);

void h2_conn_bite(struct h2_conn *conn, enum h2_limit limit);
uint64_t h2_conn_now(const struct h2_conn *conn);

// In events.c: what nghttp2 tells and asks. The callbacks are the caller's.
extern const nghttp2_data_provider h2_data_provider;
nghttp2_session_callbacks *h2_events_callbacks(void);

// In session.c: makes conn->session.
void h2_session_new(struct h2_conn *conn);

// In stream.c. h2_stream_join puts a stream into the connection's list. h2_stream_forget makes it
// GONE: whatever nghttp2 still does with its number, the stream's hooks hear nothing of it.
// h2_stream_close does that and tells the user.
void h2_stream_join(struct h2_stream *stream, struct h2_conn *conn);
void h2_stream_forget(struct h2_stream *stream);
void h2_stream_close(struct h2_stream *stream, enum h2_close_kind kind, uint32_t code,
                     const char *why);

// In deadlines.c: asks for a look at the deadlines at a time of the loop.
void h2_conn_due(struct h2_conn *conn, uint64_t at_ms);

#endif
