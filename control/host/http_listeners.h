// SPDX-License-Identifier: Apache-2.0
//
// The listening sockets of an HTTP server: they accept, follow the host's own addresses when they
// change, and pause where the kernel has no descriptor or memory left. The server embeds it, calls
// http_listeners_init, adds sockets, and ends with http_listeners_close; `on_closed` says when its
// memory may go. The loop's thread, HTTP_LISTENERS_MAX sockets.
#ifndef TABARD_CONTROL_HOST_HTTP_LISTENERS_H
#define TABARD_CONTROL_HOST_HTTP_LISTENERS_H

#include <sys/socket.h>
#include <uv.h>

#include "control/host/listen.h"

#define HTTP_LISTENERS_MAX 4
#define HTTP_ACCEPTS_MAX   64   // in one turn of the loop
#define HTTP_PAUSE_MS      100  // without accepting, where the kernel has nothing left
#define HTTP_FOLLOW_MS     5000 // between two looks at the host's own addresses

struct http_listener; // opaque

struct http_listeners {
    void *ctx;
    // Takes over a connection, non-blocking and close-on-exec.
    void (*on_connection)(void *ctx, int fd, const struct sockaddr_storage *from, socklen_t len);
    void (*on_turn)(void *ctx);   // after the connections of a turn
    void (*on_closed)(void *ctx); // the last call
    uv_timer_t pause;
    uv_timer_t follow;
    struct http_listener *all[HTTP_LISTENERS_MAX]; // owned; NULL where free
    const char *what;                              // stands in the log; borrowed for ever
    unsigned handles_open;
};

// http_listeners_init takes the zero state but for ctx and the hooks.
void http_listeners_init(struct http_listeners *listeners, uv_loop_t *loop);

// http_listeners_add accepts from a descriptor, which it takes over.
void http_listeners_add(struct http_listeners *listeners, int fd);

// http_listeners_add_tcp listens on addresses, logs which, and follows the host's own. false sets
// err.
bool http_listeners_add_tcp(struct http_listeners *listeners, const char *what,
                            const struct listen_addrs *addrs, struct err *err);

void http_listeners_close(struct http_listeners *listeners);

#endif
