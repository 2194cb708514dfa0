// SPDX-License-Identifier: Apache-2.0
//
// A gRPC server and a channel to it in one loop, over a Unix socket or under TLS, and what calls
// have seen. The caller's, zeroed, one per test; the test's thread; bounded by RIG_WAIT_MS a wait.
// A mistake of the test aborts. It checks nothing itself.
#ifndef TABARD_TESTS_UNIT_NET_GRPC_RIG_H
#define TABARD_TESTS_UNIT_NET_GRPC_RIG_H

#include "net/grpc/client.h"
#include "net/grpc/server.h"
#include "tests/interop/grpc_echo.h"
#include "tests/unit/support/temp.h"

#define RIG_WAIT_MS 20000

struct rig {
    struct echo_seen echo; // first: it is the server's ctx
    uv_loop_t loop;
    char folder[TEMP_PATH_BYTES];
    char path[100];
    struct addr addr;             // where the TLS listener is
    const struct host_port *host; // dialled in place of that; NULL: the address
    struct grpc_server *server;
    struct grpc_channel *channel;
    SSL_CTX *ssl_ctx; // NULL: a Unix socket
    // What the channel's hooks saw.
    unsigned num_ready;
    unsigned num_down;
    char down_why[300];
    // What the server's did.
    unsigned num_disconnects;
    char disconnect_why[300];
    unsigned num_asked;
    struct h2_peer peer; // the last one that either side was asked about
    bool server_refuses;
    bool client_refuses;
    bool is_shut;
};

// What a call saw. Zero state; it is the call's ctx.
struct seen {
    struct grpc_call *call; // NULL once it has ended
    uint64_t num_bytes;
    unsigned num_messages;
    unsigned num_drained;
    unsigned num_ends;
    struct grpc_status status;
    char message[300]; // the status's
    uint8_t last[64];  // how the last message begins
    size_t last_len;
    bool pauses_each;            // pauses after each message
    bool cancels_first;          // cancels at the first message
    struct grpc_channel **frees; // frees this channel at the first message
};

extern const struct grpc_call_hooks seen_hooks;

// rig_start makes loop, folder, and, unless limits are NULL, the server and the channel; rig_stop
// ends all of it and checks that the loop has nothing left. The folder's socket is rig->path.
void rig_start(struct rig *rig, bool has_tls, const struct grpc_limits *server_limits,
               const struct grpc_limits *client_limits);

// rig_start_usual starts both with the usual limits. RIG_EACH_TRANSPORT runs a test's body without
// and with TLS.
void rig_start_usual(struct rig *rig, bool has_tls);
#define RIG_EACH_TRANSPORT(has_tls) for (unsigned has_tls = 0; has_tls < 2; has_tls++)
void rig_stop(struct rig *rig);

void rig_serve(struct rig *rig, const struct grpc_limits *limits);
void rig_dial(struct rig *rig, const struct grpc_limits *limits);

// rig_wait runs the loop until *number is at least `least`. false: it took too long.
bool rig_wait(struct rig *rig, const unsigned *number, unsigned least);

// rig_settle runs the loop until it has nothing to do at once.
void rig_settle(struct rig *rig);

// rig_call starts a call of "/echo.Echo/METHOD"; rig_unary sends one message and half-closes, and
// rig_start_unary does so without bytes.
struct grpc_call *rig_call(struct rig *rig, const char *method, struct seen *seen);
void rig_unary(struct rig *rig, const char *method, const void *bytes, size_t len,
               struct seen *seen);

void rig_start_unary(struct rig *rig, const struct grpc_call_start *start);

// rig_ask is the message that Numbers wants. It lives until the next one.
const uint8_t *rig_ask(uint32_t num, uint32_t len);

// rig_context makes a TLS context with a fresh certificate, which takes any peer with one.
SSL_CTX *rig_context(void);

// rig_listen makes a listening Unix socket at the path, in place of what was there.
int rig_listen(const char *path);

#endif
