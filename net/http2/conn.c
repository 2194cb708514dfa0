// SPDX-License-Identifier: Apache-2.0
#include "net/http2/conn_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"

uint64_t h2_conn_now(const struct h2_conn *conn)
{
    return uv_now(conn->timer.loop);
}

void h2_conn_bite(struct h2_conn *conn, enum h2_limit limit)
{
    conn->bites[limit]++;
}

static void vreason(struct h2_conn *conn, const char *format, va_list args)
{
    if (conn->why[0] == '\0') {
        vsnprintf(conn->why, sizeof conn->why, format, args);
    }
}

void h2_conn_reason(struct h2_conn *conn, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vreason(conn, format, args);
    va_end(args);
}

void h2_conn_fail(struct h2_conn *conn, uint32_t code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vreason(conn, format, args);
    va_end(args);
    h2_conn_leave(conn);
    invariant(conn->session != NULL);
    nghttp2_session_terminate_session(conn->session, code);
    h2_conn_wake(conn);
}

// A life only goes on.
static void advance_life(struct h2_conn *conn, enum h2_life life)
{
    conn->life = conn->life < life ? life : conn->life;
}

void h2_conn_leave(struct h2_conn *conn)
{
    advance_life(conn, H2_LEAVING);
}

void h2_conn_lose(struct h2_conn *conn)
{
    advance_life(conn, H2_LOST);
}

static void on_idle(uv_idle_t *idle)
{
    struct h2_conn *conn = idle->data;
    uv_idle_stop(idle);
    h2_conn_advance(conn);
}

void h2_conn_wake(struct h2_conn *conn)
{
    if (!conn->is_advancing && conn->life < H2_STOPPED) {
        uv_idle_start(&conn->idle, on_idle);
    }
}

static void give_turns(struct h2_conn *conn)
{
    while (!list_is_empty(&conn->ready) && conn->life < H2_OVER) {
        struct h2_stream *stream = LIST_OF(list_pop(&conn->ready), struct h2_stream, ready_link);
        stream->hooks->on_turn(stream);
    }
}

static void give_back_released(struct h2_conn *conn)
{
    while (!list_is_empty(&conn->released)) {
        struct h2_stream *stream = LIST_OF(list_pop(&conn->released), struct h2_stream, link);
        list_remove(&stream->ready_link);
        stream->hooks->on_release(stream);
    }
}

// Closes the streams that can get nothing more from the peer. One that is GONE already only waits
// for its user, and stays.
static void close_streams(struct h2_conn *conn)
{
    const char *why = conn->why[0] != '\0' ? conn->why : "the peer closed the connection";
    LIST_EACH_SAFE(link, &conn->streams) {
        struct h2_stream *stream = LIST_OF(link, struct h2_stream, link);
        if (stream->receiving != H2_RECEIVING_GONE) {
            h2_stream_close(stream, H2_CLOSE_CONN, H2_NO_ERROR, why);
        }
    }
}

// Takes from nghttp2 while the transport has room. Returns whether there may be more.
static bool pull_output(struct h2_conn *conn)
{
    while (transport_has_room(&conn->transport)) {
        const uint8_t *bytes = NULL;
        ssize_t len = nghttp2_session_mem_send(conn->session, &bytes);
        if (len < 0) {
            h2_conn_reason(conn, "nghttp2: %s", nghttp2_strerror((int)len));
            h2_conn_lose(conn);
            return false;
        }
        transport_write(&conn->transport, bytes, (size_t)len);
        if (len == 0 && transport_has_room(&conn->transport)) {
            return false;
        }
    }
    return true;
}

static void tell_owner(struct h2_conn *conn)
{
    const struct h2_conn_hooks *hooks = conn->hooks;
    if (conn->told < H2_TOLD_OPEN && conn->is_open) {
        conn->told = H2_TOLD_OPEN;
        if (!conn->is_abandoned && hooks->on_open != NULL) {
            hooks->on_open(conn->owner, conn);
        }
    }
    if (conn->told < H2_TOLD_LEAVING && conn->life >= H2_LEAVING) {
        conn->told = H2_TOLD_LEAVING;
        if (!conn->is_abandoned && hooks->on_going_away != NULL) {
            hooks->on_going_away(conn->owner, conn, conn->why);
        }
    }
}

