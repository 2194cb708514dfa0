// SPDX-License-Identifier: Apache-2.0
//
// One HTTP/2 connection (RFC 9113), client or server: nghttp2's session over a transport, the
// streams on it, its limits, its defence against floods, its deadlines and its end. Heap; it frees
// itself after on_closed; the loop's thread only; bounded by struct h2_limits. nghttp2's callbacks
// record; h2_conn_advance alone tells the users, sends and ends. It knows nothing of what streams
// carry and never reconnects.
#ifndef TABARD_NET_HTTP2_CONN_H
#define TABARD_NET_HTTP2_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "net/http2/limits.h"
#include "net/http2/stream.h"
#include "net/http2/transport.h"

struct h2_conn; // opaque

// The owner's. All but on_closed may be NULL.
struct h2_conn_hooks {
    // May refuse the peer, with err, before a byte of HTTP/2 is believed.
    bool (*accepts_peer)(void *owner, const struct h2_peer *peer, struct err *err);
    // The peer's SETTINGS came.
    void (*on_open)(void *owner, struct h2_conn *conn);
    // A server's: a stream was opened; returns what becomes of it, with hooks. NULL refuses it.
    // Called inside nghttp2, as the first hooks of a stream.
    struct h2_stream *(*on_request)(void *owner, struct h2_conn *conn);
    // Open no more streams. why may be empty.
    void (*on_going_away)(void *owner, struct h2_conn *conn, const char *why);
    // The last one, also after h2_conn_abandon: no stream is left, and the connection frees itself.
    void (*on_closed)(void *owner, struct h2_conn *conn, const char *why);
};

struct h2_conn_config {
    uv_loop_t *loop;                   // borrowed
    struct h2_limits limits;           // copied
    uint64_t *bites;                   // borrowed: how often each limit has bitten, H2_LIMIT_NUM
    const struct h2_conn_hooks *hooks; // borrowed
    void *owner;                       // borrowed until on_closed
};

// h2_conn_connect and h2_conn_accept make a connection. NULL sets err, and everything is cleaned
// up. A TLS context is counted; NULL: in the clear. server_name, which may be NULL, is for TLS.
struct h2_conn *h2_conn_connect(const struct h2_conn_config *config, const struct h2_target *target,
                                SSL_CTX *ssl_ctx, const char *server_name, struct err *err);
struct h2_conn *h2_conn_accept(const struct h2_conn_config *config, uv_stream_t *listener,
                               SSL_CTX *ssl_ctx, struct err *err);

// h2_conn_refuse takes a connection off the listener's queue only to close it without a word.
void h2_conn_refuse(uv_stream_t *listener);

// h2_conn_shutdown, a server's, lets the streams under way finish and takes no new ones: GOAWAY
// with 2^31-1, and the real number after a round trip (RFC 9113, section 6.8).
void h2_conn_shutdown(struct h2_conn *conn);

// h2_conn_disconnect, a client's, opens no more streams and closes when those under way are over.
// on_going_away does not come.
void h2_conn_disconnect(struct h2_conn *conn);

// h2_conn_abandon calls `drop` for every stream, which is GONE by then and must be released inside,
// sends GOAWAY as far as the kernel takes it, and closes the connection: on_closed comes inside, or
// after the hook that this was called in. No other hook comes. `bites` are not written any more.
void h2_conn_abandon(struct h2_conn *conn, void (*drop)(struct h2_stream *stream, void *ctx),
                     void *ctx);

// h2_conn_takes_streams says whether a client's stream may be opened, also while the connection is
// made.
bool h2_conn_takes_streams(const struct h2_conn *conn);
bool h2_conn_is_server(const struct h2_conn *conn);

// h2_conn_is_lost says in on_going_away whether the connection has ended, rather than that its
// peer wants no more streams.
bool h2_conn_is_lost(const struct h2_conn *conn);

const struct h2_peer *h2_conn_peer(const struct h2_conn *conn);

// h2_conn_silent_ms is transport_silent_ms of the connection.
uint64_t h2_conn_silent_ms(const struct h2_conn *conn);

#endif
