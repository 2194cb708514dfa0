// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/client.h"

#include <stdlib.h>
#include <string.h>

#include "net/http2/conn.h"

struct grpc_channel {
    struct grpc_channel_config config;
    char *unix_path; // owned, with the next three
    char *server_name;
    char *authority;
    char *user_agent;
    struct grpc_bites bites;
    struct grpc_conn *conns;   // every one that is not closed
    struct grpc_conn *current; // of these, the one for new calls; NULL: down
    unsigned num_conns;
};

static bool accepts_peer(void *owner, const struct grpc_peer *peer, struct err *err)
{
    struct grpc_channel *channel = owner;
    return channel->config.accepts_peer == NULL ||
           channel->config.accepts_peer(channel->config.ctx, peer, err);
}

static void on_open(void *owner, struct grpc_conn *conn)
{
    struct grpc_channel *channel = owner;
    if (conn == channel->current && channel->config.on_ready != NULL) {
        channel->config.on_ready(channel->config.ctx);
    }
}

static void go_down(struct grpc_channel *channel, struct grpc_conn *conn, const char *why)
{
    if (conn == channel->current) {
        channel->current = NULL;
        if (channel->config.on_down != NULL) {
            channel->config.on_down(channel->config.ctx, why); // the last thing: it may free us
        }
    }
}

static void on_going_away(void *owner, struct grpc_conn *conn, const char *why)
{
    go_down(owner, conn, *why != '\0' ? why : "the server is shutting down (GOAWAY)");
}

static void forget(struct grpc_channel *channel, struct grpc_conn *conn)
{
    *(conn->prev != NULL ? &conn->prev->next : &channel->conns) = conn->next;
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    channel->num_conns--;
}

static void on_closed(void *owner, struct grpc_conn *conn, const char *why)
{
    forget(owner, conn);
    go_down(owner, conn, *why != '\0' ? why : "the connection ended");
}

static const struct conn_hooks conn_hooks = {.accepts_peer = accepts_peer,
                                             .on_open = on_open,
                                             .on_going_away = on_going_away,
                                             .on_closed = on_closed};

static void free_channel(struct grpc_channel *channel)
{
    if (channel->config.ssl_ctx != NULL) {
        SSL_CTX_free(channel->config.ssl_ctx);
    }
    free(channel->unix_path);
    free(channel->server_name);
    free(channel->authority);
    free(channel->user_agent);
    free(channel);
}

// Copies a text, if there is one. false: out of memory.
static bool copy(char **out, const char *text)
{
    *out = text == NULL ? NULL : strdup(text);
    return text == NULL || *out != NULL;
}

struct grpc_channel *grpc_channel_new(const struct grpc_channel_config *config, struct err *err)
{
    if (config->limits.keepalive_ms > 0 &&
        config->limits.keepalive_ms < GRPC_CHANNEL_KEEPALIVE_MS_MIN) {
        err_set(err, "keepalive_ms: %u is less than the %u that servers bear",
                config->limits.keepalive_ms, GRPC_CHANNEL_KEEPALIVE_MS_MIN);
        return NULL;
    }
    struct grpc_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL) {
        err_set(err, "out of memory for a channel");
        return NULL;
    }
    channel->config = *config;
    if (config->ssl_ctx != NULL) {
        SSL_CTX_up_ref(config->ssl_ctx);
    }
    if (!copy(&channel->unix_path, config->target.unix_path) ||
        !copy(&channel->server_name, config->server_name) ||
        !copy(&channel->authority, config->authority != NULL ? config->authority : "localhost") ||
        !copy(&channel->user_agent, config->user_agent != NULL ? config->user_agent : "grpc-c")) {
        free_channel(channel);
        err_set(err, "out of memory for a channel");
        return NULL;
    }
    channel->config.target.unix_path = channel->unix_path;
    return channel;
}

void grpc_channel_free(struct grpc_channel *channel)
{
    if (channel == NULL) {
        return;
    }
    channel->current = NULL;
    while (channel->conns != NULL) {
        struct grpc_conn *conn = channel->conns;
        forget(channel, conn);
        conn_abandon(conn, GRPC_CANCELLED, "the channel was closed");
    }
    free_channel(channel);
}

// The calls of the oldest connection that only finishes its calls must give way: a server that
// sends GOAWAY each time must not make us keep connections without end.
static void drop_oldest(struct grpc_channel *channel)
{
    struct grpc_conn *oldest = channel->conns;
    while (oldest->next != NULL) {
        oldest = oldest->next;
    }
    forget(channel, oldest);
    conn_abandon(oldest, GRPC_UNAVAILABLE, "too many connections are draining");
}

