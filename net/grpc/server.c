// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/server.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "net/grpc/call_impl.h"

#define PROVE_LOOK_MS 1000 // between looks at the strangers

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
    struct grpc_service service;
    struct listener *listeners; // owned
    struct list conns;
    struct strangers strangers;
    uv_timer_t grace;
    uv_timer_t proving; // looks for strangers whose time is over
    void (*on_done)(void *ctx);
    void *on_done_ctx; // borrowed
    unsigned handles_open;
    bool is_shutting_down;
    bool is_freed;
};

static bool accepts_peer(void *owner, const struct h2_peer *peer, struct err *err)
{
    struct grpc_server *server = ((struct grpc_conn *)owner)->owner;
    return server->config.accepts_peer == NULL ||
           server->config.accepts_peer(server->config.ctx, peer, err);
}

static struct h2_stream *on_request(void *owner, struct h2_conn *h2)
{
    (void)h2;
    return &call_new(owner, &call_server_hooks)->stream;
}

static void on_handle_closed(struct grpc_server *server)
{
    if (--server->handles_open == 0) {
        strangers_cleanup(&server->strangers);
        free(server);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_handle_closed(handle->data);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;
    struct grpc_server *server = listener->server;
    if (listener->ssl_ctx != NULL) {
        SSL_CTX_free(listener->ssl_ctx);
    }
    free(listener);
    on_handle_closed(server);
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
        server->on_done(server->on_done_ctx); // the last thing: it may free the server
    }
}

static void on_closed(void *owner, struct h2_conn *h2, const char *why)
{
    struct grpc_conn *conn = owner;
    struct grpc_server *server = conn->owner;
    list_remove(&conn->link);
    if (server != NULL) {
        grpc_conn_leave_strangers(conn);
        server->stats.num_connections--;
        if (server->is_shutting_down && list_is_empty(&server->conns)) {
            uv_timer_start(&server->grace, on_nothing_left, 0, 0);
        }
        if (server->config.on_disconnect != NULL) {
            server->config.on_disconnect(server->config.ctx, h2_conn_peer(h2), why);
        }
    }
    grpc_conn_free(conn);
}

static const struct h2_conn_hooks conn_hooks = {
    .accepts_peer = accepts_peer, .on_request = on_request, .on_closed = on_closed};

// Ends a connection that has proved nothing, for the sake of others.
static void end_stranger(struct grpc_server *server, struct stranger *stranger,
                         enum grpc_limit limit)
{
    struct grpc_conn *conn = LIST_OF(stranger, struct grpc_conn, stranger);
    server->stats.bites.num[limit]++;
    server->stats.num_connections--;
    grpc_conn_abandon(conn, GRPC_RESOURCE_EXHAUSTED, grpc_limit_name(limit));
}

// Makes room for one connection more: where there are too many connections, or strangers among
// them, the stranger that has been here for longest goes. false: there is no stranger.
static bool make_room(struct grpc_server *server)
{
    const struct grpc_limits *limits = &server->config.limits;
    struct stranger *oldest =
        server->service.strangers == NULL ? NULL : strangers_oldest(&server->strangers);
    if (server->stats.num_connections >= limits->connections_max) {
        if (oldest == NULL) {
            server->stats.bites.num[GRPC_LIMIT_connections_max]++;
            return false;
        }
        end_stranger(server, oldest, GRPC_LIMIT_connections_max);
    } else if (oldest != NULL && server->strangers.num >= limits->strangers_max) {
        end_stranger(server, oldest, GRPC_LIMIT_strangers_max);
    }
    return true;
}

static void on_proving(uv_timer_t *timer)
{
    struct grpc_server *server = timer->data;
    uint64_t now = uv_now(timer->loop);
    struct stranger *oldest;
    while ((oldest = strangers_oldest(&server->strangers)) != NULL &&
           now - oldest->since_ms >= server->config.limits.prove_ms) {
        end_stranger(server, oldest, GRPC_LIMIT_prove_ms);
    }
}

