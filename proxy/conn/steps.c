// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/steps.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "proxy/conn/authorize.h"
#include "proxy/conn/deadline.h"
#include "proxy/conn/dial.h"
#include "proxy/conn/protocol.h"
#include "proxy/conn/queue.h"
#include "proxy/carry/hello.h"
#include "proxy/carry/tls.h"

// The paths. ROUTE and DETECT are forks: each takes one of the paths below them, from its first
// step on. Every path that ends in RELAY passes AUTHORIZE.
const enum step path_start[] = {STEP_ORIGIN, STEP_ROUTE};
static const enum step path_permissive[] = {STEP_DETECT};
static const enum step path_plain[] = {STEP_AUTHORIZE, STEP_CONNECT, STEP_RELAY};
static const enum step path_inbound_mtls[] = {STEP_HANDSHAKE, STEP_AUTHORIZE, STEP_CONNECT,
                                              STEP_RELAY};
static const enum step path_outbound_mtls[] = {STEP_QUEUE, STEP_CONNECT, STEP_HANDSHAKE,
                                               STEP_AUTHORIZE, STEP_RELAY};

static enum step_result ended(struct conn *conn, enum reason reason, const char *detail)
{
    conn_end(conn, reason, detail);
    return STEP_ENDED;
}

static bool is_own_port(const struct conn_env *env, uint16_t port)
{
    return (env->outbound_port != 0 && port == env->outbound_port) ||
           (env->inbound_port != 0 && port == env->inbound_port);
}

// Returns why the destination may not be followed: it is this sidecar, or loopback, or, inbound,
// not an address of this host, or nobody knows whose it is. REASON_NONE: it may.
static enum reason origin_refusal(struct conn *conn, const struct origin *origin)
{
    struct conn_env *env = conn->env;
    const struct addr *to = &conn->destination;
    if (addr_equal(&origin->original, &origin->local)) {
        return REASON_LOOP; // not redirected: somebody called our own listener
    }
    if (ip_is_loopback(&to->ip) || ip_is_unspecified(&to->ip)) {
        return REASON_LOOPBACK;
    }
    enum host_addrs_answer answer = host_addrs_ask(&env->host_addrs, to, 0, conn_now_ms(conn));
    bool is_ours = answer == HOST_ADDRS_YES;
    if (answer == HOST_ADDRS_UNKNOWN) {
        return REASON_NO_ORIGIN;
    }
    if (is_ours && is_own_port(env, to->port)) {
        return REASON_LOOP;
    }
    if (conn->kind == LISTEN_INBOUND) {
        return is_ours ? REASON_NONE : REASON_NOT_LOCAL;
    }
    conn->is_self_call = is_ours;
    return REASON_NONE;
}

static enum step_result step_origin(struct conn *conn)
{
    bool is_intercepted = conn->kind == LISTEN_OUTBOUND || conn->kind == LISTEN_INBOUND;
    struct origin origin;
    if (!conn_origin(conn, &origin, is_intercepted)) {
        if (errno == ENOTCONN) { // a reset was there before we were
            return ended(conn, relay_reset_of(conn->accepted), NULL);
        }
        return ended(conn, REASON_NO_ORIGIN, strerror(errno));
    }
    conn->source = origin.peer;
    conn->reached = is_intercepted ? origin.original : origin.local;
    if (!is_intercepted) {
        return STEP_NEXT; // the listener's specification names the destination
    }
    conn->destination = origin.original;
    conn->port = origin.original.port;
    enum reason refusal = origin_refusal(conn, &origin);
    return refusal == REASON_NONE ? STEP_NEXT
           : refusal == REASON_NO_ORIGIN
               ? ended(conn, refusal, strerror(conn->env->host_addrs.error))
               : ended(conn, refusal, NULL);
}

static enum step_result fork_to(struct conn *conn, const enum step *path)
{
    conn->at = path;
    return STEP_FORK;
}

static enum step_result fork_to_plain(struct conn *conn)
{
    handshake_over(&conn->handshake); // DETECT found no TLS of ours
    if (conn->direction == DIRECTION_INBOUND) {
        conn->is_plaintext = true;
        stats_add(&conn->env->stats.plaintext_connections, 1);
    }
    return fork_to(conn, path_plain);
}

