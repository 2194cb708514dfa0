// SPDX-License-Identifier: Apache-2.0
#include "control/host/http.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "control/host/http_impl.h"
#include "control/host/http_tls.h"
#include "net/http2/transport.h"

// libmicrohttpd 1.0 would otherwise only queue a connection that it is given, and say that it has
// started when nobody knows any more whose it is.
#if MHD_VERSION >= 0x00097707
#define ONE_THREAD MHD_USE_NO_THREAD_SAFETY
#else
#define ONE_THREAD 0
#endif

static void on_timer(uv_timer_t *timer);

static void run_daemon(struct http_server *server)
{
    server->is_running = true;
    MHD_run(server->daemon);
    server->is_running = false;
}

// Does what is due and sets the timer to what will be.
static void run(struct http_server *server)
{
    run_daemon(server);
    MHD_UNSIGNED_LONG_LONG theirs_ms = 0;
    uint64_t wait_ms = http_clients_end_late(&server->clients, uv_now(server->timer.loop));
    if (MHD_get_timeout(server->daemon, &theirs_ms) == MHD_YES && theirs_ms < wait_ms) {
        wait_ms = theirs_ms;
    }
    if (wait_ms != UINT64_MAX) {
        uv_timer_start(&server->timer, on_timer, wait_ms, 0);
    } else {
        uv_timer_stop(&server->timer);
    }
}

void http_due(struct http_server *server)
{
    if (!server->is_running && !server->is_closing) {
        uv_timer_start(&server->timer, on_timer, 0, 0);
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void set_arriving(struct http_server *server, const struct sockaddr_storage *from)
{
    struct addr addr = {.port = 0};
    server->arriving_ip = addr_from_sockaddr(&addr, (const struct sockaddr *)from)
                              ? http_source_ip(&addr.ip)
                              : (struct ip){{0}};
}

// Serves a connection, if there is room for its source.
static void on_connection(void *ctx, int fd, const struct sockaddr_storage *from, socklen_t len)
{
    struct http_server *server = ctx;
    set_arriving(server, from);
    bool is_welcome = http_clients_make_room(&server->clients, &server->arriving_ip);
    if (!is_welcome) {
        run_daemon(server); // closes those that were ended in this turn
        is_welcome = http_clients_make_room(&server->clients, &server->arriving_ip);
    }
    if (!is_welcome) {
        close(fd);
    } else if (server->tls != NULL) {
        http_tls_accept(server, fd, from, len);
    } else {
        MHD_add_connection(server->daemon, fd, (const struct sockaddr *)from, len); // takes fd over
    }
}

static void on_turn(void *ctx)
{
    run(ctx);
}

struct http_client *http_client_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

// libmicrohttpd finds its connection shut, and closes it.
static void on_end_wanted(void *ctx)
{
    shutdown((int)(intptr_t)ctx, SHUT_RDWR);
}

static void on_client(void *ctx, struct MHD_Connection *connection, void **client,
                      enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED && server->arriving != NULL) {
        http_client_hold(server->arriving);
        *client = server->arriving;
        server->arriving = NULL;
    } else if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *client = http_client_new(&server->clients, &server->arriving_ip, on_end_wanted,
                                  (void *)(intptr_t)fd, uv_now(server->timer.loop));
    } else if (*client != NULL) {
        http_client_free(&server->clients, *client);
        *client = NULL;
    }
}

void http_release(struct http_server *server)
{
    if (--server->handles_open == 0) {
        SSL_CTX_free(server->tls);
        free(server);
    }
}

static void on_closed(uv_handle_t *handle)
{
    http_release(handle->data);
}

static void on_listeners_closed(void *ctx)
{
    http_release(ctx);
}

static struct MHD_Daemon *start_daemon(struct http_server *server)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | ONE_THREAD, 0, NULL,
        NULL, http_on_access, server, MHD_OPTION_CONNECTION_LIMIT,
        server->clients.limits->left_max + 2 * server->clients.limits->source_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_BYTES_MAX,
        MHD_OPTION_NOTIFY_COMPLETED, http_on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        on_client, server, MHD_OPTION_END);
}

static void start_handles(struct http_server *server, uv_loop_t *loop, int epoll_fd)
{
    uv_timer_init(loop, &server->timer);
    uv_poll_init(loop, &server->poll, epoll_fd);
    server->timer.data = server->poll.data = server;
    server->handles_open = 3;
    uv_poll_start(&server->poll, UV_READABLE, on_readable);
    server->listeners = (struct http_listeners){.ctx = server,
                                                .on_connection = on_connection,
                                                .on_turn = on_turn,
                                                .on_closed = on_listeners_closed};
    http_listeners_init(&server->listeners, loop);
}

static struct http_server *new_server(const struct http_config *config, struct err *err)
{
    struct http_server *server = must_alloc(1, sizeof *server);
    server->on_request = config->on_request;
    server->ctx = config->ctx;
    list_init(&server->tls_conns);
    list_init(&server->uploads);
    http_clients_init(&server->clients,
                      config->limits != NULL ? config->limits : &http_limits_pages);
    server->daemon = start_daemon(server);
    const union MHD_DaemonInfo *info =
        server->daemon != NULL ? MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)
                               : NULL;
    if (info == NULL) {
        if (server->daemon != NULL) {
            MHD_stop_daemon(server->daemon);
        }
        free(server);
        err_set(err, "the HTTP server can't be started");
        return NULL;
    }
    start_handles(server, config->loop, info->epoll_fd);
    if (config->tls != NULL) {
        http_set_tls(server, config->tls);
    }
    return server;
}

struct http_server *http_new(const struct http_config *config, int fd, struct err *err)
{
    struct http_server *server = new_server(config, err);
    if (server == NULL) {
        close(fd);
        return NULL;
    }
    http_listeners_add(&server->listeners, fd);
    return server;
}

struct http_server *http_new_tcp(const struct http_config *config, const char *what,
                                 const struct listen_addrs *addrs, struct err *err)
{
    struct http_server *server = new_server(config, err);
    if (server != NULL && !http_listeners_add_tcp(&server->listeners, what, addrs, err)) {
        http_free(server);
        server = NULL;
    }
    return server;
}

void http_set_tls(struct http_server *server, struct ssl_ctx_st *tls)
{
    http_tls_prepare(tls);
    SSL_CTX_up_ref(tls);
    SSL_CTX_free(server->tls);
    server->tls = tls;
}

void http_drain(struct http_server *server)
{
    server->is_draining = true;
}

unsigned http_num_clients(const struct http_server *server)
{
    return server->clients.num;
}

uint64_t http_num_late(const struct http_server *server)
{
    return server->clients.num_late;
}

uint64_t http_num_room(const struct http_server *server)
{
    return server->clients.num_room;
}

uint64_t http_num_tls_failed(const struct http_server *server)
{
    return server->num_tls_failed;
}

void http_free(struct http_server *server)
{
    if (server == NULL) {
        return;
    }
    server->is_closing = true;
    http_listeners_close(&server->listeners);
    uv_poll_stop(&server->poll);
    uv_close((uv_handle_t *)&server->timer, on_closed);
    uv_close((uv_handle_t *)&server->poll, on_closed);
    // The requests that were just answered are sent, and no connection is left suspended.
    MHD_run(server->daemon);
    MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
    http_tls_end_all(server);
}
