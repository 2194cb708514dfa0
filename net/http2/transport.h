// SPDX-License-Identifier: Apache-2.0
//
// One byte stream between two hosts or two processes: TCP or a Unix socket, in the clear or under
// TLS. Embedded in a connection, which frees it after on_closed; the loop's thread only. What waits
// to be written is bounded by its user, who stops at !transport_has_room. It has no timers: every
// deadline is its user's. The program must ignore SIGPIPE.
#ifndef TABARD_NET_HTTP2_TRANSPORT_H
#define TABARD_NET_HTTP2_TRANSPORT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/addr.h"
#include "base/data/bytes.h"
#include "base/err.h"

#define TRANSPORT_ROOM_BYTES 65536

// The kernel asks a TCP peer that has said nothing for so long, and ends the connection of one
// whose host has answered neither that nor what was sent.
#define TRANSPORT_ASK_MS        20000
#define TRANSPORT_SILENT_MS_MAX 45000
// What is longer than this no host that is there is silent for: one question got no answer.
#define TRANSPORT_SILENT_MS 26000

// Where to connect to.
struct h2_target {
    const char *unix_path;        // at most 107 bytes; NULL: TCP
    const struct host_port *host; // looked up at each connect; NULL: addr
    struct addr addr;
};

// Who is at the other end, as far as the kernel and TLS tell.
struct h2_peer {
    bool is_unix;
    pid_t pid; // of a Unix peer, when it connected or listened; -1: unknown
    uid_t uid;
    gid_t gid;
    struct addr addr; // of a TCP peer
    SSL *ssl;         // borrowed, as long as the connection; NULL in the clear
};

// h2_peer_source writes what counts as one source of peers: a Unix user, an IPv4 address, or an
// IPv6 /64, since a host has all of it.
#define H2_SOURCE_BYTES 17
void h2_peer_source(const struct h2_peer *peer, uint8_t out[H2_SOURCE_BYTES]);

struct transport_hooks {
    void (*on_open)(void *ctx); // connected, TLS is done
    void (*on_bytes)(void *ctx, const uint8_t *bytes, size_t len);
    void (*on_written)(void *ctx);              // there may be room again
    void (*on_end)(void *ctx, const char *why); // the peer ended it or it broke: once, the last
    void (*on_closed)(void *ctx);               // after transport_close: its memory is free
};

struct transport {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    uv_connect_t connect;
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct transport_dial *dial; // owned; while a name is looked up and its addresses are tried
    const struct transport_hooks *hooks; // borrowed
    void *ctx;                           // borrowed
    SSL *ssl;           // owned; NULL in the clear, and for a server until the ClientHello is there
    SSL_CTX *hello_ctx; // counted; a server's, until then
    struct bytes hello; // the record with the ClientHello, as far as it has come
    struct h2_peer peer;
    const uint8_t *in; // what TLS may read now, borrowed from the read under way
    size_t in_len;
    struct bytes plain;      // under TLS: what is sealed next, so that small writes share a record
    struct bytes out;        // to be written next
    struct bytes writing;    // with the kernel's help under way
    uint64_t write_since_ms; // loop time at which it got under way
    uint64_t read_ms;        // when bytes were read last, by the loop's clock, not its turn's time
    bool is_any_protocol;    // set by its user before the start: under TLS no ALPN h2 is asked for
    bool is_open;
    bool is_writing;
    bool is_ended;    // on_end was called, or will not be
    bool is_finished; // nothing more is written after `out`
    bool is_shut;     // uv_shutdown was called
    bool is_closing;
};

// transport_connect starts to connect. The TLS context may be NULL: in the clear. server_name, or
// NULL, is what the ClientHello names. false sets err, and on_closed comes all the same after
// transport_close, which the caller must call.
bool transport_connect(struct transport *transport, uv_loop_t *loop, const struct h2_target *target,
                       SSL_CTX *ssl_ctx, const char *server_name, struct err *err);

// transport_accept takes a connection off a listening stream, and otherwise does as
// transport_connect.
bool transport_accept(struct transport *transport, uv_stream_t *listener, SSL_CTX *ssl_ctx,
                      struct err *err);

// transport_take does the same with a descriptor of a connected TCP or Unix socket, which it takes
// over, also on failure.
bool transport_take(struct transport *transport, uv_loop_t *loop, int fd, SSL_CTX *ssl_ctx,
                    struct err *err);

// transport_set_reading stops and starts reading. What TLS holds already comes all the same: one
// read at most.
void transport_set_reading(struct transport *transport, bool is_reading);

// transport_write queues bytes; transport_flush hands them to the kernel. Errors come as on_end,
// never from inside these.
void transport_write(struct transport *transport, const uint8_t *bytes, size_t len);
void transport_flush(struct transport *transport);
bool transport_has_room(const struct transport *transport);
bool transport_is_idle(const struct transport *transport); // everything is with the kernel

// transport_is_looking says whether the addresses of a name are still being looked up.
bool transport_is_looking(const struct transport *transport);

// transport_awaits_hello says whether a client under TLS has not sent its ClientHello yet. Until
// then there is no TLS object, which takes most of what a connection takes.
bool transport_awaits_hello(const struct transport *transport);

// transport_has_unread says whether bytes of the peer wait in the kernel: then it isn't the peer
// that is late.
bool transport_has_unread(const struct transport *transport);

// transport_silent_ms returns for how long nothing at all has come from a TCP peer's host, not even
// an acknowledgement; 0 on a Unix socket and before the connection is there.
uint64_t transport_silent_ms(const struct transport *transport);

// transport_finish ends our direction, with close_notify and FIN, behind what was queued.
void transport_finish(struct transport *transport);

// transport_close closes at once; on_closed comes from the loop. No other hook is called any more.
void transport_close(struct transport *transport);

// transport_select_h2 is the ALPN callback for a server's SSL_CTX: it takes h2 or refuses (RFC
// 9113, section 3.2).
int transport_select_h2(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                        unsigned in_len, void *arg);

#endif
