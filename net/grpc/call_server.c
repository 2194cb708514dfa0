// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "net/grpc/call_impl.h"

static const struct grpc_method *find_method(const struct grpc_service *service, const char *path,
                                             size_t len)
{
    for (size_t i = 0; i < service->num_methods; i++) {
        const struct grpc_method *method = &service->methods[i];
        if (strlen(method->path) == len && memcmp(method->path, path, len) == 0) {
            return method;
        }
    }
    return NULL;
}

void call_route(struct grpc_call *call)
{
    const struct grpc_service *service = call->conn->service;
    const struct call_headers *headers = &call->headers;
    if (call->stream.is_list_too_large) {
        call_end(call, GRPC_RESOURCE_EXHAUSTED, "the headers are over header_bytes_max (%u)",
                 call->conn->limits.h2.header_bytes_max);
    } else if (!headers->is_post) {
        call_finish(call, 405, GRPC_INTERNAL, "gRPC is spoken with POST only");
    } else if (!headers->is_grpc_type) {
        call_finish(call, 415, GRPC_INTERNAL, "the content-type is not application/grpc");
    } else if (headers->has_timeout && !headers->is_timeout_fine) {
        grpc_call_finish(call, GRPC_INTERNAL, "malformed grpc-timeout");
    } else if (headers->method == NULL) {
        grpc_call_finish(call, GRPC_UNIMPLEMENTED, "no such method");
    } else {
        if (headers->has_timeout) {
            call->deadline_ms = h2_stream_now(&call->stream) + headers->timeout_ms;
            h2_stream_due(&call->stream, call->deadline_ms);
        }
        ++*service->num_calls;
        call->hooks = &headers->method->hooks;
        if (headers->method->on_start != NULL) {
            headers->method->on_start(service->ctx, call);
        }
    }
}

static void on_header(struct h2_stream *stream, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct grpc_call *call = call_of(stream);
    if (stream->receiving != H2_RECEIVING_HEADERS) {
        return; // a client's trailers mean nothing in gRPC
    }
    if (name_len == 5 && memcmp(name, ":path", 5) == 0) {
        call->headers.method = find_method(call->conn->service, value, value_len);
    } else {
        call_headers_take(&call->headers, name, name_len, value, value_len);
    }
}

static void on_headers(struct h2_stream *stream, bool is_trailers)
{
    (void)is_trailers;
    h2_stream_wake(stream);
}

static void on_end(struct h2_stream *stream)
{
    h2_stream_wake(stream);
}

static void on_close(struct h2_stream *stream, const struct h2_close *close)
{
    struct grpc_call *call = call_of(stream);
    char message[96];
    switch (close->kind) {
    case H2_CLOSE_STREAM:
        if (stream->sending < H2_SENDING_OVER) { // what was decided the client doesn't know
            snprintf(message, sizeof message, "the client reset the call: %s", close->why);
            call_undecide(call);
            call_decide(call, GRPC_CANCELLED, message, false);
        }
        call->ending = CALL_ENDS_HARD;
        break;
    case H2_CLOSE_CONN:
        call_undecide(call); // a status that was decided has not reached the client for certain
        call_end_hard(call, GRPC_CANCELLED, "the connection was lost: %s", close->why);
        break;
    case H2_CLOSE_UNSENT:
        call_end_hard(call, GRPC_INTERNAL, "headers were not sent: %s", close->why);
        break;
    case H2_CLOSE_STALLED:
        call_end_hard(call, GRPC_UNAVAILABLE, "%s", close->why);
        break;
    }
    h2_stream_wake(stream);
}

// The response's headers, its trailers, or both in one list (trailers-only).
static void send_list(struct grpc_call *call, unsigned http_status, bool has_trailers)
{
    char message[3 * GRPC_STATUS_MESSAGE_MAX];
    char status[12];
    char code[12];
    bool has_headers = call->stream.sending == H2_SENDING_HEADERS;
    snprintf(status, sizeof status, "%u", http_status);
    snprintf(code, sizeof code, "%d", (int)call->code);
    grpc_message_encode(message, sizeof message, call->message != NULL ? call->message : "");
    const struct h2_header headers[] = {
        {":status", has_headers ? status : NULL},
        {"content-type", has_headers ? "application/grpc" : NULL},
        {"grpc-accept-encoding", has_headers ? "identity" : NULL},
        {"grpc-status", has_trailers ? code : NULL},
        {"grpc-message", has_trailers && call->message != NULL ? message : NULL},
    };
    size_t num = sizeof headers / sizeof *headers;
    if (has_headers) {
        h2_stream_send_headers(&call->stream, headers, num, has_trailers);
    } else {
        h2_stream_send_trailers(&call->stream, headers, num);
    }
}

static bool on_last(struct h2_stream *stream)
{
    send_list(call_of(stream), 0, true);
    return true;
}

// The client needn't send the rest when the answer is complete (RFC 9113, section 8.1).
static void on_finished(struct h2_stream *stream)
{
    struct grpc_call *call = call_of(stream);
    call->ending = CALL_ENDS_HARD;
    call_leave(call, H2_NO_ERROR);
    h2_stream_wake(stream);
}

const struct h2_stream_hooks call_server_hooks = {.on_header = on_header,
                                                  .on_headers = on_headers,
                                                  .on_data = call_on_data,
                                                  .on_end = on_end,
                                                  .on_close = on_close,
                                                  .waiting = call_waiting,
                                                  .on_take = call_on_take,
                                                  .on_last = on_last,
                                                  .on_finished = on_finished,
                                                  .on_turn = call_on_turn,
                                                  .on_time = call_on_time,
                                                  .on_release = call_on_release};

void grpc_call_send_headers(struct grpc_call *call)
{
    if (call_is_server(call) && call->stream.sending == H2_SENDING_HEADERS &&
        call->ending == CALL_GOES_ON) {
        send_list(call, 200, false);
    }
}

void call_finish(struct grpc_call *call, unsigned http_status, enum grpc_code code,
                 const char *message)
{
    if (!call_is_server(call) || call->ending != CALL_GOES_ON) {
        return;
    }
    call_decide(call, code, message, true);
    if (call->stream.sending == H2_SENDING_HEADERS) {
        send_list(call, http_status, true);
    } else {
        h2_stream_finish(&call->stream);
    }
    h2_stream_wake(&call->stream);
}

void grpc_call_finish(struct grpc_call *call, enum grpc_code code, const char *message)
{
    call_finish(call, 200, code, message);
}
