// SPDX-License-Identifier: Apache-2.0
//
// A TCP socket of libuv that carries a side's bytes. A conn embeds it, calls socket_init, then
// socket_accept, or socket_connect with or without a socket_bind before it, and uses only the side
// from then on; the side's on_closed says when its memory may go. One worker's thread.
#ifndef TABARD_PROXY_CARRY_SOCKET_H
#define TABARD_PROXY_CARRY_SOCKET_H

#include <uv.h>

#include "base/addr.h"
#include "proxy/carry/side.h"

struct socket {
    struct side side; // first: the carrier finds the socket by it
    uv_tcp_t tcp;
    union { // never two at once: connect first, writes then, the FIN when no write is left
        uv_connect_t connect;
        uv_write_t write;
        uv_shutdown_t shutdown;
    } req;
};

// socket_init makes the handle and the side; from then on the side must be closed.
void socket_init(struct socket *sock, uv_loop_t *loop, struct pool *pool, void *owner,
                 void (*on_change)(void *owner), void (*on_closed)(void *owner));

// socket_accept takes the next connection of a listener. Returns 0 or an errno value.
int socket_accept(struct socket *sock, uv_stream_t *listener);

// socket_bind chooses the address that a call will come from; the kernel chooses the port when it
// is made, so that one port serves as many calls as there are destinations. With is_transparent the
// address may be another host's (IP_TRANSPARENT, which takes CAP_NET_RAW or CAP_NET_ADMIN). It may
// be called again with another address of the same family after a socket_connect that returned
// EADDRNOTAVAIL. Returns 0 or an errno value.
int socket_bind(struct socket *sock, const struct addr *source, bool is_transparent);

// socket_may_be_transparent says whether socket_bind can take another host's address; false sets
// errno.
bool socket_may_be_transparent(void);

// socket_connect starts a connection, after a socket_bind or without. on_change is called once
// is_connected or the side's error is set. Returns 0, or an errno value where it fails at once;
// EADDRNOTAVAIL: there is no free port, and it may be called again.
int socket_connect(struct socket *sock, const struct addr *addr);

// socket_fd returns the descriptor, which stays the socket's; -1: there is none yet.
int socket_fd(const struct socket *sock);

// socket_error returns the errno value with which the kernel has ended the connection while nobody
// read, and forgets it; 0: it has not.
int socket_error(const struct socket *sock);

// socket_set_options turns on TCP_NODELAY, keep-alive and TCP_USER_TIMEOUT (RFC 5482), and lets the
// kernel reset the connection if the process dies. Accepted sockets inherit all from the listener.
void socket_set_options(int fd);

#endif
