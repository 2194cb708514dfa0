// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/server.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/http2/conn.h"

struct listener {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };
    struct listener *next;
    struct grpc_server *server;
    SSL_CTX *ssl_ctx; // counted; NULL: in the clear
};

struct grpc_server {
    struct grpc_server_config config;
    struct grpc_server_stats stats;
    struct listener *listeners; // owned
    struct grpc_conn *conns;
    uv_timer_t grace;
    void (*on_done)(void *ctx);
    unsigned handles_open;
    bool is_shutting_down;
    bool is_freed;
};

static bool accepts_peer(void *owner, const struct grpc_peer *peer, struct err *err)
{
    struct grpc_server *server = owner;
    return server->config.accepts_peer == NULL ||
           server->config.accepts_peer(server->config.ctx, peer, err);
}

static bool is_grpc_request(const struct grpc_metadata *headers, struct grpc_call *call)
{
    static const char type[] = "application/grpc";
    size_t len = sizeof type - 1;
    struct grpc_metadata_item item;
    if (!grpc_metadata_find(headers, ":method", &item) || strcmp(item.value, "POST") != 0) {
        call->http_status = 405;
        grpc_call_finish(call, GRPC_INTERNAL, "gRPC is spoken with POST only");
        return false;
    }
    if (!grpc_metadata_find(headers, "content-type", &item) ||
        strncmp(item.value, type, len) != 0 ||
        (item.value[len] != '\0' && item.value[len] != '+' && item.value[len] != ';')) {
        call->http_status = 415;
        grpc_call_finish(call, GRPC_INTERNAL, "the content-type is not application/grpc");
        return false;
    }
    return true;
}

// Takes the client's deadline. false: the call is finished, because it is malformed.
static bool take_timeout(struct grpc_call *call)
{
    struct grpc_metadata_item item;
    uint64_t ms = 0;
    if (!grpc_metadata_find(&call->headers, "grpc-timeout", &item)) {
        return true;
    }
    if (!grpc_timeout_parse(&ms, item.value, item.value_len)) {
        grpc_call_finish(call, GRPC_INTERNAL, "malformed grpc-timeout");
        return false;
    }
    call->deadline_ms = conn_now(call->conn) + ms;
    conn_due(call->conn, call->deadline_ms);
    return true;
}

static void on_request(void *owner, struct grpc_call *call)
{
    struct grpc_server *server = owner;
    struct grpc_metadata_item path;
    if (call->headers_too_large) {
        call_end(call, GRPC_RESOURCE_EXHAUSTED, "the headers are over header_bytes_max (%u)",
                 call->conn->limits.header_bytes_max);
        return;
    }
    if (!is_grpc_request(&call->headers, call) || !take_timeout(call)) {
        return;
    }
    bool has_path = grpc_metadata_find(&call->headers, ":path", &path);
    for (size_t i = 0; has_path && i < server->config.num_methods; i++) {
        const struct grpc_method *method = &server->config.methods[i];
        if (strcmp(method->path, path.value) == 0) {
            server->stats.num_calls++;
            call->hooks = &method->hooks;
            if (method->on_start != NULL) {
                method->on_start(server->config.ctx, call);
            }
            return;
        }
    }
    grpc_call_finish(call, GRPC_UNIMPLEMENTED, "no such method");
}

static void forget(struct grpc_server *server, struct grpc_conn *conn)
{
    *(conn->prev != NULL ? &conn->prev->next : &server->conns) = conn->next;
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    server->stats.num_connections--;
}

static void on_grace_closed(uv_handle_t *handle)
{
    struct grpc_server *server = handle->data;
    if (--server->handles_open == 0) {
        free(server);
    }
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;
    struct grpc_server *server = listener->server;
    if (listener->ssl_ctx != NULL) {
        SSL_CTX_free(listener->ssl_ctx);
    }
    free(listener);
    if (--server->handles_open == 0) {
        free(server);
    }
}

static void stop_listening(struct grpc_server *server)
{
    while (server->listeners != NULL) {
        struct listener *listener = server->listeners;
        server->listeners = listener->next;
        uv_close(&listener->handle, on_listener_closed);
    }
}

static void on_nothing_left(uv_timer_t *timer)
{
    struct grpc_server *server = timer->data;
    if (server->on_done != NULL) {
        server->on_done(server->config.ctx); // the last thing: it may free the server
    }
}

static void on_closed(void *owner, struct grpc_conn *conn, const char *why)
{
    struct grpc_server *server = owner;
    forget(server, conn);
    if (server->is_shutting_down && server->conns == NULL) {
        uv_timer_start(&server->grace, on_nothing_left, 0, 0);
    }
    if (server->config.on_disconnect != NULL) {
        server->config.on_disconnect(server->config.ctx, &conn->transport.peer, why);
    }
}

static const struct conn_hooks conn_hooks = {
    .accepts_peer = accepts_peer, .on_request = on_request, .on_closed = on_closed};