static enum step_result fork_outbound(struct conn *conn, enum route_mode mode)
{
    switch (mode) {
    case ROUTE_DENY:
        return ended(conn, REASON_UNLISTED_DESTINATION, NULL);
    case ROUTE_PLAINTEXT:
        return fork_to_plain(conn);
    case ROUTE_MTLS:
        break;
    }
    return fork_to(conn, path_outbound_mtls);
}

static enum step_result fork_inbound(struct conn *conn, enum inbound_mode mode)
{
    switch (mode) {
    case INBOUND_PERMISSIVE:
        return fork_to(conn, path_permissive);
    case INBOUND_PLAINTEXT:
        conn->may_be_mesh = true;
        return fork_to_plain(conn);
    case INBOUND_TLS_PASSTHROUGH:
        return fork_to_plain(conn);
    case INBOUND_MTLS:
        break;
    }
    return fork_to(conn, path_inbound_mtls);
}

static enum step_result step_route(struct conn *conn)
{
    const struct route_index *routes = conn->env->snapshot->routes;
    if (conn->is_self_call) {
        return fork_to_plain(conn);
    }
    return conn->direction == DIRECTION_OUTBOUND
               ? fork_outbound(conn, route_outbound(routes, &conn->destination).mode)
               : fork_inbound(conn, route_inbound(routes, conn->port).mode);
}

static void begin_handshake(struct conn *conn)
{
    if (conn->handshake.env == NULL) {
        bool is_server = conn->direction == DIRECTION_INBOUND;
        handshake_begin(&conn->handshake, conn->env, conn->mesh,
                        is_server ? &conn->source : &conn->destination,
                        is_server ? &conn->reached : NULL, conn->port);
    }
}

// PERMISSIVE with foreign_tls APPLICATION: the ClientHello says whether it is for us or for the
// application, and can still be relayed until that is known.
static enum step_result detect_hello(struct conn *conn)
{
    switch (handshake_look(&conn->handshake)) {
    case HELLO_OURS:
        return fork_to(conn, path_inbound_mtls);
    case HELLO_FOREIGN:
        return fork_to_plain(conn);
    case HELLO_WAIT:
        return conn->is_detect_over ? ended(conn, REASON_HANDSHAKE_TIMEOUT, NULL) : STEP_WAIT;
    case HELLO_FAILED:
        break;
    }
    return ended(conn, conn->handshake.reason, conn->handshake.detail);
}

// A plaintext caller has counted apart until now, as those that have yet to send a ClientHello do.
// Where the limit on connections is reached it goes on doing so, until there is a place.
static bool waits_for_place(struct conn *conn)
{
    enum { AGAIN_MS = 200 };
    uint64_t now_ms = conn_now_ms(conn);
    conn->is_waiting_for_place = !queue_has_place(conn->env);
    if (conn->is_waiting_for_place && now_ms >= conn->again_ms) {
        conn->again_ms = now_ms + AGAIN_MS;
    }
    return conn->is_waiting_for_place;
}

static enum step_result step_detect(struct conn *conn)
{
    struct side *mesh = conn->mesh;
    begin_handshake(conn);
    conn->is_waiting_for_place = false;
    enum reason refusal = handshake_refusal(&conn->handshake);
    if (refusal != REASON_NONE) {
        return ended(conn, refusal, NULL);
    }
    if (mesh->error != 0) {
        return ended(conn, REASON_PEER_RESET, side_error_text(mesh));
    }
    enum hello_state state = hello_look(&mesh->in);
    switch (state) {
    case HELLO_UNDECIDED:
    case HELLO_NONE:
        // A caller that waits for the server to speak, a probe that only connects, or one whose few
        // bytes only begin like TLS: whoever speaks TLS sends more than those at once.
        if (state == HELLO_UNDECIDED && !conn->is_detect_over && !mesh->is_eof) {
            return STEP_WAIT;
        }
        return waits_for_place(conn) ? STEP_WAIT : fork_to_plain(conn);
    case HELLO_PART:
    case HELLO_WHOLE:
    case HELLO_TOO_LONG:
        break;
    }
    // The port may have changed since the first part was looked at.
    if (conn->handshake.is_looking ||
        route_inbound(conn->env->snapshot->routes, conn->port).foreign_tls_is_application) {
        bool may_be_foreign = state == HELLO_WHOLE && !conn->handshake.is_looking;
        return may_be_foreign && waits_for_place(conn) ? STEP_WAIT : detect_hello(conn);
    }
    return fork_to(conn, path_inbound_mtls);
}

