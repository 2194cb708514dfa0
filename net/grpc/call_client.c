// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "net/grpc/call_impl.h"

// Takes grpc-status and grpc-message out of the list that came. false: there is no grpc-status.
static bool take_status(struct grpc_call *call)
{
    if (call->headers.has_code) {
        call_decide(call, call->headers.code, call->headers.message, false);
    }
    return call->headers.has_code;
}

static void judge_response(struct grpc_call *call)
{
    const struct h2_stream *stream = &call->stream;
    bool is_end = stream->receiving == H2_RECEIVING_DONE;
    if (is_end && take_status(call)) {
        call_leave(call, H2_NO_ERROR); // trailers-only: what came are trailers
    } else if (stream->status != 200) {
        call_end_hard(call, grpc_code_of_http(stream->status), "the server answered HTTP %u",
                      stream->status);
    } else if (!call->headers.is_grpc_type) {
        call_end_hard(call, GRPC_UNKNOWN,
                      "the server's answer is no gRPC: its content-type differs");
    } else if (is_end) {
        call_end_hard(call, GRPC_UNKNOWN, "the server ended the call without a status");
    }
    call_headers_cleanup(&call->headers); // a status stands in trailers only
}

static void judge_trailers(struct grpc_call *call)
{
    if (!take_status(call)) {
        call_decide(call, GRPC_UNKNOWN, "the server's trailers hold no grpc-status", true);
    }
    call_leave(call, H2_NO_ERROR);
}

static void on_header(struct h2_stream *stream, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    call_headers_take(&call_of(stream)->headers, name, name_len, value, value_len);
}

static void on_headers(struct h2_stream *stream, bool is_trailers)
{
    struct grpc_call *call = call_of(stream);
    if (call->ending == CALL_GOES_ON && stream->is_list_too_large) {
        call_end_hard(call, GRPC_RESOURCE_EXHAUSTED,
                      "the server's headers are over header_bytes_max (%u)",
                      call->conn->limits.h2.header_bytes_max);
    } else if (call->ending == CALL_GOES_ON && is_trailers) {
        judge_trailers(call);
    } else if (call->ending == CALL_GOES_ON) {
        judge_response(call);
    }
    h2_stream_wake(stream);
}

static void on_end(struct h2_stream *stream)
{
    struct grpc_call *call = call_of(stream);
    call_decide(call, GRPC_UNKNOWN, "the server ended the call without a status", true);
    call_leave(call, H2_NO_ERROR);
    h2_stream_wake(stream);
}

static void on_reset(struct grpc_call *call, const struct h2_close *close)
{
    char message[96];
    snprintf(message, sizeof message, "the server reset the call: %s", close->why);
    if (call->ending == CALL_GOES_ON) {
        call->is_unprocessed = close->is_unprocessed;
        call_decide(call, grpc_code_of_reset(close->code), message, false);
        call->ending = CALL_ENDS_HARD;
    }
}

static void on_close(struct h2_stream *stream, const struct h2_close *close)
{
    struct grpc_call *call = call_of(stream);
    if (call->ending == CALL_GOES_ON) {
        call->is_unprocessed = close->is_unprocessed;
    }
    switch (close->kind) {
    case H2_CLOSE_STREAM:
        on_reset(call, close);
        break;
    case H2_CLOSE_CONN:
        call_end_hard(call, GRPC_UNAVAILABLE, "the connection was lost: %s", close->why);
        break;
    case H2_CLOSE_UNSENT:
        call_end_hard(call, GRPC_UNAVAILABLE, "headers were not sent: %s", close->why);
        break;
    case H2_CLOSE_STALLED:
        call_end_hard(call, GRPC_UNAVAILABLE, "%s", close->why);
        break;
    }
    h2_stream_wake(stream);
}

const struct h2_stream_hooks call_client_hooks = {.on_header = on_header,
                                                  .on_headers = on_headers,
                                                  .on_data = call_on_data,
                                                  .on_end = on_end,
                                                  .on_close = on_close,
                                                  .waiting = call_waiting,
                                                  .on_take = call_on_take,
                                                  .on_turn = call_on_turn,
                                                  .on_time = call_on_time,
                                                  .on_release = call_on_release};

void grpc_call_half_close(struct grpc_call *call)
{
    if (!call_is_server(call) && call->ending == CALL_GOES_ON) {
        h2_stream_finish(&call->stream);
    }
}

void grpc_call_cancel(struct grpc_call *call)
{
    if (!call_is_server(call)) {
        call_end(call, GRPC_CANCELLED, "cancelled");
    }
}