bool grpc_channel_connect(struct grpc_channel *channel, struct err *err)
{
    if (channel->current != NULL) {
        return true;
    }
    if (channel->num_conns >= GRPC_CHANNEL_DRAINING_MAX) {
        drop_oldest(channel);
    }
    struct grpc_conn *conn = conn_connect(
        channel->config.loop, &channel->config.target, channel->config.ssl_ctx,
        channel->server_name, &channel->config.limits, &channel->bites, &conn_hooks, channel, err);
    if (conn == NULL) {
        return false;
    }
    conn->next = channel->conns;
    if (conn->next != NULL) {
        conn->next->prev = conn;
    }
    channel->conns = conn;
    channel->num_conns++;
    channel->current = conn;
    return true;
}

bool grpc_channel_is_ready(const struct grpc_channel *channel)
{
    return channel->current != NULL && channel->current->is_open;
}

void grpc_channel_disconnect(struct grpc_channel *channel)
{
    struct grpc_conn *conn = channel->current;
    if (conn != NULL) {
        channel->current = NULL;
        conn->is_going_away = true;
        nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
        conn_wake(conn);
    }
}

void grpc_channel_set_tls(struct grpc_channel *channel, SSL_CTX *ssl_ctx)
{
    SSL_CTX_up_ref(ssl_ctx);
    if (channel->config.ssl_ctx != NULL) {
        SSL_CTX_free(channel->config.ssl_ctx);
    }
    channel->config.ssl_ctx = ssl_ctx;
}

const struct grpc_bites *grpc_channel_bites(const struct grpc_channel *channel)
{
    return &channel->bites;
}

// Hands the request's headers to nghttp2, in the order that PROTOCOL-HTTP2.md gives.
static bool submit_request(struct grpc_channel *channel, struct grpc_call *call,
                           const struct grpc_call_start *start)
{
    char timeout[GRPC_TIMEOUT_TEXT_MAX];
    const char *const fixed[][2] = {
        {":method", "POST"},
        {":scheme", channel->config.ssl_ctx != NULL ? "https" : "http"},
        {":path", start->path},
        {":authority", channel->authority},
        {"grpc-timeout",
         start->deadline_ms > 0 ? grpc_timeout_format(timeout, start->deadline_ms) : NULL},
        {"te", "trailers"},
        {"content-type", "application/grpc"},
        {"grpc-accept-encoding", "identity"},
        {"user-agent", channel->user_agent},
    };
    size_t num = 0;
    nghttp2_nv *nv = call_nv(fixed, sizeof fixed / sizeof *fixed, start->metadata, NULL, &num);
    if (nv != NULL) {
        call->stream_id = nghttp2_submit_request(channel->current->session, NULL, nv, num,
                                                 &conn_data_provider, call);
    }
    free(nv);
    return nv != NULL && call->stream_id > 0;
}

struct grpc_call *grpc_channel_call(struct grpc_channel *channel,
                                    const struct grpc_call_start *start, struct err *err)
{
    struct grpc_conn *conn = channel->current;
    if (start->path[0] != '/') {
        err_set(err, "path \"%s\" has no leading slash", start->path);
        return NULL;
    }
    if (conn == NULL || conn->is_lost || conn->is_going_away || conn->is_over) {
        err_set(err, "the channel isn't connected");
        return NULL;
    }
    struct grpc_call *call = call_new(conn, false);
    if (call == NULL) {
        err_set(err, "out of memory for a call");
        return NULL;
    }
    call->ctx = start->ctx;
    if (!submit_request(channel, call, start)) {
        // Stream numbers run out after 2^30 calls; the channel goes on over a new connection.
        err_set(err, "the connection takes no more calls");
        call->is_stream_closed = true;
        call_decide(call, GRPC_UNAVAILABLE, NULL, true);
        call_deliver_end(call); // without hooks: nobody hears it
        conn_wake(conn);
        return NULL;
    }
    call->hooks = start->hooks;
    if (start->deadline_ms > 0) {
        call->deadline_ms = conn_now(conn) + start->deadline_ms;
        conn_due(conn, call->deadline_ms);
    }
    conn_wake(conn);
    return call;
}

struct grpc_call *grpc_channel_unary(struct grpc_channel *channel,
                                     const struct grpc_call_start *start, const uint8_t *bytes,
                                     size_t len, struct err *err)
{
    struct grpc_call *call = grpc_channel_call(channel, start, err);
    if (call == NULL) {
        return NULL;
    }
    if (!grpc_call_send(call, bytes, len, err)) {
        grpc_call_cancel(call);
        return call; // it ends with CANCELLED, as every call that was started ends
    }
    grpc_call_half_close(call);
    return call;
}
