// SPDX-License-Identifier: Apache-2.0
//
// One end of a connection: a TCP socket, the bytes that came in, the bytes that wait to go out, and
// for the mesh end its TLS object. Callbacks only record facts here and call on_change; the
// connection decides. Embedded in a conn, which frees it after side_close's callback; its worker's
// thread alone; two rings at most. It knows no policy and ends nothing by itself. The seam for a
// stream of a tunnel: in, out, room, finish, close.
#ifndef TABARD_PROXY_CARRY_SIDE_H
#define TABARD_PROXY_CARRY_SIDE_H

#include <openssl/base.h>
#include <stdbool.h>
#include <uv.h>

#include "base/addr.h"
#include "proxy/carry/pool.h"
#include "proxy/carry/ring.h"

struct side {
    uv_tcp_t tcp;
    union { // never two at once: connect first, writes then, the FIN when no write is left
        uv_connect_t connect;
        uv_write_t write;
        uv_shutdown_t shutdown;
    } req;
    struct ring in;
    struct ring out;
    SSL *ssl;          // owned by proxy/carry/tls.h; NULL: a plain side
    struct pool *pool; // borrowed from the worker
    void *owner;       // borrowed: the conn
    void (*on_change)(void *owner);
    void (*on_closed)(void *owner);
    uint64_t moved_ms;   // loop time of the last byte in or out, or of the peer's FIN
    uint64_t waiting_ms; // loop time since which `writing_len` bytes wait for the peer
    uint32_t writing_len;
    uint32_t peeked_len; // of `in`: what TLS has seen while is_peeking
    int error;           // the first of libuv's error codes, or 0
    bool is_peeking : 1; // TLS reads `in` without taking from it
    bool is_open : 1;    // the handle is initialised and not closed
    bool is_connected : 1;
    bool is_reading : 1;
    bool is_eof : 1;           // the peer's FIN came
    bool has_close_notify : 1; // TLS: the peer's last word came, too
    bool wants_finish : 1;     // FIN once `out` is empty
    bool is_finishing : 1;     // the FIN is on its way
    bool is_finished : 1;      // the FIN is sent
    bool is_out_of_buffers : 1;
};

// side_init makes the handle. on_change is called after each new fact, never inside another
// function of this module; on_closed once, after side_close.
void side_init(struct side *side, uv_loop_t *loop, struct pool *pool, void *owner,
               void (*on_change)(void *owner), void (*on_closed)(void *owner));

// side_accept takes the next connection of a listener; 0 or libuv's error code.
int side_accept(struct side *side, uv_stream_t *listener);

// side_connect starts a connection; on_change tells its end (is_connected or error). 0 or libuv's
// error code.
int side_connect(struct side *side, const struct addr *addr);

// side_set_reading starts or stops reading into `in`.
void side_set_reading(struct side *side, bool wants_read);

// side_borrow lends `ring` (one of the side's) memory; false at the pool's limit. side_settle takes
// it back when empty.
bool side_borrow(struct side *side, struct ring *ring);
void side_settle(struct side *side, struct ring *ring);

// side_flush writes what `out` holds as far as the socket takes it, and asks libuv to go on when it
// takes more; then the FIN if wants_finish. Errors are recorded.
void side_flush(struct side *side);

// side_close drops what is left and closes; with a reset the peer gets RST instead of FIN. The TLS
// object must be gone.
void side_close(struct side *side, bool with_reset);

// side_set_socket_options turns on TCP_NODELAY, keep-alive and TCP_USER_TIMEOUT. Accepted sockets
// inherit them from the listener.
void side_set_socket_options(int fd);

#endif