// Ends the connection once HTTP/2 is done: everything out, our FIN, then theirs.
static void check_done(struct h2_conn *conn)
{
    if (conn->life < H2_LOST &&
        (conn->session == NULL ||
         (!conn->is_deaf && nghttp2_session_want_read(conn->session) != 0) ||
         nghttp2_session_want_write(conn->session) != 0)) {
        return;
    }
    h2_conn_leave(conn);
    close_streams(conn);
    give_turns(conn);
    if (conn->life < H2_LOST && conn->linger_since_ms == 0 && list_is_empty(&conn->streams) &&
        transport_is_idle(&conn->transport)) {
        conn->opening_since_ms = 0;
        conn->linger_since_ms = h2_conn_now(conn);
        h2_conn_due(conn, conn->linger_since_ms + conn->limits.linger_ms);
        transport_finish(&conn->transport);
    }
}

static void on_handle_closed(struct h2_conn *conn)
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

// Runs once no stream is left.
static void stop(struct h2_conn *conn)
{
    invariant(list_is_empty(&conn->streams) && conn->life < H2_STOPPED);
    conn->life = H2_STOPPED;
    give_back_released(conn);
    if (conn->hooks != NULL) {
        conn->hooks->on_closed(conn->owner, conn, conn->why);
    }
    transport_close(&conn->transport);
    uv_close((uv_handle_t *)&conn->idle, on_uv_closed);
    uv_close((uv_handle_t *)&conn->timer, on_uv_closed);
}

void h2_conn_advance(struct h2_conn *conn)
{
    if (conn->is_advancing || conn->life == H2_STOPPED) {
        return;
    }
    bool has_more = false;
    conn->is_advancing = true;
    tell_owner(conn);
    do {
        give_turns(conn);
        if (conn->life < H2_LOST && conn->session != NULL) {
            has_more = pull_output(conn);
        }
    } while (!list_is_empty(&conn->ready) && conn->life < H2_OVER);
    if (conn->life < H2_OVER) {
        transport_flush(&conn->transport);
        check_done(conn);
        tell_owner(conn);
        if (conn->life == H2_LOST && list_is_empty(&conn->streams)) {
            conn->life = H2_OVER;
        }
    }
    give_back_released(conn);
    conn->is_advancing = false;
    if (conn->life == H2_OVER) {
        stop(conn);
    } else if (has_more && transport_has_room(&conn->transport)) {
        h2_conn_wake(conn); // the kernel took it all: no on_written comes; others have their turn
    }
}

static void on_open(void *ctx)
{
    struct h2_conn *conn = ctx;
    struct err err = {{0}, {0}};
    if (conn->session == NULL) {
        h2_session_new(conn);
    }
    if (!conn->is_abandoned && conn->hooks->accepts_peer != NULL &&
        !conn->hooks->accepts_peer(conn->owner, &conn->transport.peer, &err)) {
        h2_conn_reason(conn, "the peer is refused: %s", err.text);
        h2_conn_lose(conn);
    }
    h2_conn_wake(conn);
}

static void on_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct h2_conn *conn = ctx;
    conn->heard_ms = h2_conn_now(conn);
    if (conn->life >= H2_LOST || conn->linger_since_ms != 0 || conn->is_deaf) {
        h2_conn_wake(conn);
        return;
    }
    ssize_t taken = nghttp2_session_mem_recv(conn->session, bytes, len);
    if (taken < 0 && !conn->is_deaf) {
        h2_conn_reason(conn, "the peer broke HTTP/2: %s", nghttp2_strerror((int)taken));
        h2_conn_lose(conn);
    }
    h2_conn_advance(conn);
}

static void on_written(void *ctx)
{
    struct h2_conn *conn = ctx;
    h2_conn_advance(conn);
}

static void on_end(void *ctx, const char *why)
{
    struct h2_conn *conn = ctx;
    h2_conn_reason(conn, "%s", why);
    h2_conn_lose(conn);
    h2_conn_advance(conn); // does nothing inside itself; then its own end sees the life
    h2_conn_wake(conn);
}

static const struct transport_hooks transport_hooks = {.on_open = on_open,
                                                       .on_bytes = on_bytes,
                                                       .on_written = on_written,
                                                       .on_end = on_end,
                                                       .on_closed = on_transport_closed};

static struct h2_conn *conn_new(const struct h2_conn_config *config, bool is_server)
{
    struct h2_conn *conn = must_alloc(1, sizeof *conn);
    conn->is_server = is_server;
    conn->limits = config->limits;
    conn->bites = config->bites;
    conn->hooks = config->hooks;
    conn->owner = config->owner;
    conn->transport.hooks = &transport_hooks;
    conn->transport.ctx = conn;
    list_init(&conn->streams);
    list_init(&conn->ready);
    list_init(&conn->released);
    conn->control_tokens = config->limits.control_frames_burst;
    conn->control_refill_ms = uv_now(config->loop);
    conn->armed_ms = UINT64_MAX;
    if (!is_server) {
        h2_session_new(conn);
    }
    uv_idle_init(config->loop, &conn->idle);
    uv_timer_init(config->loop, &conn->timer);
    conn->idle.data = conn;
    conn->timer.data = conn;
    conn->handles_open = 3;
    conn->opening_since_ms = conn->heard_ms = h2_conn_now(conn);
    if (is_server) {
        conn->idle_since_ms = h2_conn_now(conn);
    }
    h2_conn_due(conn, conn->opening_since_ms + config->limits.open_ms);
    if (is_server && config->limits.hello_ms > 0) {
        h2_conn_due(conn, conn->opening_since_ms + config->limits.hello_ms);
    }
    return conn;
}

