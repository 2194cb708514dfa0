// SPDX-License-Identifier: Apache-2.0
#include "net/http2/conn.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

uint64_t conn_now(const struct grpc_conn *conn)
{
    return uv_now(conn->timer.loop);
}

void conn_bite(struct grpc_conn *conn, enum grpc_limit limit)
{
    conn->bites->num[limit]++;
}

static void vreason(struct grpc_conn *conn, const char *format, va_list args)
{
    if (conn->why[0] == '\0') {
        vsnprintf(conn->why, sizeof conn->why, format, args);
    }
}

void conn_reason(struct grpc_conn *conn, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vreason(conn, format, args);
    va_end(args);
}

void conn_fail(struct grpc_conn *conn, uint32_t error_code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vreason(conn, format, args);
    va_end(args);
    conn_goes_away(conn);
    nghttp2_session_terminate_session(conn->session, error_code);
    conn_wake(conn);
}

void conn_goes_away(struct grpc_conn *conn)
{
    if (!conn->is_going_away) {
        conn->is_going_away = true;
        conn->has_going_away_news = true;
    }
}

static void on_idle(uv_idle_t *idle)
{
    struct grpc_conn *conn = idle->data;
    uv_idle_stop(idle);
    conn_advance(conn);
}

void conn_wake(struct grpc_conn *conn)
{
    if (!conn->is_advancing && !conn->is_stopped) {
        uv_idle_start(&conn->idle, on_idle);
    }
}

void conn_call_is_ready(struct grpc_conn *conn, struct grpc_call *call)
{
    if (!call->is_ready && !call->is_dead) {
        call->is_ready = true;
        call->next_ready = NULL;
        if (conn->ready_last != NULL) {
            conn->ready_last->next_ready = call;
        } else {
            conn->ready_first = call;
        }
        conn->ready_last = call;
    }
    conn_wake(conn);
}

static void settle_calls(struct grpc_conn *conn)
{
    while (conn->ready_first != NULL && !conn->is_over) {
        struct grpc_call *call = conn->ready_first;
        conn->ready_first = call->next_ready;
        if (conn->ready_first == NULL) {
            conn->ready_last = NULL;
        }
        call->is_ready = false;
        call_settle(call);
    }
}

static void bury_calls(struct grpc_conn *conn)
{
    while (conn->dead != NULL) {
        struct grpc_call *call = conn->dead;
        conn->dead = call->next;
        call_free(call);
    }
}

// Ends what can get nothing more from the peer. A call that only waits for its user to take
// messages stays.
static void end_open_calls(struct grpc_conn *conn)
{
    for (struct grpc_call *call = conn->calls; call != NULL; call = call->next) {
        if (!call->is_stream_closed) {
            if (call->is_server) { // a status that was decided has not reached the client for
                                   // certain
                call->has_status = false;
                free(call->message);
                call->message = NULL;
            }
            call->is_unprocessed = !call->has_status && !call->is_server && !call->is_request_sent;
            call->is_stream_closed = true;
            call_end_hard(call, call->is_server ? GRPC_CANCELLED : GRPC_UNAVAILABLE,
                          "the connection was lost: %s",
                          conn->why[0] != '\0' ? conn->why : "the peer closed it");
        }
    }
}

// Takes from nghttp2 while the transport has room. Returns whether there may be more.
static bool pull_output(struct grpc_conn *conn)
{
    while (transport_has_room(&conn->transport)) {
        const uint8_t *bytes = NULL;
        ssize_t len = nghttp2_session_mem_send(conn->session, &bytes);
        if (len < 0) {
            conn_reason(conn, "nghttp2: %s", nghttp2_strerror((int)len));
            conn->is_lost = true;
        }
        if (len <= 0) {
            return false;
        }
        transport_write(&conn->transport, bytes, (size_t)len);
    }
    return true;
}

static void tell_owner(struct grpc_conn *conn)
{
    if (conn->has_open_news) {
        conn->has_open_news = false;
        if (conn->owner != NULL && conn->hooks->on_open != NULL) {
            conn->hooks->on_open(conn->owner, conn);
        }
    }
    if (conn->has_going_away_news) {
        conn->has_going_away_news = false;
        if (conn->owner != NULL && conn->hooks->on_going_away != NULL) {
            conn->hooks->on_going_away(conn->owner, conn, conn->why);
        }
    }
}

