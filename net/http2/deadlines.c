// SPDX-License-Identifier: Apache-2.0
#include "net/http2/conn_impl.h"

#include <stdio.h>

#define UNREAD_MS 100  // until a peer whose bytes came while the loop was busy is looked at again
#define STOOD_MS  1000 // a timer that is so late was held up with the whole process

// Whether a loop that comes late to a look which was due at due_ms owes the peer something: its
// bytes wait to be read, or were read since, and it has had no time for what comes after them.
// Which of both it is depends on libuv: since 1.45 it reads first, and runs timers then.
static bool is_owed(const struct h2_conn *conn, uint64_t due_ms)
{
    return conn->transport.read_ms > due_ms || transport_has_unread(&conn->transport);
}

static void on_timer(uv_timer_t *timer);

// The timer is never moved to a later time: it is cheaper to look once in vain than to move it with
// every message.
void h2_conn_due(struct h2_conn *conn, uint64_t at_ms)
{
    if (at_ms < conn->armed_ms && conn->life < H2_STOPPED) {
        uint64_t now = h2_conn_now(conn);
        conn->armed_ms = at_ms;
        uv_timer_start(&conn->timer, on_timer, at_ms > now ? at_ms - now : 0, 0);
    }
}

// Says whether a wait that began at since_ms (0: none) has lasted longer than max_ms (0: no limit);
// if not, notes in *next_ms when it will have.
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

static void lose(struct h2_conn *conn, enum h2_limit limit, const char *why, uint32_t ms)
{
    h2_conn_bite(conn, limit);
    h2_conn_reason(conn, "%s within %s (%u ms)", why, h2_limit_name(limit), ms);
    h2_conn_lose(conn);
}

static void check_keepalive(struct h2_conn *conn, uint64_t now, uint64_t *next)
{
    const struct h2_limits *limits = &conn->limits;
    if (is_late(conn->ping_since_ms, limits->keepalive_answer_ms, now, next) ||
        is_late(conn->shutdown_since_ms, limits->keepalive_answer_ms, now, next)) {
        lose(conn, H2_LIMIT_keepalive_answer_ms, "no answer to a PING",
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

static void check_stream(struct h2_stream *stream, uint64_t now, uint64_t *next)
{
    const struct h2_limits *limits = &stream->conn->limits;
    if (is_late(stream->send_since_ms, limits->send_stall_ms, now, next)) {
        char why[96];
        h2_conn_bite(stream->conn, H2_LIMIT_send_stall_ms);
        snprintf(why, sizeof why, "the peer took nothing within send_stall_ms (%u ms)",
                 limits->send_stall_ms);
        h2_stream_leave(stream, H2_CANCEL);
        h2_stream_close(stream, H2_CLOSE_STALLED, H2_CANCEL, why);
    } else if (stream->hooks->on_time != NULL) {
        uint64_t due = stream->hooks->on_time(stream, now);
        *next = due < *next ? due : *next;
    }
}

// After a long turn of the loop, what the peer has sent is read before it counts as late.
static void check_opening(struct h2_conn *conn, uint64_t due_ms, uint64_t now, uint64_t *next)
{
    const struct h2_limits *limits = &conn->limits;
    bool has_no_hello = transport_awaits_hello(&conn->transport) &&
                        is_late(conn->opening_since_ms, limits->hello_ms, now, next);
    bool is_not_open = is_late(conn->opening_since_ms, limits->open_ms, now, next);
    if (!has_no_hello && !is_not_open) {
        return;
    }
    if (is_owed(conn, due_ms)) {
        *next = now + UNREAD_MS < *next ? now + UNREAD_MS : *next;
    } else if (has_no_hello) {
        lose(conn, H2_LIMIT_hello_ms, "the peer sent no ClientHello", limits->hello_ms);
    } else if (transport_is_looking(&conn->transport)) {
        lose(conn, H2_LIMIT_open_ms, "no answer to the lookup of the server's name",
             limits->open_ms);
    } else {
        lose(conn, H2_LIMIT_open_ms, "the peer didn't start HTTP/2", limits->open_ms);
    }
}

// Ends what has waited for too long, and arms the timer for the next.
static void check_deadlines(struct h2_conn *conn, uint64_t due_ms)
{
    const struct h2_limits *limits = &conn->limits;
    uint64_t now = h2_conn_now(conn);
    uint64_t next = UINT64_MAX;
    check_opening(conn, due_ms, now, &next);
    if (conn->transport.is_writing &&
        is_late(conn->transport.write_since_ms, limits->send_stall_ms, now, &next)) {
        lose(conn, H2_LIMIT_send_stall_ms, "the peer read nothing", limits->send_stall_ms);
    }
    if (is_late(conn->linger_since_ms, limits->linger_ms, now, &next)) {
        h2_conn_lose(conn); // the usual end of a peer that waits for us to close
    }
    if (conn->is_server && conn->life < H2_LEAVING &&
        is_late(conn->idle_since_ms, limits->idle_ms, now, &next)) {
        h2_conn_bite(conn, H2_LIMIT_idle_ms);
        h2_conn_reason(conn, "no stream within idle_ms (%u ms)", limits->idle_ms);
        h2_conn_shutdown(conn);
        is_late(now, limits->keepalive_answer_ms, now, &next);
    }
    check_keepalive(conn, now, &next);
    LIST_EACH_SAFE(link, &conn->streams) {
        struct h2_stream *stream = LIST_OF(link, struct h2_stream, link);
        check_stream(stream, now, &next);
    }
    if (next != UINT64_MAX) {
        h2_conn_due(conn, next);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct h2_conn *conn = timer->data;
    uint64_t now = h2_conn_now(conn);
    uint64_t due_ms = conn->armed_ms;
    conn->armed_ms = UINT64_MAX;
    if (now > due_ms + STOOD_MS && is_owed(conn, due_ms)) {
        // What came while the process stood still is read before the peer is judged.
        h2_conn_due(conn, now + UNREAD_MS);
        return;
    }
    check_deadlines(conn, due_ms);
    h2_conn_advance(conn);
}
