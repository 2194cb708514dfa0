// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/call_impl.h"

#include <stdio.h>
#include <string.h>

#include "net/http2/conn.h"

// Takes grpc-status and grpc-message out of a list. false: there is no grpc-status.
static bool take_status(struct grpc_call *call, const struct grpc_metadata *list)
{
    struct grpc_metadata_item item;
    if (!grpc_metadata_find(list, "grpc-status", &item)) {
        return false;
    }
    enum grpc_code code;
    grpc_code_parse(&code, item.value, item.value_len);
    char message[GRPC_STATUS_MESSAGE_MAX] = "";
    if (grpc_metadata_find(list, "grpc-message", &item)) {
        grpc_message_decode(message, sizeof message, item.value, item.value_len);
    }
    call_decide(call, code, message, false);
    return true;
}

static bool is_grpc_type(const struct grpc_metadata *headers)
{
    struct grpc_metadata_item item;
    static const char type[] = "application/grpc";
    size_t len = sizeof type - 1;
    return grpc_metadata_find(headers, "content-type", &item) &&
           strncmp(item.value, type, len) == 0 &&
           (item.value[len] == '\0' || item.value[len] == '+' || item.value[len] == ';');
}

static bool check_size(struct grpc_call *call)
{
    if (call->headers_too_large) {
        call_end_hard(call, GRPC_RESOURCE_EXHAUSTED,
                      "the server's headers are over header_bytes_max (%u)",
                      call->conn->limits.header_bytes_max);
    }
    return !call->headers_too_large;
}

void call_judge_response(struct grpc_call *call)
{
    if (call->has_status || !check_size(call)) {
        return;
    }
    if (call->is_remote_done && take_status(call, &call->headers)) {
        call->has_news = false; // trailers-only: what came are trailers
        call->trailers = call->headers;
        call->headers = (struct grpc_metadata){.num = 0};
        call_leave_stream(call, NGHTTP2_NO_ERROR);
    } else if (call->http_status != 200) {
        call_end_hard(call, grpc_code_of_http(call->http_status), "the server answered HTTP %u",
                      call->http_status);
    } else if (!is_grpc_type(&call->headers)) {
        call_end_hard(call, GRPC_UNKNOWN,
                      "the server's answer is no gRPC: its content-type differs");
    } else if (call->is_remote_done) {
        call_end_hard(call, GRPC_UNKNOWN, "the server ended the call without a status");
    }
}

void call_judge_trailers(struct grpc_call *call)
{
    if (call->has_status || !check_size(call)) {
        return;
    }
    if (!take_status(call, &call->trailers)) {
        call_decide(call, GRPC_UNKNOWN, "the server's trailers hold no grpc-status", true);
    }
    call_leave_stream(call, NGHTTP2_NO_ERROR);
}

void grpc_call_cancel(struct grpc_call *call)
{
    if (!call->is_server) {
        call_end(call, GRPC_CANCELLED, "cancelled");
    }
}

void *grpc_call_ctx(const struct grpc_call *call)
{
    return call->ctx;
}

void grpc_call_set_ctx(struct grpc_call *call, void *ctx)
{
    call->ctx = ctx;
}

void grpc_call_pause(struct grpc_call *call)
{
    call->is_paused = true;
    call->recv_since_ms = 0;
}

void grpc_call_resume(struct grpc_call *call)
{
    if (call->is_paused) {
        call->is_paused = false;
        conn_call_is_ready(call->conn, call);
    }
}

const struct grpc_metadata *grpc_call_headers(const struct grpc_call *call)
{
    return &call->headers;
}

const struct grpc_metadata *grpc_call_trailers(const struct grpc_call *call)
{
    return &call->trailers;
}

struct grpc_metadata *grpc_call_headers_out(struct grpc_call *call)
{
    return &call->headers_out;
}

struct grpc_metadata *grpc_call_trailers_out(struct grpc_call *call)
{
    return &call->trailers_out;
}

uint64_t grpc_call_num_received(const struct grpc_call *call)
{
    return call->num_received;
}

const struct grpc_peer *grpc_call_peer(const struct grpc_call *call)
{
    return &call->conn->transport.peer;
}
