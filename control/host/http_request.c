// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "control/host/http_impl.h"

static void set_headers(const struct http_request *request, struct MHD_Response *response)
{
    const struct http_server *server = request->server;
    MHD_add_response_header(response, "Content-Type", request->content_type);
    if (request->header != NULL) {
        MHD_add_response_header(response, request->header, request->header_value);
    }
    if (server->is_draining) {
        MHD_add_response_header(response, "Connection", "close");
    }
}

static enum MHD_Result queue_answer(struct http_request *request)
{
    char *body = request->body;
    request->body = NULL;
    if (body == NULL) {
        request->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
        request->content_type = HTTP_TEXT;
        body = must_strdup("out of memory\n");
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(body);
        return MHD_NO;
    }
    set_headers(request, response);
    enum MHD_Result result = MHD_queue_response(request->connection, request->status, response);
    MHD_destroy_response(response);
    return result;
}

// Answers before the handler was asked.
static enum MHD_Result refuse(struct http_request *request, unsigned status)
{
    size_t max = request->server->clients.limits->body_bytes_max;
    char text[96];
    request->is_answered = true;
    request->status = status;
    request->content_type = HTTP_TEXT;
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        const char *methods = max > 0 ? "GET, HEAD, POST" : "GET, HEAD";
        http_set_header(request, "Allow", methods);
        snprintf(text, sizeof text, "only %s\n", methods);
    } else if (status == MHD_HTTP_SERVICE_UNAVAILABLE) {
        http_set_header(request, "Retry-After", "1");
        snprintf(text, sizeof text, "too many large requests at once\n");
    } else {
        snprintf(text, sizeof text, "a request has at most %zu bytes\n", max);
    }
    request->body = must_strdup(text);
    return queue_answer(request);
}

static struct http_request *request_new(struct http_server *server,
                                        struct MHD_Connection *connection, const char *method)
{
    struct http_request *request = must_alloc(1, sizeof *request);
    request->server = server;
    request->connection = connection;
    request->method = method;
    return request;
}

static bool is_post(const struct http_request *request)
{
    return strcmp(request->method, MHD_HTTP_METHOD_POST) == 0;
}

static bool is_too_long(const struct http_request *request)
{
    const char *length = http_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length != NULL &&
           strtoull(length, NULL, 10) > request->server->clients.limits->body_bytes_max;
}

// Takes the head of a request. What is refused here is refused before its body comes.
static enum MHD_Result begin(struct http_request *request)
{
    struct http_server *server = request->server;
    struct http_client *client = http_client_of(request->connection);
    uint64_t now = uv_now(server->timer.loop);
    bool has_body = is_post(request) && server->clients.limits->body_bytes_max > 0;
    if (!has_body && strcmp(request->method, MHD_HTTP_METHOD_GET) != 0 &&
        strcmp(request->method, MHD_HTTP_METHOD_HEAD) != 0) {
        return refuse(request, MHD_HTTP_METHOD_NOT_ALLOWED);
    }
    http_client_waits(client, has_body ? HTTP_WAIT_BODY : HTTP_WAIT_ANSWER, now);
    if (has_body) {
        list_push(&server->uploads, &request->link);
    }
    return is_too_long(request) ? refuse(request, MHD_HTTP_CONTENT_TOO_LARGE) : MHD_YES;
}

static void drop_upload(struct http_request *request)
{
    request->server->bodies_bytes -= request->upload_cap;
    request->upload_cap = 0;
    bytes_cleanup(&request->upload);
}

// Finds, of the bodies that are still coming, the longest.
static struct http_request *longest_upload(const struct http_server *server)
{
    struct http_request *longest = NULL;
    LIST_EACH_SAFE(link, &server->uploads) {
        struct http_request *request = LIST_OF(link, struct http_request, link);
        if (!request->is_asked && (longest == NULL || request->upload_cap > longest->upload_cap)) {
            longest = request;
        }
    }
    return longest;
}