// Sees whether HTTP/2 is done here, and closes in good order: everything out, our FIN, theirs.
static void check_done(struct grpc_conn *conn)
{
    if (!conn->is_lost &&
        (nghttp2_session_want_read(conn->session) || nghttp2_session_want_write(conn->session))) {
        return;
    }
    conn_goes_away(conn);
    end_open_calls(conn);
    settle_calls(conn);
    if (!conn->is_lost && conn->linger_since_ms == 0 && conn->calls == NULL &&
        transport_is_idle(&conn->transport)) {
        conn->opening_since_ms = 0;
        conn->linger_since_ms = conn_now(conn);
        conn_due(conn, conn->linger_since_ms + conn->limits.linger_ms);
        transport_finish(&conn->transport);
    }
}

static void on_handle_closed(struct grpc_conn *conn)
{
    if (--conn->handles_open == 0) {
        nghttp2_session_del(conn->session);
        free(conn);
    }
}

static void on_uv_closed(uv_handle_t *handle)
{
    on_handle_closed(handle->data);
}

static void on_transport_closed(void *ctx)
{
    on_handle_closed(ctx);
}

// Runs once no call is left, or after conn_abandon.
static void stop(struct grpc_conn *conn)
{
    invariant(conn->calls == NULL && !conn->is_stopped);
    conn->is_stopped = true;
    bury_calls(conn);
    if (conn->owner != NULL) {
        conn->hooks->on_closed(conn->owner, conn, conn->why);
        conn->owner = NULL;
    }
    transport_close(&conn->transport);
    uv_close((uv_handle_t *)&conn->idle, on_uv_closed);
    uv_close((uv_handle_t *)&conn->timer, on_uv_closed);
}

void conn_advance(struct grpc_conn *conn)
{
    if (conn->is_advancing || conn->is_stopped) {
        return;
    }
    bool has_more = false;
    conn->is_advancing = true;
    tell_owner(conn);
    do {
        settle_calls(conn);
        if (!conn->is_over && !conn->is_lost) {
            has_more = pull_output(conn);
        }
    } while (conn->ready_first != NULL && !conn->is_over);
    if (!conn->is_over) {
        transport_flush(&conn->transport);
        check_done(conn);
        tell_owner(conn);
        conn->is_over = conn->is_over || (conn->is_lost && conn->calls == NULL);
    }
    bury_calls(conn);
    conn->is_advancing = false;
    if (conn->is_over) {
        stop(conn);
    } else if (has_more && transport_has_room(&conn->transport)) {
        conn_wake(conn); // the kernel took it all, so no on_written comes; others have their turn
    }
}

static void on_open(void *ctx)
{
    struct grpc_conn *conn = ctx;
    struct err err = {{0}, {0}};
    if (conn->owner != NULL && conn->hooks->accepts_peer != NULL &&
        !conn->hooks->accepts_peer(conn->owner, &conn->transport.peer, &err)) {
        conn_reason(conn, "the peer is refused: %s", err.text);
        conn->is_lost = true;
    }
    conn_wake(conn);
}

static void on_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct grpc_conn *conn = ctx;
    conn->heard_ms = conn_now(conn);
    if (conn->is_lost || conn->linger_since_ms != 0) {
        conn_wake(conn);
        return;
    }
    ssize_t taken = nghttp2_session_mem_recv(conn->session, bytes, len);
    if (taken < 0) {
        conn_reason(conn, "the peer broke HTTP/2: %s", nghttp2_strerror((int)taken));
        conn->is_lost = true;
    }
    conn_advance(conn);
}

static void on_written(void *ctx)
{
    struct grpc_conn *conn = ctx;
    conn_advance(conn);
}

static void on_end(void *ctx, const char *why)
{
    struct grpc_conn *conn = ctx;
    conn_reason(conn, "%s", why);
    conn->is_lost = true;
    conn_advance(conn); // does nothing inside itself; then its own end sees is_lost
    conn_wake(conn);
}

