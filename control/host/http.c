// SPDX-License-Identifier: Apache-2.0
#include "control/host/http.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "control/host/listen.h"

struct http_server {
    struct MHD_Daemon *daemon; // owned
    uv_poll_t poll;            // of the daemon's epoll descriptor
    uv_timer_t timer;
    http_on_request *on_request;
    void *ctx;
    unsigned handles_open;
    unsigned num_connections; // after the last run
    bool is_running;          // inside MHD_run, which sees an answer that is given now
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

// Runs the daemon once. Returns whether connections have ended since the last time.
static bool run_once(struct http_server *server)
{
    MHD_run(server->daemon);
    unsigned num_before = server->num_connections;
    server->num_connections =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
    return server->num_connections < num_before;
}

// Does what is due and sets the timer to what will be. A daemon that was full waits for new clients
// again only in the run after the one in which a connection ended.
static void run(struct http_server *server)
{
    server->is_running = true;
    while (run_once(server)) {
    }
    server->is_running = false;
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES) {
        uv_timer_start(&server->timer, on_timer, wait_ms, 0);
    } else {
        uv_timer_stop(&server->timer);
    }
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
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
    (void)ctx;
    (void)connection;
    (void)code;
    struct http_request *request = *connection_ctx;
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

static void on_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;
    if (--server->handles_open == 0) {
        free(server);
    }
}

struct http_server *http_new(uv_loop_t *loop, int fd, http_on_request *on_request, void *ctx,
                             struct err *err)
{
    struct http_server *server = must_alloc(1, sizeof *server);
    server->on_request = on_request;
    server->ctx = ctx;
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_access, server,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_PER_IP_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_SECONDS_MAX,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_BYTES_MAX,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    const union MHD_DaemonInfo *info =
        server->daemon != NULL ? MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)
                               : NULL;
    if (info == NULL) {
        if (server->daemon != NULL) {
            MHD_stop_daemon(server->daemon);
        } else {
            close(fd);
        }
        free(server);
        err_set(err, "the HTTP server can't be started");
        return NULL;
    }
    uv_timer_init(loop, &server->timer);
    uv_poll_init(loop, &server->poll, info->epoll_fd);
    server->timer.data = server->poll.data = server;
    server->handles_open = 2;
    uv_poll_start(&server->poll, UV_READABLE, on_readable);
    return server;
}

struct http_server *http_new_tcp(uv_loop_t *loop, const char *what, const struct addr *addr,
                                 http_on_request *on_request, void *ctx, struct err *err)
{
    struct addr bound = {0};
    char text[ADDR_TEXT_MAX];
    int fd = listen_tcp(addr, &bound, err);
    struct http_server *server = fd >= 0 ? http_new(loop, fd, on_request, ctx, err) : NULL;
    if (server == NULL) {
        err_prefix(err, "--%s", what);
        return NULL;
    }
    log_info("msg=listening what=%s address=%s", what, addr_text(&bound, text));
    return server;
}

void http_free(struct http_server *server)
{
    if (server == NULL) {
        return;
    }
    server->is_closing = true;
    uv_poll_stop(&server->poll);
    uv_close((uv_handle_t *)&server->timer, on_closed);
    uv_close((uv_handle_t *)&server->poll, on_closed);
    // The requests that were just answered are sent, and no connection is left suspended.
    MHD_run(server->daemon);
    MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
}
