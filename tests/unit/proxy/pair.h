// SPDX-License-Identifier: Apache-2.0
//
// Two sidecars' connections in one loop, between a client's socket and an application's: real TCP,
// real certificates, real snapshots, and signatures that come asynchronously from the other end of
// a socket, as they do from the agent. For tests; one thread; every wait has a deadline.
#ifndef TABARD_TESTS_UNIT_PROXY_PAIR_H
#define TABARD_TESTS_UNIT_PROXY_PAIR_H

#include <openssl/evp.h>
#include <uv.h>

#include "certs/ca/mint.h"
#include "proxy/conn/conn.h"

#define PAIR_DOMAIN    "prod.example"
#define PAIR_CLIENT_ID "spiffe://prod.example/ns/shop/sa/web"
#define PAIR_SERVER_ID "spiffe://prod.example/ns/payments/sa/api"
#define PAIR_APP_PORT  8080 // as policies name it
#define PAIR_FDS_MAX   16

struct pair_agent; // the far end of a sidecar's signing socket

struct pair_end {
    struct conn_env env;
    uv_tcp_t listener; // only bound and listening
    uv_poll_t callers;
    bool is_paused; // a caller waits for room
    uv_idle_t turn;
    struct listen_spec spec;
    struct link link;
    struct pair_agent *agent;
    EVP_PKEY *key;
    X509 *leaf;
    uint64_t generation;
};

struct pair {
    uv_loop_t loop;
    uv_timer_t tick; // so that no turn of the loop waits for ever
    struct mint_ca root;
    struct pair_end client; // the outbound sidecar
    struct pair_end server; // the inbound sidecar
    uv_tcp_t app;           // only bound and listening; the test accepts
    int app_fd;             // the listening socket
    int fds[PAIR_FDS_MAX];  // owned: what pair_connect and pair_accept have returned
    size_t num_fds;
    bool is_made;
};

// What may differ from a pair that just works. Zero: it just works.
struct pair_options {
    const char *policy_principal;   // instead of PAIR_CLIENT_ID
    const char *expected_id;        // instead of PAIR_SERVER_ID
    Tabard__V1__Limits limits;      // of both; zero is the default of each
    enum inbound_mode inbound_mode; // INBOUND_MTLS by default
    bool foreign_tls_is_application;
    bool is_outbound_plaintext; // the destination's mode, instead of MTLS
    bool has_policy_by_source;  // of an MTLS port too: everybody on this host
    bool is_observing;          // enforcement, instead of ENFORCE
    bool is_port_unlisted;      // the application's
    bool is_destination_unlisted;
};

// pair_cleanup ends what lives and closes what is open; a second time it does nothing.
void pair_init(struct pair *pair, const struct pair_options *options);
void pair_cleanup(struct pair *pair);

// pair_adopt puts a new snapshot in force at one end, as a worker does.
void pair_adopt(struct pair *pair, struct pair_end *end, const struct pair_options *options);

// pair_agent_sign_by lets an end's agent sign by another key than that of its certificate.
void pair_agent_sign_by(struct pair_end *end, EVP_PKEY *key);

// pair_agent_pause lets an end's agent read no more requests; pair_agent_resume lets it go on.
void pair_agent_pause(struct pair_end *end);
void pair_agent_resume(struct pair_end *end);

// pair_connect opens a client's socket to the outbound sidecar; pair_connect_mesh one straight to
// the inbound sidecar. Both don't block.
int pair_connect(struct pair *pair);
int pair_connect_mesh(struct pair *pair);

// pair_accept waits for the application's socket.
int pair_accept(struct pair *pair);

// pair_close closes a descriptor of pair_connect or pair_accept before pair_cleanup does;
// pair_reset with a reset.
void pair_close(struct pair *pair, int fd);
void pair_reset(struct pair *pair, int fd);

// pair_until turns the loop until `is_true` says so; the test fails after 10 seconds, naming
// `what`.
void pair_until(struct pair *pair, bool (*is_true)(void *ctx), void *ctx, const char *what);

// pair_turn turns the loop a few times, whatever happens.
void pair_turn(struct pair *pair);

// pair_ended counts the connections that ended at an end with a reason.
uint64_t pair_ended(const struct pair_end *end, enum reason reason);

// pair_until_gone waits until both ends have no connections left.
void pair_until_gone(struct pair *pair);

// pair_until_reason waits until one connection of an end has ended with a reason.
void pair_until_reason(struct pair *pair, struct pair_end *end, enum reason reason);

// pair_send and pair_receive move all of it through a non-blocking socket, turning the loop
// meanwhile. pair_receive returns how many came before the end of the stream (*out_is_reset says
// which kind) or before `len`.
void pair_send(struct pair *pair, int fd, const void *bytes, size_t len);
size_t pair_receive(struct pair *pair, int fd, void *bytes, size_t len, bool *out_is_reset);

#endif