// Has a new connection count as a stranger until a call proves who it is.
static void add_stranger(struct grpc_server *server, struct grpc_conn *conn)
{
    strangers_join(&server->strangers, &conn->stranger, h2_conn_peer(conn->h2),
                   uv_now(server->config.loop));
    if (conn->stranger.slot->num > server->config.limits.strangers_of_source_max) {
        end_stranger(server, strangers_oldest_of(&conn->stranger),
                     GRPC_LIMIT_strangers_of_source_max);
    }
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
    if (!make_room(server)) {
        server->stats.num_refused++;
        h2_conn_refuse(stream);
        return;
    }
    struct grpc_conn *conn = grpc_conn_new(server, &server->config.limits, &server->stats.bites);
    const struct h2_conn_config config = {.loop = server->config.loop,
                                          .limits = server->config.limits.h2,
                                          .bites = server->stats.bites.num,
                                          .hooks = &conn_hooks,
                                          .owner = conn};
    conn->service = &server->service;
    conn->h2 = h2_conn_accept(&config, stream, listener->ssl_ctx, NULL);
    if (conn->h2 == NULL) {
        server->stats.num_refused++;
        grpc_conn_free(conn);
        return;
    }
    list_push(&server->conns, &conn->link);
    server->stats.num_connections++;
    if (server->service.strangers != NULL) {
        add_stranger(server, conn);
    }
}

static void watch_strangers(struct grpc_server *server)
{
    const struct grpc_limits *limits = &server->config.limits;
    uint32_t look_ms = limits->prove_ms < PROVE_LOOK_MS ? limits->prove_ms : PROVE_LOOK_MS;
    if (limits->strangers_max > 0) {
        strangers_init(&server->strangers);
        server->service.strangers = &server->strangers;
    }
    if (limits->strangers_max > 0 && look_ms > 0) {
        uv_timer_start(&server->proving, on_proving, look_ms, look_ms);
        uv_unref((uv_handle_t *)&server->proving); // it keeps no loop alive
    }
}

struct grpc_server *grpc_server_new(const struct grpc_server_config *config, struct err *err)
{
    for (size_t i = 0; i < config->num_methods; i++) {
        if (config->methods[i].path[0] != '/') {
            err_set(err, "path \"%s\" has no leading slash", config->methods[i].path);
            return NULL;
        }
    }
    struct grpc_server *server = must_alloc(1, sizeof *server);
    list_init(&server->conns);
    server->config = *config;
    server->service = (struct grpc_service){.methods = config->methods,
                                            .num_methods = config->num_methods,
                                            .ctx = config->ctx,
                                            .num_calls = &server->stats.num_calls};
    uv_timer_init(config->loop, &server->grace);
    uv_timer_init(config->loop, &server->proving);
    server->grace.data = server->proving.data = server;
    server->handles_open = 2;
    watch_strangers(server);
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
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0) {
        close(fd);
        return err_set(err, "cannot listen: the descriptor is not that of a socket");
    }
    struct listener *listener = must_alloc(1, sizeof *listener);
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
        return err_set(err, "cannot listen on the socket: %s", uv_strerror(status));
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
    while (!list_is_empty(&server->conns)) {
        struct grpc_conn *conn = LIST_OF(server->conns.next, struct grpc_conn, link);
        server->stats.num_connections--;
        grpc_conn_abandon(conn, GRPC_UNAVAILABLE, "the server is shutting down");
    }
}

static void on_grace_over(uv_timer_t *timer)
{
    struct grpc_server *server = timer->data;
    abandon_all(server);
    on_nothing_left(timer);
}

void grpc_server_shutdown(struct grpc_server *server, uint64_t grace_ms, void (*on_done)(void *ctx),
                          void *ctx)
{
    if (server->is_shutting_down) {
        return;
    }
    server->is_shutting_down = true;
    server->on_done = on_done;
    server->on_done_ctx = ctx;
    stop_listening(server);
    for (struct list *link = server->conns.next; link != &server->conns; link = link->next) {
        h2_conn_shutdown(LIST_OF(link, struct grpc_conn, link)->h2);
    }
    if (list_is_empty(&server->conns)) {
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
    uv_close((uv_handle_t *)&server->grace, on_timer_closed);
    uv_close((uv_handle_t *)&server->proving, on_timer_closed);
}

const struct grpc_server_stats *grpc_server_stats(const struct grpc_server *server)
{
    return &server->stats;
}