static const struct transport_hooks transport_hooks = {.on_open = on_open,
                                                       .on_bytes = on_bytes,
                                                       .on_written = on_written,
                                                       .on_end = on_end,
                                                       .on_closed = on_transport_closed};

static struct grpc_conn *conn_new(uv_loop_t *loop, bool is_server, const struct grpc_limits *limits,
                                  struct grpc_bites *bites, const struct conn_hooks *hooks,
                                  void *owner, struct err *err)
{
    struct grpc_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        err_set(err, "out of memory for a connection");
        return NULL;
    }
    conn->is_server = is_server;
    conn->limits = *limits;
    conn->bites = bites;
    conn->hooks = hooks;
    conn->owner = owner;
    conn->transport.hooks = &transport_hooks;
    conn->transport.ctx = conn;
    conn->control_tokens = limits->control_frames_burst;
    conn->control_refill_ms = uv_now(loop);
    conn->armed_ms = UINT64_MAX;
    if (!conn_session_new(conn, err)) {
        nghttp2_session_del(conn->session);
        free(conn);
        return NULL;
    }
    uv_idle_init(loop, &conn->idle);
    uv_timer_init(loop, &conn->timer);
    conn->idle.data = conn;
    conn->timer.data = conn;
    conn->handles_open = 3;
    conn->opening_since_ms = conn->heard_ms = conn_now(conn);
    if (is_server) {
        conn->idle_since_ms = conn_now(conn);
    }
    conn_due(conn, conn->opening_since_ms + limits->open_ms);
    return conn;
}

// Ends a connection that its owner never got.
static void discard(struct grpc_conn *conn)
{
    conn->owner = NULL;
    conn->is_over = true;
    stop(conn);
}

struct grpc_conn *conn_connect(uv_loop_t *loop, const struct grpc_target *target, SSL_CTX *ssl_ctx,
                               const char *server_name, const struct grpc_limits *limits,
                               struct grpc_bites *bites, const struct conn_hooks *hooks,
                               void *owner, struct err *err)
{
    struct grpc_conn *conn = conn_new(loop, false, limits, bites, hooks, owner, err);
    if (conn != NULL &&
        !transport_connect(&conn->transport, loop, target, ssl_ctx, server_name, err)) {
        discard(conn);
        return NULL;
    }
    return conn;
}

struct grpc_conn *conn_accept(uv_stream_t *listener, SSL_CTX *ssl_ctx,
                              const struct grpc_limits *limits, struct grpc_bites *bites,
                              const struct conn_hooks *hooks, void *owner, struct err *err)
{
    struct grpc_conn *conn = conn_new(listener->loop, true, limits, bites, hooks, owner, err);
    if (conn != NULL && !transport_accept(&conn->transport, listener, ssl_ctx, err)) {
        discard(conn);
        return NULL;
    }
    if (conn != NULL && conn->transport.is_open) {
        on_open(conn);
    }
    return conn;
}

void conn_shutdown(struct grpc_conn *conn)
{
    if (conn->is_going_away || conn->is_lost || !conn->is_server) {
        return;
    }
    conn->is_going_away = true;
    nghttp2_submit_shutdown_notice(conn->session);
    conn->shutdown_since_ms = conn_now(conn);
    conn_due(conn, conn->shutdown_since_ms + conn->limits.keepalive_answer_ms);
    conn_wake(conn);
}

void conn_abandon(struct grpc_conn *conn, enum grpc_code code, const char *why)
{
    if (conn->is_stopped) {
        return;
    }
    bool was_advancing = conn->is_advancing;
    conn->is_advancing = true;
    conn->owner = NULL; // before any callback: the owner is going
    conn->own_bites = *conn->bites;
    conn->bites = &conn->own_bites;
    nghttp2_session_terminate_session(conn->session, NGHTTP2_NO_ERROR);
    while (conn->calls != NULL) {
        struct grpc_call *call = conn->calls;
        call->is_stream_closed = true;
        call_end_hard(call, code, "%s", why);
        call_deliver_end(call);
    }
    if (!conn->is_lost) {
        pull_output(conn);
        transport_flush(&conn->transport);
    }
    conn->is_over = true;
    conn->is_advancing = was_advancing;
    if (!was_advancing) {
        stop(conn);
    }
}