// Makes room for more of a body. Where all bodies together are too long, the longest of those that
// are still coming is refused, which may be this one.
static bool reserve(struct http_request *request, size_t more)
{
    struct http_server *server = request->server;
    const struct http_limits *limits = server->clients.limits;
    if (request->upload.len + more > limits->body_bytes_max) {
        request->refused = MHD_HTTP_CONTENT_TOO_LARGE;
        return false;
    }
    if (!bytes_reserve(&request->upload, more)) {
        request->refused = MHD_HTTP_SERVICE_UNAVAILABLE;
        return false;
    }
    server->bodies_bytes += request->upload.cap - request->upload_cap;
    request->upload_cap = request->upload.cap;
    while (server->bodies_bytes > limits->bodies_bytes_max) {
        struct http_request *longest = longest_upload(server);
        server->clients.num_room++;
        longest->refused = MHD_HTTP_SERVICE_UNAVAILABLE;
        drop_upload(longest);
    }
    return request->refused == 0;
}

// Takes a piece of the body. What comes of a refused one is dropped, so that the client reads why:
// libmicrohttpd takes no answer in the middle of a body.
static enum MHD_Result take(struct http_request *request, const char *upload, size_t *upload_len)
{
    if (!list_is_linked(&request->link)) {
        return MHD_NO; // only a POST has a body
    }
    if (request->refused == 0 && reserve(request, *upload_len)) {
        bytes_push(&request->upload, upload, *upload_len);
    } else {
        drop_upload(request);
    }
    *upload_len = 0;
    return MHD_YES;
}

// Called with the head of a request, then for its body, then again after a resume.
enum MHD_Result http_on_access(void *ctx, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload,
                               size_t *upload_len, void **connection_ctx)
{
    (void)version;
    struct http_server *server = ctx;
    struct http_request *request = *connection_ctx;
    if (request == NULL) {
        *connection_ctx = request = request_new(server, connection, method);
        return begin(request);
    }
    if (request->is_answered) {
        return queue_answer(request);
    }
    if (*upload_len > 0) {
        return take(request, upload, upload_len);
    }
    if (request->refused != 0) {
        return refuse(request, request->refused);
    }
    request->is_asked = true;
    http_client_waits(http_client_of(connection), HTTP_WAIT_ANSWER, uv_now(server->timer.loop));
    server->on_request(server->ctx, request, url);
    if (request->is_answered) {
        return queue_answer(request);
    }
    request->is_suspended = true;
    MHD_suspend_connection(connection);
    return MHD_YES;
}

void http_on_completed(void *ctx, struct MHD_Connection *connection, void **connection_ctx,
                       enum MHD_RequestTerminationCode code)
{
    (void)code;
    const struct http_server *server = ctx;
    struct http_request *request = *connection_ctx;
    http_client_waits(http_client_of(connection), HTTP_WAIT_NEXT, uv_now(server->timer.loop));
    if (request != NULL) {
        // A suspended connection doesn't complete, so the handler can't still have it.
        invariant(!request->is_asked || request->is_answered);
        drop_upload(request);
        list_remove(&request->link);
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
        MHD_resume_connection(request->connection);
        http_due(request->server);
    }
}

void http_set_header(struct http_request *request, const char *name, const char *value)
{
    request->header = name;
    request->header_value = value;
}

void http_answer_not_found(struct http_request *request, const char *pages)
{
    char text[128];
    snprintf(text, sizeof text, "there is %s\n", pages);
    http_answer(request, MHD_HTTP_NOT_FOUND, HTTP_TEXT, must_strdup(text));
}

const char *http_method(const struct http_request *request)
{
    return request->method;
}

const char *http_header(const struct http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const uint8_t *http_body(const struct http_request *request, size_t *out_len)
{
    *out_len = request->upload.len;
    return request->upload.at;
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

bool http_local_ip(const struct http_request *request, struct ip *out)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct addr addr = {.port = 0};
    int fd =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0 ||
        !addr_from_sockaddr(&addr, (struct sockaddr *)&sa)) {
        return false;
    }
    *out = addr.ip;
    return true;
}
