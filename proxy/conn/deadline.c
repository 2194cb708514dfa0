// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/deadline.h"

#include "base/log.h"
#include "proxy/carry/hello.h"

enum {
    // How often a connection looks at the wall clock, which may jump, and whether the hosts at its
    // ends still live.
    LOOK_MS = 30000,
    // How long one direction has ended, and the other is silent, before the side that ended is
    // watched for a reset. Most connections are over by then.
    HALF_CLOSED_LOOK_MS = 1000,
    // How long a peer may be silent, in a drain, whom the service has left.
    DRAIN_LEFT_MS = 2000,
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// Returns how long the peer's certificate still serves this connection, 0 when that is over: until
// its notAfter, and then the grace, and then up to the grace once more, which the connection's id
// spreads so that they don't all end at once.
static uint64_t expiry_left(const struct conn *conn)
{
    uint64_t grace_ms = conn->env->limits.peer_expiry_grace_ms;
    uint64_t jitter_ms = grace_ms == 0 ? 0 : conn->id * 2654435761u % grace_ms;
    struct now_end end = conn->peer->ends;
    end.unix_s += (int64_t)(grace_ms + jitter_ms) / 1000;
    end.boot_ms += (int64_t)(grace_ms + jitter_ms);
    return now_end_left_ms(end, env_now(conn->env));
}

static uint64_t left_of(uint64_t since_ms, uint64_t limit_ms, uint64_t now_ms)
{
    uint64_t due = since_ms + limit_ms;
    return due > now_ms ? due - now_ms : 0;
}

static bool is_half_closed(const struct conn *conn)
{
    return conn->up.is_ending != conn->down.is_ending;
}

// Returns what the current step has left of `limit_ms`.
static uint64_t step_left(const struct conn *conn, uint64_t limit_ms)
{
    return left_of(conn->step_ms, limit_ms, conn_now_ms(conn));
}

uint64_t deadline_never(const struct conn *conn, enum reason *out_reason)
{
    (void)conn;
    *out_reason = REASON_NONE;
    invariant(false);
    return 0;
}

// Returns how long it is until the next try, for REASON_NONE, or for `reason` what is `left`.
static uint64_t again_left(const struct conn *conn, uint64_t left, enum reason reason,
                           enum reason *out_reason)
{
    uint64_t wait = left_of(conn->again_ms, 0, conn_now_ms(conn));
    *out_reason = wait < left ? REASON_NONE : reason;
    return least(wait, left);
}

uint64_t deadline_detect(const struct conn *conn, enum reason *out_reason)
{
    if (conn->is_waiting_for_place) {
        return again_left(conn, step_left(conn, conn->env->limits.queue_ms),
                          REASON_LIMIT_HANDSHAKES, out_reason);
    }
    if (hello_look(&conn->mesh->in) == HELLO_PART) { // whose it is the rest will say
        *out_reason = REASON_HANDSHAKE_TIMEOUT;
        return step_left(conn, conn->env->limits.hello_ms);
    }
    *out_reason = REASON_NONE;
    uint32_t detect_ms = route_inbound(conn->env->snapshot->routes, conn->port).detect_ms;
    return step_left(conn, detect_ms != 0 ? detect_ms : conn->env->limits.detect_ms);
}

uint64_t deadline_connect(const struct conn *conn, enum reason *out_reason)
{
    uint64_t left = step_left(conn, conn->env->limits.connect_ms);
    *out_reason = REASON_CONNECT_TIMEOUT;
    if (conn->is_waiting_for_port) {
        return again_left(conn, left, REASON_NO_LOCAL_PORT, out_reason);
    }
    return left;
}

uint64_t deadline_queue(const struct conn *conn, enum reason *out_reason)
{
    const struct limits *limits = &conn->env->limits;
    uint64_t progress_ms = gate_progress_ms(&conn->handshake.ticket);
    uint64_t since_ms = progress_ms > conn->step_ms ? progress_ms : conn->step_ms;
    uint64_t left = left_of(since_ms, limits->connect_ms, conn_now_ms(conn));
    uint64_t queue_left = step_left(conn, limits->queue_ms);
    *out_reason = queue_left < left ? REASON_LIMIT_HANDSHAKES : REASON_CONNECT_TIMEOUT;
    return least(left, queue_left);
}

uint64_t deadline_handshake(const struct conn *conn, enum reason *out_reason)
{
    const struct limits *limits = &conn->env->limits;
    const struct ticket *ticket = &conn->handshake.ticket;
    *out_reason = REASON_HANDSHAKE_TIMEOUT;
    switch (ticket->state) {
    case TICKET_NONE:
    case TICKET_HELLO:
    case TICKET_EVICTED:
    case NUM_TICKET_STATES:
        return step_left(conn, (uint32_t)least(limits->hello_ms, limits->handshake_ms));
    case TICKET_WAITING:
        *out_reason = REASON_LIMIT_HANDSHAKES;
        return left_of(ticket->since_ms, limits->queue_ms, conn_now_ms(conn));
    case TICKET_IN_FLIGHT:
        break;
    }
    if (handshake_is_signing(&conn->handshake)) {
        *out_reason = REASON_SIGN_TIMEOUT; // the delay is ours and not the peer's
    }
    // A client's turn begins before it dials, which has a deadline of its own.
    uint64_t since_ms = conn->step_ms > ticket->since_ms ? conn->step_ms : ticket->since_ms;
    return left_of(since_ms, limits->handshake_ms, conn_now_ms(conn));
}

uint64_t deadline_closing(const struct conn *conn, enum reason *out_reason)
{
    *out_reason = conn->reason;
    return step_left(conn, conn->env->limits.closing_ms);
}

static uint64_t moved_ms(const struct conn *conn)
{
    return conn->plain->moved_ms > conn->mesh->moved_ms ? conn->plain->moved_ms
                                                        : conn->mesh->moved_ms;
}

uint64_t deadline_look(const struct conn *conn)
{
    uint64_t since_ms = conn->looked_ms > conn->step_ms ? conn->looked_ms : conn->step_ms;
    uint64_t left = left_of(since_ms, LOOK_MS, conn_now_ms(conn));
    if (is_half_closed(conn) &&
        !(conn->up.is_ending ? conn->up.source : conn->down.source)->is_watched) {
        left = least(left, left_of(moved_ms(conn), HALF_CLOSED_LOOK_MS, conn_now_ms(conn)));
    }
    return left;
}

uint64_t deadline_held(const struct conn *conn)
{
    return conn->may_be_mesh && conn->mesh->in.len > 0 ? step_left(conn, conn->env->limits.hello_ms)
                                                       : UINT64_MAX;
}

// Returns how long the side may still leave unread what is being written to it.
static uint64_t stall_left(const struct conn *conn, const struct side *side)
{
    return side->writing_len == 0
               ? UINT64_MAX
               : left_of(side->waiting_ms, conn->env->limits.stall_ms, conn_now_ms(conn));
}

const char *deadline_detail(const struct conn *conn, enum reason reason)
{
    if (reason == REASON_FINISHED) {
        return "the service has ended, and its peer takes no notice";
    }
    if (reason != REASON_STALLED) {
        return NULL;
    }
    return stall_left(conn, conn->plain) <= stall_left(conn, conn->mesh)
               ? "the service does not read"
               : "the peer does not read";
}

// Says whether only the peer keeps the connection open, in a drain: the service has answered and
// ended, and in a pod it has gone. A peer's application that takes no notice must not hold up the
// sidecar's own end.
static bool is_left_by_service(const struct conn *conn)
{
    return conn->env->is_draining && conn->direction == DIRECTION_INBOUND && conn->down.is_ending &&
           !conn->up.is_ending && conn->mesh->writing_len == 0;
}

uint64_t deadline_relay(const struct conn *conn, enum reason *out_reason)
{
    const struct limits *limits = &conn->env->limits;
    uint64_t now_ms = conn_now_ms(conn);
    uint64_t left = left_of(moved_ms(conn), limits->idle_ms, now_ms);
    *out_reason = REASON_IDLE;
    if (is_half_closed(conn) && limits->half_closed_ms < limits->idle_ms) {
        left = left_of(moved_ms(conn), limits->half_closed_ms, now_ms);
        *out_reason = REASON_HALF_CLOSED;
    }
    if (is_left_by_service(conn) && left_of(moved_ms(conn), DRAIN_LEFT_MS, now_ms) < left) {
        left = left_of(moved_ms(conn), DRAIN_LEFT_MS, now_ms);
        *out_reason = REASON_FINISHED; // no reset: the answer's last bytes may be on their way
    }
    uint64_t stall = least(stall_left(conn, conn->plain), stall_left(conn, conn->mesh));
    if (stall < left) {
        left = stall;
        *out_reason = REASON_STALLED;
    }
    uint64_t expiry = conn->peer != NULL ? expiry_left(conn) : UINT64_MAX;
    if (expiry < left) {
        left = expiry;
        *out_reason = REASON_PEER_EXPIRED;
    }
    if (deadline_held(conn) < left) {
        left = deadline_held(conn);
        *out_reason = REASON_NONE;
    }
    return least(left, deadline_look(conn));
}