// A caller waits for its turn before its destination is called, and nothing of it is read
// meanwhile.
static enum step_result step_queue(struct conn *conn)
{
    begin_handshake(conn);
    if (handshake_refusal(&conn->handshake) != REASON_NONE) {
        return ended(conn, handshake_refusal(&conn->handshake), NULL);
    }
    if (!handshake_admit(&conn->handshake)) {
        return STEP_WAIT;
    }
    if (conn->is_step_begun && conn_caller_error(conn) != 0) {
        return ended(conn, relay_reset_of(conn->accepted), NULL); // it waited no longer
    }
    return STEP_NEXT;
}

static enum step_result step_connect(struct conn *conn)
{
    struct side *side = conn->dialed;
    if ((!conn->is_step_begun || conn->is_waiting_for_port) && !conn_dial(conn)) {
        return STEP_ENDED;
    }
    if (side->error == ECONNREFUSED) {
        return ended(conn, REASON_CONNECT_REFUSED, NULL);
    }
    if (side->error == ETIMEDOUT) {
        return ended(conn, REASON_CONNECT_TIMEOUT, NULL);
    }
    if (side->error != 0) {
        return ended(conn, REASON_CONNECT_FAILED, side_error_text(side));
    }
    return side->is_connected ? STEP_NEXT : STEP_WAIT;
}

static enum step_result step_handshake(struct conn *conn)
{
    struct handshake *handshake = &conn->handshake;
    begin_handshake(conn);
    enum handshake_result result = handshake_step(handshake);
    switch (result) {
    case HANDSHAKE_DONE:
        conn->peer = handshake_take_peer(handshake);
        return STEP_NEXT;
    case HANDSHAKE_WAIT:
        return STEP_WAIT;
    case HANDSHAKE_FAILED:
        break;
    }
    return ended(conn, handshake->reason, handshake->detail);
}

static enum step_result step_authorize(struct conn *conn)
{
    invariant(conn->mesh->ssl == NULL || conn->peer != NULL); // a TLS peer has proved who it is
    enum reason reason = authorize(conn, false);
    if (reason != REASON_NONE) {
        return ended(conn, reason, NULL);
    }
    conn->is_authorized = true;
    handshake_over(&conn->handshake);
    return STEP_NEXT;
}

// Adds to the worker's figure of the direction what a flow has carried since it was counted.
static inline void count_bytes(const struct conn *conn, _Atomic uint64_t figures[NUM_DIRECTIONS],
                               const struct flow *flow, uint64_t *counted)
{
    if (flow->num_bytes != *counted) {
        stats_add(&figures[conn->direction], flow->num_bytes - *counted);
        *counted = flow->num_bytes;
    }
}

// Says whether the server may have ended because it takes none of the ALPN names that it was
// offered: it selected none, and ends before anybody else and before it sent anything. Those of
// gRPC do so without an alert.
static bool is_alpn_refusal(const struct conn *conn)
{
    return conn->direction == DIRECTION_OUTBOUND && conn->mesh->ssl != NULL &&
           conn->down.num_bytes == 0 && !conn->up.is_ending &&
           protocol_is_none_selected(conn->mesh);
}

static enum step_result relay_ended(struct conn *conn, enum reason reason, const char *detail)
{
    static const char refusal[] =
        "the server selected none of the ALPN protocols that it was offered, and ended the "
        "connection before it sent anything: see the destination's alpn";
    if (reason == REASON_FINISHED) {
        return ended(conn, reason, conn->is_alpn_refused ? refusal : NULL);
    }
    bool is_peers_end = reason == REASON_TRUNCATED || reason == REASON_PEER_RESET;
    if (is_peers_end && is_alpn_refusal(conn)) {
        return ended(conn, REASON_ALPN_REFUSED, refusal);
    }
    bool is_parting = relay_is_parting(&conn->up, &conn->down, reason);
    return ended(conn, is_parting ? REASON_RESET_AFTER_END : reason, detail);
}

