// SPDX-License-Identifier: Apache-2.0
//
// One connection, from its acceptance to the one reason with which it ends. A worker's listeners
// call conn_accept; from then on callbacks record facts in the sides and call conn_advance, which
// alone decides, by the snapshot in force. The worker calls conn_recheck after each new snapshot,
// and conn_end when it drains. One allocation, freed by its last close callback; that worker's
// thread. Bounded by Limits.connections, the deadline of each step and the two rings of each side.
#ifndef TABARD_PROXY_CONN_CONN_H
#define TABARD_PROXY_CONN_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/addr.h"
#include "proxy/carry/relay.h"
#include "proxy/carry/socket.h"
#include "proxy/conn/env.h"
#include "proxy/conn/handshake.h"
#include "proxy/origin/origin.h"
#include "proxy/trust/peer.h"
#include "proxy/link/stats.h"
#include "proxy/rules/reason.h"
#include "proxy/rules/route.h"

// Every step: X(enum, text, what is read meanwhile, how long it may wait). The text is the log's
// and names the function step_<text>; the other two name reads_<what> in proxy/conn/steps.c and
// deadline_<which> in proxy/conn/deadline.h.
#define STEPS(X)                                                                                   \
    X(STEP_ORIGIN, origin, nothing, never)                                                         \
    X(STEP_ROUTE, route, nothing, never)                                                           \
    X(STEP_DETECT, detect, hello, detect)                                                          \
    X(STEP_QUEUE, queue, nothing, queue)                                                           \
    X(STEP_CONNECT, connect, records, connect)                                                     \
    X(STEP_HANDSHAKE, handshake, handshake, handshake)                                             \
    X(STEP_AUTHORIZE, authorize, nothing, never)                                                   \
    X(STEP_RELAY, relay, flows, relay)                                                             \
    X(STEP_CLOSING, closing, rest, closing)

enum step {
#define X(name, text, reads, deadline) name,
    STEPS(X)
#undef X
        NUM_STEPS
};
const char *step_text(enum step step);

struct conn {
    struct side *plain;    // towards the service; borrowed from its carrier below, like all four
    struct side *mesh;     // towards the peer; without TLS on plaintext paths
    struct side *accepted; // one of the two above: who called
    struct side *dialed;   // the other
    struct socket plain_socket;
    struct socket mesh_socket;
    uv_timer_t timer;
    struct conn *prev; // borrowed: in env->conns
    struct conn *next;
    struct list ready;    // in the env's, while it was interrupted
    struct conn_env *env; // borrowed from the worker, which outlives its connections
    struct flow up;       // from the caller
    struct flow down;     // to the caller
    const enum step *at;  // the current step, in a path of proxy/conn/steps.c
    uint8_t handles_open;
    enum direction direction : 8;
    enum listen_kind kind : 8;
    enum reason reason : 8; // REASON_NONE while it lives
    // What would end it if enforcement weren't OBSERVE, by the newest decision; REASON_NONE:
    // nothing.
    enum reason would : 8;
    uint8_t num_port_waits;
    bool is_advancing : 1;
    bool wants_advance : 1; // something happened meanwhile
    bool is_step_begun : 1; // the current step has run before
    bool is_self_call : 1;  // the service called its own address: inbound policy decides, nothing
                            // leaves the host
    bool is_plaintext : 1;  // inbound, without identity
    bool may_be_mesh : 1; // a PLAINTEXT port, and the caller's first bytes are yet to be looked at
    bool is_authorized : 1;
    bool has_entered : 1;     // it counts among its peer's connections (proxy/trust/peer.h)
    bool is_detect_over : 1;  // the caller stayed silent
    bool is_alpn_refused : 1; // the server ended cleanly, and seemingly for its protocol's sake
    bool is_overdue : 1; // a deadline has passed; it ends what the sockets have not mended since
    bool is_waiting_for_port : 1;  // CONNECT: no local port is free (proxy/conn/dial.h)
    bool is_waiting_for_place : 1; // DETECT: the limit on connections is reached
    struct addr source;
    struct addr destination;
    struct addr reached;        // the address by which the caller came here
    uint64_t again_ms;          // is_waiting_for_port, _place: when to try again
    uint16_t port;              // inbound: the application's, as policies name it
    int rule;                   // that decided; -1: none
    const char *policy;         // borrowed from the snapshot in force, renewed at each re-check
    struct peer *peer;          // counted; NULL: no identity
    struct handshake handshake; // zero before DETECT, QUEUE or HANDSHAKE, and from AUTHORIZE on
    char *detail;               // owned: words for the log, or NULL
    uint64_t id;
    uint64_t opened_ms;
    uint64_t step_ms;   // loop time at which the current step began
    uint64_t looked_ms; // loop time at which RELAY last looked whether both hosts live
    uint64_t timer_due_ms;
    uint64_t counted_up; // of the flows' bytes, what the stats have
    uint64_t counted_down;
};

// conn_env_init makes what connections share on `loop`, conn_env_cleanup frees it; no connection
// may be left. The worker sets the limits, the snapshot and the callbacks.
void conn_env_init(struct conn_env *env, uv_loop_t *loop);
void conn_env_cleanup(struct conn_env *env);

// conn_has_room says whether one more connection may be accepted. At a limit the strangers go whom
// proxy/limits/gate.h names, and nobody else; false: there are none, so that callers must wait
// in the kernel's queue.
bool conn_has_room(struct conn_env *env, enum direction direction);

// conn_accept takes over what accept4(2) returned for a listener, and starts a connection with it.
// Ask conn_has_room before.
void conn_accept(struct conn_env *env, int fd, const struct listen_spec *spec);

// listen_direction returns the direction of the connections that a listener takes.
static inline enum direction listen_direction(enum listen_kind kind)
{
    return kind == LISTEN_OUTBOUND || kind == LISTEN_FORWARD ? DIRECTION_OUTBOUND
                                                             : DIRECTION_INBOUND;
}

// conn_recheck asks the snapshot in force about a live connection and ends it if it is now denied.
// Call peers_recheck first.
void conn_recheck(struct conn *conn);

// conn_sync_deadline sets the deadline of a connection anew, since something has changed what it
// is.
void conn_sync_deadline(struct conn *conn);

// conn_end ends a connection that lives; the first reason stands. detail may be NULL and is copied.
void conn_end(struct conn *conn, enum reason reason, const char *detail);

// conn_advance runs steps until one waits.
void conn_advance(struct conn *conn);

// conn_socket returns the carrier of one of the two sides; conn_make_socket makes it.
struct socket *conn_socket(struct conn *conn, const struct side *side);
void conn_make_socket(struct conn *conn, const struct side *side);

// conn_step returns the step that a connection is in: CLOSING from its end on.
static inline enum step conn_step(const struct conn *conn)
{
    return conn->reason != REASON_NONE ? STEP_CLOSING : *conn->at;
}

static inline uint64_t conn_now_ms(const struct conn *conn)
{
    return uv_now(conn->env->loop);
}

#endif