// Ends a connection that its owner never got.
static void discard(struct h2_conn *conn)
{
    conn->hooks = NULL;
    conn->life = H2_OVER;
    stop(conn);
}

struct h2_conn *h2_conn_connect(const struct h2_conn_config *config, const struct h2_target *target,
                                SSL_CTX *ssl_ctx, const char *server_name, struct err *err)
{
    struct h2_conn *conn = conn_new(config, false);
    if (!transport_connect(&conn->transport, config->loop, target, ssl_ctx, server_name, err)) {
        discard(conn);
        return NULL;
    }
    return conn;
}

struct h2_conn *h2_conn_accept(const struct h2_conn_config *config, uv_stream_t *listener,
                               SSL_CTX *ssl_ctx, struct err *err)
{
    struct h2_conn *conn = conn_new(config, true);
    if (!transport_accept(&conn->transport, listener, ssl_ctx, err)) {
        discard(conn);
        return NULL;
    }
    if (conn->transport.is_open) {
        on_open(conn);
    }
    return conn;
}

void h2_conn_refuse(uv_stream_t *listener)
{
    const struct h2_conn_config config = {.loop = listener->loop, .limits = h2_limits_default()};
    struct h2_conn *conn = conn_new(&config, true);
    transport_accept(&conn->transport, listener, NULL, NULL);
    discard(conn);
}

void h2_conn_shutdown(struct h2_conn *conn)
{
    if (conn->life >= H2_LEAVING || !conn->is_server) {
        return;
    }
    h2_conn_leave(conn);
    conn->told = H2_TOLD_LEAVING; // it knows, and a server need not know that it is open
    if (conn->session == NULL) {
        h2_conn_lose(conn);
        h2_conn_wake(conn);
        return;
    }
    nghttp2_submit_shutdown_notice(conn->session);
    conn->shutdown_since_ms = h2_conn_now(conn);
    h2_conn_due(conn, conn->shutdown_since_ms + conn->limits.keepalive_answer_ms);
    h2_conn_wake(conn);
}

void h2_conn_disconnect(struct h2_conn *conn)
{
    if (conn->life < H2_LEAVING) {
        h2_conn_leave(conn);
        conn->told = H2_TOLD_LEAVING;
        nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
        h2_conn_wake(conn);
    }
}

void h2_conn_abandon(struct h2_conn *conn, void (*drop)(struct h2_stream *stream, void *ctx),
                     void *ctx)
{
    if (conn->life == H2_STOPPED) {
        return;
    }
    bool was_advancing = conn->is_advancing;
    conn->is_advancing = true;
    conn->is_abandoned = true; // before any hook: the owner is going
    memcpy(conn->own_bites, conn->bites, sizeof conn->own_bites);
    conn->bites = conn->own_bites;
    if (conn->session != NULL) {
        nghttp2_session_terminate_session(conn->session, NGHTTP2_NO_ERROR);
    }
    while (!list_is_empty(&conn->streams)) {
        struct h2_stream *stream = LIST_OF(conn->streams.next, struct h2_stream, link);
        h2_stream_forget(stream);
        drop(stream, ctx);
        invariant(conn->streams.next != &stream->link);
    }
    if (conn->life < H2_LOST && conn->session != NULL) {
        pull_output(conn);
        transport_flush(&conn->transport);
    }
    advance_life(conn, H2_OVER);
    conn->is_advancing = was_advancing;
    if (!was_advancing) {
        stop(conn);
    }
}

bool h2_conn_takes_streams(const struct h2_conn *conn)
{
    return conn->life == H2_LIVE && !conn->is_server;
}

bool h2_conn_is_lost(const struct h2_conn *conn)
{
    return conn->life >= H2_LOST;
}

bool h2_conn_is_server(const struct h2_conn *conn)
{
    return conn->is_server;
}

const struct h2_peer *h2_conn_peer(const struct h2_conn *conn)
{
    return &conn->transport.peer;
}

uint64_t h2_conn_silent_ms(const struct h2_conn *conn)
{
    return transport_silent_ms(&conn->transport);
}