// Takes a connection off the queue only to close it, so that the client sees it at once.
static void refuse(struct listener *listener)
{
    struct grpc_server *server = listener->server;
    struct grpc_conn *conn = conn_accept(&listener->stream, NULL, &server->config.limits,
                                         &server->stats.bites, &conn_hooks, NULL, NULL);
    if (conn != NULL) {
        conn->is_lost = true; // says nothing: the client may expect TLS
        conn_abandon(conn, GRPC_UNAVAILABLE, "too many connections");
    }
    server->stats.num_refused++;
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct listener *listener = stream->data;
    struct grpc_server *server = listener->server;
    server->stats.num_accepted++;
    if (status < 0) {
        server->stats.num_refused++;
        return;
    }
    if (server->stats.num_connections >= server->config.limits.connections_max) {
        server->stats.bites.num[GRPC_LIMIT_connections_max]++;
        refuse(listener);
        return;
    }
    struct grpc_conn *conn = conn_accept(stream, listener->ssl_ctx, &server->config.limits,
                                         &server->stats.bites, &conn_hooks, server, NULL);
    if (conn == NULL) {
        server->stats.num_refused++;
        return;
    }
    conn->next = server->conns;
    if (conn->next != NULL) {
        conn->next->prev = conn;
    }
    server->conns = conn;
    server->stats.num_connections++;
}

struct grpc_server *grpc_server_new(const struct grpc_server_config *config, struct err *err)
{
    for (size_t i = 0; i < config->num_methods; i++) {
        if (config->methods[i].path[0] != '/') {
            err_set(err, "path \"%s\" has no leading slash", config->methods[i].path);
            return NULL;
        }
    }
    struct grpc_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        err_set(err, "out of memory for a server");
        return NULL;
    }
    server->config = *config;
    uv_timer_init(config->loop, &server->grace);
    server->grace.data = server;
    server->handles_open = 1;
    return server;
}

// Opens a listener's handle on the descriptor, which is closed with the handle from then on.
// Returns 0 or libuv's error.
static int open_listener(struct listener *listener, int fd, int domain)
{
    uv_loop_t *loop = listener->server->config.loop;
    int status;
    if (domain == AF_UNIX) {
        uv_pipe_init(loop, &listener->pipe, 0);
        status = uv_pipe_open(&listener->pipe, fd);
    } else {
        uv_tcp_init(loop, &listener->tcp);
        status = uv_tcp_open(&listener->tcp, fd);
    }
    listener->handle.data = listener;
    if (status != 0) {
        close(fd);
    }
    return status != 0 ? status : uv_listen(&listener->stream, SOMAXCONN, on_connection);
}

bool grpc_server_listen(struct grpc_server *server, int fd, SSL_CTX *ssl_ctx, struct err *err)
{
    int domain = -1;
    socklen_t len = sizeof domain;
    struct listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0) {
        free(listener);
        close(fd);
        return err_set(err, "no socket to listen on, or out of memory");
    }
    listener->server = server;
    if (ssl_ctx != NULL) {
        SSL_CTX_up_ref(ssl_ctx);
        SSL_CTX_set_alpn_select_cb(ssl_ctx, transport_select_h2, NULL);
        listener->ssl_ctx = ssl_ctx;
    }
    server->handles_open++;
    int status = open_listener(listener, fd, domain);
    if (status != 0) {
        uv_close(&listener->handle, on_listener_closed);
        return err_set(err, "listen: %s", uv_strerror(status));
    }
    listener->next = server->listeners;
    server->listeners = listener;
    return true;
}

void grpc_server_set_tls(struct grpc_server *server, SSL_CTX *ssl_ctx)
{
    SSL_CTX_set_alpn_select_cb(ssl_ctx, transport_select_h2, NULL);
    for (struct listener *listener = server->listeners; listener != NULL;
         listener = listener->next) {
        if (listener->ssl_ctx != NULL) {
            SSL_CTX_up_ref(ssl_ctx);
            SSL_CTX_free(listener->ssl_ctx);
            listener->ssl_ctx = ssl_ctx;
        }
    }
}

// Ends every connection that is left; on_end of their calls is called inside.
static void abandon_all(struct grpc_server *server)
{
    while (server->conns != NULL) {
        struct grpc_conn *conn = server->conns;
        forget(server, conn);
        conn_abandon(conn, GRPC_UNAVAILABLE, "the server is shutting down");
    }
}

static void on_grace_over(uv_timer_t *timer)
{
    struct grpc_server *server = timer->data;
    abandon_all(server);
    on_nothing_left(timer);
}

void grpc_server_shutdown(struct grpc_server *server, uint64_t grace_ms, void (*on_done)(void *ctx))
{
    if (server->is_shutting_down) {
        return;
    }
    server->is_shutting_down = true;
    server->on_done = on_done;
    stop_listening(server);
    for (struct grpc_conn *conn = server->conns; conn != NULL; conn = conn->next) {
        conn_shutdown(conn);
    }
    if (server->conns == NULL) {
        uv_timer_start(&server->grace, on_nothing_left, 0, 0);
    } else {
        uv_timer_start(&server->grace, on_grace_over, grace_ms, 0);
    }
}

void grpc_server_free(struct grpc_server *server)
{
    if (server == NULL || server->is_freed) {
        return;
    }
    server->is_freed = true;
    server->is_shutting_down = true;
    server->on_done = NULL;
    stop_listening(server);
    abandon_all(server);
    uv_close((uv_handle_t *)&server->grace, on_grace_closed);
}

const struct grpc_server_stats *grpc_server_stats(const struct grpc_server *server)
{
    return &server->stats;
}
