// SPDX-License-Identifier: Apache-2.0
#include "control/host/http.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "control/host/http_clients.h"
#include "control/host/http_listeners.h"

struct http_server {
    struct MHD_Daemon *daemon; // owned
    uv_poll_t poll;            // of the daemon's epoll descriptor
    uv_timer_t timer;
    struct http_listeners listeners;
    struct http_clients clients;
    struct ip arriving; // the source of the connection that libmicrohttpd is being given
    http_on_request *on_request;
    void *ctx;
    unsigned handles_open;
    bool is_running; // inside MHD_run, which sees an answer that is given now
    bool is_closing;
};

struct http_request {
    struct http_server *server;        // borrowed
    struct MHD_Connection *connection; // borrowed until it completes
    bool is_asked;                     // the handler was called
    bool is_suspended;
    bool is_answered;
    unsigned status;
    const char *content_type; // borrowed for ever
    char *body;               // owned
};

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

// Gives libmicrohttpd a connection, if there is room for its source.
static void on_connection(void *ctx, int fd, const struct sockaddr_storage *from, socklen_t len)
{
    struct http_server *server = ctx;
    struct addr addr = {.port = 0};
    server->arriving = addr_from_sockaddr(&addr, (const struct sockaddr *)from)
                           ? http_source(&addr.ip)
                           : (struct ip){{0}};
    bool is_welcome = http_clients_make_room(&server->clients, &server->arriving);
    if (!is_welcome) {
        run_daemon(server); // closes those that were ended in this turn
        is_welcome = http_clients_make_room(&server->clients, &server->arriving);
    }
    if (is_welcome) {
        MHD_add_connection(server->daemon, fd, (const struct sockaddr *)from, len); // takes fd over
    } else {
        close(fd);
    }
}

static void on_turn(void *ctx)
{
    run(ctx);
}

static struct http_client *client_of(struct MHD_Connection *connection)
{
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void on_client(void *ctx, struct MHD_Connection *connection, void **client,
                      enum MHD_ConnectionNotificationCode code)
{
    struct http_server *server = ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        int fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        *client =
            http_client_new(&server->clients, fd, &server->arriving, uv_now(server->timer.loop));
    } else if (*client != NULL) {
        http_client_free(&server->clients, *client);
        *client = NULL;
    }
}

static enum MHD_Result queue_answer(struct MHD_Connection *connection, unsigned status,
                                    const char *content_type, char *body,
                                    enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(body), body, mode);
    if (response == NULL) {
        if (mode == MHD_RESPMEM_MUST_FREE) {
            free(body);
        }
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", content_type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, "Allow", "GET, HEAD");
    }
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result queue_request(struct http_request *request)
{
    char *body = request->body;
    request->body = NULL;
    if (body == NULL) {
        static char text[] = "out of memory\n";
        return queue_answer(request->connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain", text,
                            MHD_RESPMEM_PERSISTENT);
    }
    return queue_answer(request->connection, request->status, request->content_type, body,
                        MHD_RESPMEM_MUST_FREE);
}

// Called with the head of a request, then for its body, then again after a resume.
static enum MHD_Result on_access(void *ctx, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_len, void **connection_ctx)
{
    (void)version;
    (void)upload;
    struct http_server *server = ctx;
    struct http_request *request = *connection_ctx;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        static char text[] = "only GET and HEAD\n";
        return queue_answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", text,
                            MHD_RESPMEM_PERSISTENT);
    }
    if (request == NULL) {
        http_client_asked(client_of(connection), uv_now(server->timer.loop));
        request = must_alloc(1, sizeof *request);
        request->server = server;
        request->connection = connection;
        *connection_ctx = request;
        return MHD_YES;
    }
    if (*upload_len > 0) {
        return MHD_NO; // no request here has a body
    }
    if (!request->is_asked) {
        request->is_asked = true;
        server->on_request(server->ctx, request, url);
        if (!request->is_answered) {
            request->is_suspended = true;
            MHD_suspend_connection(connection);
            return MHD_YES;
        }
    }
    return queue_request(request);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **connection_ctx,
                         enum MHD_RequestTerminationCode code)
{
    (void)code;
    const struct http_server *server = ctx;
    struct http_request *request = *connection_ctx;
    http_client_answered(client_of(connection), uv_now(server->timer.loop));
    if (request != NULL) {
        // A suspended connection doesn't complete, so the handler can't still have it.
        invariant(!request->is_asked || request->is_answered);
        free(request->body);
        free(request);
        *connection_ctx = NULL;
    }
}

void http_answer(struct http_request *request, unsigned status, const char *content_type,
                 char *body)
{
    request->is_answered = true;
    request->status = status;
    request->content_type = content_type;
    request->body = body;
    if (request->is_suspended) {
        struct http_server *server = request->server;
        MHD_resume_connection(request->connection);
        if (!server->is_running && !server->is_closing) {
            uv_timer_start(&server->timer, on_timer, 0, 0);
        }
    }
}

void http_answer_not_found(struct http_request *request, const char *pages)
{
    char text[128];
    snprintf(text, sizeof text, "there is %s\n", pages);
    http_answer(request, MHD_HTTP_NOT_FOUND, HTTP_TEXT, must_strdup(text));
}

uint32_t http_query_number(const struct http_request *request, const char *name, uint32_t max,
                           uint32_t otherwise)
{
    const char *text =
        MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return otherwise;
    }
    unsigned long long number = strtoull(text, NULL, 10);
    return number < max ? (uint32_t)number : max;
}

static void release(struct http_server *server)
{
    if (--server->handles_open == 0) {
        free(server);
    }
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_listeners_closed(void *ctx)
{
    release(ctx);
}

static struct http_server *new_server(uv_loop_t *loop, http_on_request *on_request, void *ctx,
                                      struct err *err)
{
    struct http_server *server = must_alloc(1, sizeof *server);
    server->on_request = on_request;
    server->ctx = ctx;
    http_clients_init(&server->clients);
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
        on_access, server, MHD_OPTION_CONNECTION_LIMIT, (unsigned)(2 * HTTP_LEFT_MAX),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_BYTES_MAX,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_NOTIFY_CONNECTION, on_client,
        server, MHD_OPTION_END);
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
    uv_timer_init(loop, &server->timer);
    uv_poll_init(loop, &server->poll, info->epoll_fd);
    server->timer.data = server->poll.data = server;
    server->handles_open = 3;
    uv_poll_start(&server->poll, UV_READABLE, on_readable);
    server->listeners = (struct http_listeners){.ctx = server,
                                                .on_connection = on_connection,
                                                .on_turn = on_turn,
                                                .on_closed = on_listeners_closed};
    http_listeners_init(&server->listeners, loop);
    return server;
}

struct http_server *http_new(uv_loop_t *loop, int fd, http_on_request *on_request, void *ctx,
                             struct err *err)
{
    struct http_server *server = new_server(loop, on_request, ctx, err);
    if (server == NULL) {
        close(fd);
        return NULL;
    }
    http_listeners_add(&server->listeners, fd);
    return server;
}

struct http_server *http_new_tcp(uv_loop_t *loop, const char *what,
                                 const struct listen_addrs *addrs, http_on_request *on_request,
                                 void *ctx, struct err *err)
{
    struct http_server *server = new_server(loop, on_request, ctx, err);
    if (server != NULL && !http_listeners_add_tcp(&server->listeners, what, addrs, err)) {
        http_free(server);
        server = NULL;
    }
    return server;
}

uint64_t http_num_late(const struct http_server *server)
{
    return server->clients.num_late;
}

uint64_t http_num_room(const struct http_server *server)
{
    return server->clients.num_room;
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
}