// On a PLAINTEXT port the first bytes of a caller may be a sidecar's ClientHello, because its
// destination says MTLS. They are not for the application, nor does it wait for them: the other
// direction goes on meanwhile. The application's own TLS, which offers other protocols, is relayed.
// Returns whether what the caller sent is held back until the ClientHello is whole, for hello_ms at
// most, and in a piece: whoever sends but a part of one holds no block that others wait for.
static bool holds_hello(struct conn *conn, bool *out_is_mesh)
{
    const struct side *mesh = conn->mesh;
    *out_is_mesh = false;
    if (!conn->may_be_mesh || (mesh->in.len == 0 && !mesh->is_eof)) {
        return false;
    }
    switch (hello_look(&mesh->in)) {
    case HELLO_PART:
        if (!mesh->is_eof && mesh->error == 0 && deadline_held(conn) > 0) {
            return true;
        }
        break;
    case HELLO_WHOLE:
        *out_is_mesh = protocol_is_mesh_hello(&mesh->in);
        break;
    case HELLO_UNDECIDED:
    case HELLO_NONE:
    case HELLO_TOO_LONG:
        break;
    }
    conn->may_be_mesh = false;
    conn->mesh->is_relaying = true;
    return false;
}

static enum step_result refuse_mesh_hello(struct conn *conn)
{
    // What TLS says to a message that it did not expect (RFC 8446, section 6.2), so that the
    // caller's sidecar has something to log.
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 10};
    struct side *mesh = conn->mesh;
    if (side_borrow(mesh, &mesh->out)) {
        ring_write(&mesh->out, alert, sizeof alert);
        side_flush(mesh);
    }
    return ended(conn, REASON_TLS_ON_PLAINTEXT,
                 "the caller is a sidecar and speaks mutual TLS, and this port is PLAINTEXT: its "
                 "destination should say PLAINTEXT, too, or this port MTLS or PERMISSIVE");
}

static enum step_result step_relay(struct conn *conn)
{
    if (!conn->is_step_begun) {
        invariant(conn->is_authorized);
        conn->plain->is_relaying = true;
        conn->mesh->is_relaying = !conn->may_be_mesh;
        conn->up = (struct flow){.source = conn->accepted, .target = conn->dialed};
        conn->down = (struct flow){.source = conn->dialed, .target = conn->accepted};
    }
    bool is_mesh;
    bool is_held = holds_hello(conn, &is_mesh);
    if (is_mesh) {
        return refuse_mesh_hello(conn);
    }
    const char *detail = NULL;
    enum reason reason = is_held ? REASON_NONE : relay_step(&conn->up, &detail);
    if (reason == REASON_NONE) {
        reason = relay_step(&conn->down, &detail);
    }
    struct stats *stats = &conn->env->stats;
    count_bytes(conn, stats->bytes_up, &conn->up, &conn->counted_up);
    count_bytes(conn, stats->bytes_down, &conn->down, &conn->counted_down);
    if (reason != REASON_NONE) {
        return relay_ended(conn, reason, detail);
    }
    if (conn->down.is_ending && is_alpn_refusal(conn)) {
        conn->is_alpn_refused = true;
    }
    if (relay_is_done(&conn->up) && relay_is_done(&conn->down)) {
        return relay_ended(conn, REASON_FINISHED, NULL);
    }
    return STEP_WAIT;
}

static bool reads_nothing(const struct conn *conn, const struct side *side)
{
    (void)conn;
    (void)side;
    return false;
}

static bool reads_hello(const struct conn *conn, const struct side *side)
{
    return side == conn->mesh && side->in.len < HELLO_BYTES_MAX;
}

// Inbound, the peer has proved who it is before CONNECT: reading stays on, which is cheaper.
static bool reads_records(const struct conn *conn, const struct side *side)
{
    return side == conn->mesh && side->ssl != NULL && side->in.len == 0;
}

static bool reads_handshake(const struct conn *conn, const struct side *side)
{
    return side->ssl == NULL ? reads_hello(conn, side) : reads_records(conn, side);
}

static bool reads_flows(const struct conn *conn, const struct side *side)
{
    if (side == conn->mesh && conn->may_be_mesh) {
        return side->in.len < HELLO_BYTES_MAX; // some may be held back
    }
    return relay_wants_read(side == conn->up.source ? &conn->up : &conn->down);
}

static bool reads_rest(const struct conn *conn, const struct side *side)
{
    return side == conn->mesh; // it is dropped
}

const struct step_row step_rows[NUM_STEPS] = {
#define X(name, text, reads, deadline)                                                             \
    [name] = {#text, step_##text, reads_##reads, deadline_##deadline},
    STEPS(X)
#undef X
};

const char *step_text(enum step step)
{
    return step_rows[step].text;
}
