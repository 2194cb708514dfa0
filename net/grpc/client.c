// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/client.h"

#include <stdlib.h>

#include "base/must.h"
#include "net/grpc/call_impl.h"

struct grpc_channel {
    struct grpc_channel_config config;
    char *unix_path; // owned, with the next three
    char *server_name;
    char *authority;
    char *user_agent;
    struct host_port host;
    struct grpc_bites bites;
    struct list conns;         // every one that is not closed, the oldest first
    struct grpc_conn *current; // of these, the one for new calls; NULL: down
    unsigned num_conns;
};

static bool accepts_peer(void *owner, const struct h2_peer *peer, struct err *err)
{
    struct grpc_channel *channel = ((struct grpc_conn *)owner)->owner;
    return channel->config.accepts_peer == NULL ||
           channel->config.accepts_peer(channel->config.ctx, peer, err);
}

static void on_open(void *owner, struct h2_conn *h2)
{
    struct grpc_conn *conn = owner;
    struct grpc_channel *channel = conn->owner;
    (void)h2;
    if (conn == channel->current && channel->config.on_ready != NULL) {
        channel->config.on_ready(channel->config.ctx);
    }
}

static void go_down(struct grpc_channel *channel, const struct grpc_conn *conn, const char *why)
{
    if (conn == channel->current) {
        channel->current = NULL;
        if (channel->config.on_down != NULL) {
            channel->config.on_down(channel->config.ctx, why); // the last thing: it may free us
        }
    }
}

static void on_going_away(void *owner, struct h2_conn *h2, const char *why)
{
    struct grpc_conn *conn = owner;
    (void)h2;
    go_down(conn->owner, conn, *why != '\0' ? why : "the server is shutting down (GOAWAY)");
}

static void on_closed(void *owner, struct h2_conn *h2, const char *why)
{
    struct grpc_conn *conn = owner;
    struct grpc_channel *channel = conn->owner;
    (void)h2;
    if (channel != NULL) {
        list_remove(&conn->link);
        channel->num_conns--;
        go_down(channel, conn, *why != '\0' ? why : "the connection ended");
    }
    grpc_conn_free(conn);
}

static const struct h2_conn_hooks conn_hooks = {.accepts_peer = accepts_peer,
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

static char *copy(const char *text, const char *usual)
{
    text = text != NULL ? text : usual;
    return text != NULL ? must_strdup(text) : NULL;
}

struct grpc_channel *grpc_channel_new(const struct grpc_channel_config *config, struct err *err)
{
    if (config->limits.h2.keepalive_ms > 0 &&
        config->limits.h2.keepalive_ms < GRPC_CHANNEL_KEEPALIVE_MS_MIN) {
        err_set(err, "keepalive_ms: %u is less than the %u that servers bear",
                config->limits.h2.keepalive_ms, GRPC_CHANNEL_KEEPALIVE_MS_MIN);
        return NULL;
    }
    struct grpc_channel *channel = must_alloc(1, sizeof *channel);
    list_init(&channel->conns);
    channel->config = *config;
    if (config->ssl_ctx != NULL) {
        SSL_CTX_up_ref(config->ssl_ctx);
    }
    channel->unix_path = copy(config->target.unix_path, NULL);
    channel->server_name = copy(config->server_name, NULL);
    channel->authority = copy(config->authority, "localhost");
    channel->user_agent = copy(config->user_agent, "grpc-c");
    channel->config.target.unix_path = channel->unix_path;
    if (config->target.host != NULL) {
        channel->host = *config->target.host;
        channel->config.target.host = &channel->host;
    }
    return channel;
}

static struct grpc_conn *oldest(const struct grpc_channel *channel)
{
    return LIST_OF(channel->conns.next, struct grpc_conn, link);
}

void grpc_channel_free(struct grpc_channel *channel)
{
    if (channel == NULL) {
        return;
    }
    channel->current = NULL;
    while (!list_is_empty(&channel->conns)) {
        grpc_conn_abandon(oldest(channel), GRPC_CANCELLED, "the channel was closed");
    }
    free_channel(channel);
}

bool grpc_channel_connect(struct grpc_channel *channel, struct err *err)
{
    if (channel->current != NULL) {
        return true;
    }
    // The calls of the oldest connection that only finishes its calls must give way: a server that
    // sends GOAWAY each time must not make us keep connections without end.
    if (channel->num_conns >= GRPC_CHANNEL_DRAINING_MAX) {
        channel->num_conns--;
        grpc_conn_abandon(oldest(channel), GRPC_UNAVAILABLE, "too many connections are draining");
    }
    struct grpc_conn *conn = grpc_conn_new(channel, &channel->config.limits, &channel->bites);
    const struct h2_conn_config config = {.loop = channel->config.loop,
                                          .limits = channel->config.limits.h2,
                                          .bites = channel->bites.num,
                                          .hooks = &conn_hooks,
                                          .owner = conn};
    conn->h2 = h2_conn_connect(&config, &channel->config.target, channel->config.ssl_ctx,
                               channel->server_name, err);
    if (conn->h2 == NULL) {
        grpc_conn_free(conn);
        return false;
    }
    list_push(&channel->conns, &conn->link);
    channel->num_conns++;
    channel->current = conn;
    return true;
}

void grpc_channel_disconnect(struct grpc_channel *channel)
{
    struct grpc_conn *conn = channel->current;
    if (conn != NULL) {
        channel->current = NULL;
        h2_conn_disconnect(conn->h2);
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

// Opens the call's stream with the request's headers, in the order that PROTOCOL-HTTP2.md gives.
static bool request(struct grpc_channel *channel, struct grpc_call *call,
                    const struct grpc_call_start *start)
{
    char timeout[GRPC_TIMEOUT_TEXT_MAX];
    const struct h2_header headers[] = {
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
    return h2_stream_request(&call->stream, call->conn->h2, headers,
                             sizeof headers / sizeof *headers);
}

struct grpc_call *grpc_channel_call(struct grpc_channel *channel,
                                    const struct grpc_call_start *start, struct err *err)
{
    struct grpc_conn *conn = channel->current;
    if (start->path[0] != '/') {
        err_set(err, "path \"%s\" has no leading slash", start->path);
        return NULL;
    }
    if (conn == NULL || !h2_conn_takes_streams(conn->h2)) {
        err_set(err, "the channel isn't connected");
        return NULL;
    }
    struct grpc_call *call = call_new(conn, &call_client_hooks);
    call->ctx = start->ctx;
    call->hooks = start->hooks;
    if (!request(channel, call, start)) {
        // Stream numbers run out after 2^30 calls; the channel goes on over a new connection.
        err_set(err, "the connection takes no more calls");
        call_free(call);
        return NULL;
    }
    if (start->deadline_ms > 0) {
        call->deadline_ms = h2_stream_now(&call->stream) + start->deadline_ms;
        h2_stream_due(&call->stream, call->deadline_ms);
    }
    return call;
}
