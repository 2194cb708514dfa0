// SPDX-License-Identifier: Apache-2.0
//
// A gRPC server on any number of listening sockets: it accepts connections and routes calls by
// ":path". Heap, owned by the caller; the loop's thread only; bounded by struct grpc_limits,
// connections_max first of all. Methods are a table; what they do is the caller's. It makes no
// sockets, and checks an identity only by accepts_peer.
#ifndef TABARD_NET_GRPC_SERVER_H
#define TABARD_NET_GRPC_SERVER_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "net/grpc/call.h"
#include "net/grpc/limits.h"

struct grpc_server; // opaque

struct grpc_server_config {
    uv_loop_t *loop;                   // borrowed
    const struct grpc_method *methods; // borrowed, as long as the server and its calls
    size_t num_methods;
    struct grpc_limits limits;
    void *ctx;
    // Each of these may be NULL. accepts_peer may refuse a client, after TLS and before a byte of
    // HTTP/2 is believed: by its Unix credentials, or its certificates. false sets err.
    bool (*accepts_peer)(void *ctx, const struct h2_peer *peer, struct err *err);
    // A connection ended. why is foreign text, empty after a good end: log it quoted.
    void (*on_disconnect)(void *ctx, const struct h2_peer *peer, const char *why);
};

struct grpc_server_stats {
    uint64_t num_connections; // open now
    uint64_t num_accepted;    // since the start, with those closed at once
    uint64_t num_refused;     // closed at once: connections_max, or accept failed
    uint64_t num_calls;       // routed to a method, since the start
    struct grpc_bites bites;
};

// grpc_server_new makes a server that listens nowhere yet. NULL sets err.
struct grpc_server *grpc_server_new(const struct grpc_server_config *config, struct err *err);

// grpc_server_listen serves on a bound socket, TCP or Unix, which it takes over, also on failure.
// With a TLS context, which is counted and whose ALPN callback it sets to h2, the socket speaks TLS
// only; asking for client certificates and verifying them is the context's. false sets err.
bool grpc_server_listen(struct grpc_server *server, int fd, SSL_CTX *ssl_ctx, struct err *err);

// grpc_server_set_tls gives every TLS listener another context, for connections to come.
void grpc_server_set_tls(struct grpc_server *server, SSL_CTX *ssl_ctx);

// grpc_server_shutdown stops listening, sends GOAWAY, lets calls finish up to grace_ms, and then
// ends what is left (UNAVAILABLE). on_done, which may be NULL, comes from the loop with `ctx` when
// the last connection is gone; it may free the server.
void grpc_server_shutdown(struct grpc_server *server, uint64_t grace_ms, void (*on_done)(void *ctx),
                          void *ctx);

// grpc_server_free ends every call (UNAVAILABLE, on_end is called inside) and every connection.
// NULL is allowed. Memory goes with the loop's next turns.
void grpc_server_free(struct grpc_server *server);

const struct grpc_server_stats *grpc_server_stats(const struct grpc_server *server);

#endif
