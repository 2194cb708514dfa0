// SPDX-License-Identifier: Apache-2.0
#include "net/http2/conn.h"

static void on_timer(uv_timer_t *timer)
{
    struct grpc_conn *conn = timer->data;
    conn->armed_ms = UINT64_MAX;
    conn_check_deadlines(conn);
    conn_advance(conn);
}

// The timer is never moved to a later time: it is cheaper to look once in vain than to move it with
// every message.
void conn_due(struct grpc_conn *conn, uint64_t at_ms)
{
    if (at_ms < conn->armed_ms && !conn->is_stopped) {
        uint64_t now = conn_now(conn);
        conn->armed_ms = at_ms;
        uv_timer_start(&conn->timer, on_timer, at_ms > now ? at_ms - now : 0, 0);
    }
}

// Says whether a wait that began at since_ms (0: none) has lasted too long (0: it can't), else
// notes when it will have.
static bool is_late(uint64_t since_ms, uint32_t max_ms, uint64_t now_ms, uint64_t *next_ms)
{
    if (since_ms == 0 || max_ms == 0) {
        return false;
    }
    if (now_ms >= since_ms + max_ms) {
        return true;
    }
    if (since_ms + max_ms < *next_ms) {
        *next_ms = since_ms + max_ms;
    }
    return false;
}

static void lose(struct grpc_conn *conn, enum grpc_limit limit, const char *why, uint32_t ms)
{
    conn_bite(conn, limit);
    conn_reason(conn, "%s within %s (%u ms)", why, grpc_limit_name(limit), ms);
    conn->is_lost = true;
}

static void check_keepalive(struct grpc_conn *conn, uint64_t now, uint64_t *next)
{
    const struct grpc_limits *limits = &conn->limits;
    if (is_late(conn->ping_since_ms, limits->keepalive_answer_ms, now, next) ||
        is_late(conn->shutdown_since_ms, limits->keepalive_answer_ms, now, next)) {
        lose(conn, GRPC_LIMIT_keepalive_answer_ms, "no answer to a PING",
             limits->keepalive_answer_ms);
        return;
    }
    if (conn->is_open && conn->ping_since_ms == 0 &&
        is_late(conn->heard_ms, limits->keepalive_ms, now, next) &&
        nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL) == 0) {
        conn->ping_since_ms = now;
        is_late(now, limits->keepalive_answer_ms, now, next);
    }
}

void conn_check_deadlines(struct grpc_conn *conn)
{
    const struct grpc_limits *limits = &conn->limits;
    uint64_t now = conn_now(conn);
    uint64_t next = UINT64_MAX;
    if (is_late(conn->opening_since_ms, limits->open_ms, now, &next)) {
        lose(conn, GRPC_LIMIT_open_ms, "the peer didn't start HTTP/2", limits->open_ms);
    }
    if (conn->transport.is_writing &&
        is_late(conn->transport.write_since_ms, limits->send_stall_ms, now, &next)) {
        lose(conn, GRPC_LIMIT_send_stall_ms, "the peer read nothing", limits->send_stall_ms);
    }
    if (is_late(conn->linger_since_ms, limits->linger_ms, now, &next)) {
        conn->is_lost = true; // the usual end of a peer that waits for us to close
    }
    if (conn->is_server && !conn->is_going_away &&
        is_late(conn->idle_since_ms, limits->idle_ms, now, &next)) {
        conn_bite(conn, GRPC_LIMIT_idle_ms);
        conn_reason(conn, "no call within idle_ms (%u ms)", limits->idle_ms);
        conn_shutdown(conn);
        is_late(now, limits->keepalive_answer_ms, now, &next);
    }
    check_keepalive(conn, now, &next);
    for (struct grpc_call *call = conn->calls; call != NULL; call = call->next) {
        call_check_deadlines(call, now, &next);
    }
    if (next != UINT64_MAX) {
        conn_due(conn, next);
    }
}
