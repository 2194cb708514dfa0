// SPDX-License-Identifier: Apache-2.0
//
// A TCP socket of libuv that carries a side's bytes. A conn embeds it, calls socket_init, then
// socket_accept, or socket_connect with or without a socket_bind before it, and uses only the side
// from then on; the side's on_closed says when its memory may go. One worker's thread.
#ifndef TABARD_PROXY_CARRY_SOCKET_H
#define TABARD_PROXY_CARRY_SOCKET_H

#include <netinet/tcp.h>
#include <uv.h>

#include "base/addr.h"
#include "proxy/carry/hangup.h"
#include "proxy/carry/side.h"

#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44 // Linux 6.15
#endif

struct socket {
    struct side side; // first: the carrier finds the socket by it
    uv_tcp_t tcp;
    struct hangup *hangup; // borrowed from the worker
    union { // never two at once: connect first, writes then, the FIN when no write is left
        uv_connect_t connect;
        uv_write_t write;
        uv_shutdown_t shutdown;
    } req;
};

// socket_init makes the handle and the side; from then on the side must be closed.
void socket_init(struct socket *sock, uv_loop_t *loop, struct hangup *hangup, struct pool *pool,
                 void *owner, void (*on_change)(void *owner), void (*on_closed)(void *owner));

// socket_accept takes over a descriptor that accept4(2) returned. Returns 0 or an errno value, and
// has then closed it.
int socket_accept(struct socket *sock, int fd);

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
// EADDRNOTAVAIL: there is no free port, and it may be called again; EINVAL: a link-local address
// without an interface, on a socket that isn't bound to one.
int socket_connect(struct socket *sock, const struct addr *addr);

// socket_fd returns the descriptor, which stays the socket's; -1: there is none yet.
int socket_fd(const struct socket *sock);

// socket_error returns the errno value with which the kernel has ended the connection while nobody
// read, and forgets it; 0: it has not.
int socket_error(const struct socket *sock);

// socket_keep_alive_by_conntrack makes keep-alive come sooner than the connection tracking of this
// network namespace forgets a silent connection, if it tracks any. Call it once, before other
// threads run.
void socket_keep_alive_by_conntrack(void);

// socket_set_options sets what every socket of a connection has: no delay, keep-alive, urgent bytes
// in their place in the stream (RFC 6093, section 6), and a reset if the process dies. Accepted
// sockets inherit all from the listener. TCP_USER_TIMEOUT (RFC 5482) stays off: by it Linux would
// also end a reader that pauses while its host answers, which only Limits.stall_ms judges (RFC
// 9293, section 3.8.6.1).
void socket_set_options(int fd);

// socket_is_silent says whether the peer's host is gone, by what the kernel knows of the
// connection: it has sent nothing for longer than keep-alive lets a living one be silent.
bool socket_is_silent(const struct tcp_info *info);

#endif
