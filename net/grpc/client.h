// SPDX-License-Identifier: Apache-2.0
//
// A gRPC client's channel to one server: one HTTP/2 connection at a time, and older ones that still
// finish their calls. Heap, owned by the caller; the loop's thread only; bounded by struct
// grpc_limits and GRPC_CHANNEL_DRAINING_MAX. It connects only when it is told to: the caller
// decides how often, and after what wait (a random time out of a doubling range, which starts anew
// only after a call has received a message). It retries no calls.
#ifndef TABARD_NET_GRPC_CLIENT_H
#define TABARD_NET_GRPC_CLIENT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "net/grpc/call.h"
#include "net/grpc/limits.h"

#define GRPC_CHANNEL_DRAINING_MAX 4
// Servers end connections that PING more often (gRPC's doc/keepalive.md).
#define GRPC_CHANNEL_KEEPALIVE_MS_MIN 300000

struct grpc_channel; // opaque

struct grpc_channel_config {
    uv_loop_t *loop;         // borrowed
    struct h2_target target; // copied; a path and a name are looked up at each connect
    SSL_CTX *ssl_ctx;        // counted; NULL: in the clear. It verifies the server by itself
    const char *server_name; // for TLS, or NULL; copied
    const char *authority;   // copied; NULL: "localhost", what every server takes on a Unix socket
    const char *user_agent;  // copied; NULL: "grpc-c"
    struct grpc_limits limits;
    void *ctx;
    // Each of these may be NULL. accepts_peer may refuse the server, after TLS and before any call:
    // a Unix socket's owner, say. false sets err.
    bool (*accepts_peer)(void *ctx, const struct h2_peer *peer, struct err *err);
    void (*on_ready)(void *ctx); // the server speaks HTTP/2
    // No more calls can be started until grpc_channel_connect: the connection ended, or the server
    // sent GOAWAY (calls under way go on then). Once for each connect, ready or not. why is foreign
    // text: log it quoted.
    void (*on_down)(void *ctx, const char *why);
};

// grpc_channel_new makes a channel that doesn't connect yet. NULL sets err.
struct grpc_channel *grpc_channel_new(const struct grpc_channel_config *config, struct err *err);

// grpc_channel_free ends every call (CANCELLED, on_end is called inside) and every connection. NULL
// is allowed. Memory goes with the loop's next turns; the channel's own callbacks are not called
// any more.
void grpc_channel_free(struct grpc_channel *channel);

// grpc_channel_connect starts to connect. Nothing is done if there is a connection or one is on its
// way. false sets err, and on_down does not come.
bool grpc_channel_connect(struct grpc_channel *channel, struct err *err);

// grpc_channel_disconnect lets the connection finish its calls and close; the next connect makes
// another (a rotated identity, say). on_down does not come.
void grpc_channel_disconnect(struct grpc_channel *channel);

// grpc_channel_set_tls takes another SSL_CTX, counted, for connections to come.
void grpc_channel_set_tls(struct grpc_channel *channel, SSL_CTX *ssl_ctx);

struct grpc_call_start {
    const char *path;                    // "/package.Service/Method"
    uint64_t deadline_ms;                // from now; the server is told. 0: none
    const struct grpc_call_hooks *hooks; // borrowed until on_end
    void *ctx;
};

// grpc_channel_call starts a call; messages may be sent at once, also while the channel still
// connects. NULL sets err: the channel has no connection, or the path has no leading slash.
struct grpc_call *grpc_channel_call(struct grpc_channel *channel,
                                    const struct grpc_call_start *start, struct err *err);

#endif
