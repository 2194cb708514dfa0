// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/call_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "net/http2/conn.h"

struct grpc_call *call_new(struct grpc_conn *conn, bool is_server)
{
    struct grpc_call *call = calloc(1, sizeof *call);
    if (call != NULL) {
        call->conn = conn;
        call->is_server = is_server;
        call->http_status = is_server ? 200 : 0;
        call->reader.message_bytes_max = conn->limits.message_bytes_max;
        call->next = conn->calls;
        if (call->next != NULL) {
            call->next->prev = call;
        }
        conn->calls = call;
        conn->num_calls++;
        conn->idle_since_ms = 0;
    }
    return call;
}

void call_free(struct grpc_call *call)
{
    call_drop_queue(call);
    grpc_metadata_cleanup(&call->headers);
    grpc_metadata_cleanup(&call->trailers);
    grpc_metadata_cleanup(&call->headers_out);
    grpc_metadata_cleanup(&call->trailers_out);
    grpc_reader_cleanup(&call->reader);
    free(call->message);
    free(call);
}

// Counts what the call's reader holds now against the connection's limit. false: it is over.
static bool count_held(struct grpc_call *call)
{
    struct grpc_conn *conn = call->conn;
    conn->held_bytes += call->reader.cap - call->held_counted;
    call->held_counted = call->reader.cap;
    return conn->held_bytes <= conn->limits.held_bytes_max;
}

static void drop_received(struct grpc_call *call)
{
    grpc_reader_cleanup(&call->reader);
    count_held(call);
    call->recv_since_ms = 0;
}

void call_decide(struct grpc_call *call, enum grpc_code code, const char *message, bool is_local)
{
    if (!call->has_status) {
        call->has_status = true;
        call->code = code;
        call->is_local = is_local;
        size_t len = message == NULL ? 0 : strlen(message);
        len = len < GRPC_STATUS_MESSAGE_MAX ? len : GRPC_STATUS_MESSAGE_MAX - 1;
        call->message = len == 0 ? NULL : calloc(1, len + 1); // without memory: without words
        if (call->message != NULL) {
            memcpy(call->message, message, len);
        }
    }
}

// Takes back what was decided: a status that did not get through, or that came behind bytes that
// are no messages.
static void undecide(struct grpc_call *call)
{
    call->has_status = false;
    free(call->message);
    call->message = NULL;
}

static void end_hard(struct grpc_call *call, enum grpc_code code, const char *message)
{
    if (call->is_server && !call->is_hard) {
        undecide(call); // the client does not hear it
    }
    call_decide(call, code, message, true);
    call->is_hard = true;
    call_leave_stream(call, NGHTTP2_CANCEL);
    conn_call_is_ready(call->conn, call);
}

void call_end_hard(struct grpc_call *call, enum grpc_code code, const char *format, ...)
{
    char message[GRPC_STATUS_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    end_hard(call, code, message);
}

void call_end(struct grpc_call *call, enum grpc_code code, const char *format, ...)
{
    char message[GRPC_STATUS_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (call->is_server) {
        grpc_call_finish(call, code, message);
        drop_received(call);
    } else if (!call->has_status) {
        end_hard(call, code, message);
    }
}

void call_take_header(struct grpc_call *call, const char *name, size_t name_len, const char *value,
                      size_t value_len)
{
    struct grpc_metadata *list = call->has_headers ? &call->trailers : &call->headers;
    if (!call->is_server && name_len == 7 && memcmp(name, ":status", 7) == 0) {
        call->http_status = (unsigned)strtoul(value, NULL, 10); // nghttp2 has seen three digits
        return;
    }
    if (list->list_bytes + name_len + value_len + 32 > call->conn->limits.header_bytes_max) {
        if (!call->headers_too_large) {
            conn_bite(call->conn, GRPC_LIMIT_header_bytes_max);
        }
        call->headers_too_large = true;
    } else if (!grpc_metadata_append(list, name, name_len, value, value_len)) {
        call->headers_too_large = true;
    }
}

void call_take_headers_end(struct grpc_call *call, bool is_end_stream)
{
    if (!call->is_server && !call->has_headers && call->http_status < 200) {
        grpc_metadata_cleanup(&call->headers); // 1xx: the real answer is still to come
        return;
    }
    call->is_remote_done = call->is_remote_done || is_end_stream;
    if (!call->has_headers) {
        call->has_headers = true;
        call->has_news = true;
        if (!call->is_server) {
            call_judge_response(call);
        }
    } else if (!call->is_server) {
        call_judge_trailers(call);
    }
    conn_call_is_ready(call->conn, call);
}

void call_take_bytes(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    if (call->has_status) { // nobody wants them any more
        nghttp2_session_consume_stream(call->conn->session, call->stream_id, len);
        return;
    }
    call->unconsumed += len;
    if (!grpc_reader_push(&call->reader, bytes, len)) {
        call_end(call, GRPC_RESOURCE_EXHAUSTED, "out of memory for a message");
    } else if (!count_held(call)) {
        conn_bite(call->conn, GRPC_LIMIT_held_bytes_max);
        call_end(call, GRPC_RESOURCE_EXHAUSTED,
                 "the connection's unfinished messages are over held_bytes_max (%u)",
                 call->conn->limits.held_bytes_max);
    }
    conn_call_is_ready(call->conn, call);
}

void call_take_end_stream(struct grpc_call *call)
{
    call->is_remote_done = true;
    if (!call->is_server) {
        call_decide(call, GRPC_UNKNOWN, "the server ended the call without a status", true);
        call_leave_stream(call, NGHTTP2_NO_ERROR);
    }
    conn_call_is_ready(call->conn, call);
}

void call_take_close(struct grpc_call *call, uint32_t error_code)
{
    char message[96];
    snprintf(message, sizeof message, "the %s reset the call: %s",
             call->is_server ? "client" : "server", nghttp2_http2_strerror(error_code));
    call->is_stream_closed = true;
    if (call->is_server) {
        if (!call->is_sending_over) { // whatever was decided, the client doesn't know it
            undecide(call);
            call_decide(call, GRPC_CANCELLED, message, false);
        }
        call->is_hard = true;
    } else if (!call->has_status) {
        call->is_unprocessed = error_code == NGHTTP2_REFUSED_STREAM;
        call_decide(call, grpc_code_of_reset(error_code), message, false);
        call->is_hard = true;
    }
    conn_call_is_ready(call->conn, call);
}

// Ends a call whose bytes are no messages. A client's status may have come already behind them: it
// is worth nothing.
static void refuse_bytes(struct grpc_call *call, enum grpc_code code, const char *message)
{
    if (!call->is_server) {
        undecide(call);
    }
    drop_received(call);
    call_end(call, code, "%s", message);
}

static void refuse_message(struct grpc_call *call, enum grpc_reader_result result, size_t len)
{
    char message[128];
    struct grpc_metadata_item encoding;
    switch (result) {
    case GRPC_READER_TOO_LONG:
        conn_bite(call->conn, GRPC_LIMIT_message_bytes_max);
        snprintf(message, sizeof message,
                 "a message of %zu bytes is over the limit message_bytes_max (%u)", len,
                 call->conn->limits.message_bytes_max);
        refuse_bytes(call, GRPC_RESOURCE_EXHAUSTED, message);
        break;
    case GRPC_READER_COMPRESSED:
        if (call->is_server && grpc_metadata_find(&call->headers, "grpc-encoding", &encoding) &&
            strcmp(encoding.value, "identity") != 0) {
            refuse_bytes(call, GRPC_UNIMPLEMENTED,
                         "the message is compressed; only identity is understood");
        } else {
            refuse_bytes(call, GRPC_INTERNAL,
                         "the message is compressed, which was not agreed upon");
        }
        break;
    default:
        refuse_bytes(call, GRPC_INTERNAL, "the message's compressed-flag is neither 0 nor 1");
    }
}

// Gives the stream's window back for what the user has taken, and for a message under way, which
// has its own limit.
static void give_back_window(struct grpc_call *call)
{
    size_t held = call->is_paused ? grpc_reader_held(&call->reader) : 0;
    if (call->unconsumed > held) {
        size_t len = call->unconsumed - held;
        call->unconsumed = held;
        if (!call->is_stream_closed) {
            nghttp2_session_consume_stream(call->conn->session, call->stream_id, len);
        }
    }
}

static bool wants_messages(const struct grpc_call *call)
{
    return !call->is_dead && !call->is_paused && !call->is_hard &&
           !(call->is_server && call->has_status);
}

static void deliver_messages(struct grpc_call *call)
{
    const uint8_t *body = NULL;
    size_t len = 0;
    enum grpc_reader_result result = GRPC_READER_MESSAGE;
    while (wants_messages(call) && result == GRPC_READER_MESSAGE) {
        result = grpc_reader_next(&call->reader, &body, &len);
        if (result == GRPC_READER_MESSAGE) {
            call->num_received++;
            call->recv_since_ms = 0;
            if (call->hooks->on_message != NULL) {
                call->hooks->on_message(call, body, len);
            }
        } else if (result != GRPC_READER_MORE) {
            refuse_message(call, result, len);
        }
    }
    if (wants_messages(call) && grpc_reader_held(&call->reader) > 0) {
        if (call->is_remote_done && (call->is_server || call->code == GRPC_OK || call->is_local)) {
            refuse_bytes(call, GRPC_INTERNAL, "the stream ended in the middle of a message");
        } else if (call->is_remote_done) {
            drop_received(call); // the status says enough
        } else if (call->recv_since_ms == 0) {
            call->recv_since_ms = conn_now(call->conn);
            conn_due(call->conn, call->recv_since_ms + call->conn->limits.message_ms);
        }
    }
    count_held(call);
    give_back_window(call);
}

void call_deliver_end(struct grpc_call *call)
{
    struct grpc_conn *conn = call->conn;
    invariant(call->has_status && !call->is_dead);
    call->is_dead = true;
    drop_received(call);
    *(call->prev != NULL ? &call->prev->next : &conn->calls) = call->next;
    if (call->next != NULL) {
        call->next->prev = call->prev;
    }
    call->next = conn->dead;
    conn->dead = call;
    if (--conn->num_calls == 0 && conn->is_server) {
        conn->idle_since_ms = conn_now(conn);
        if (conn->limits.idle_ms > 0) {
            conn_due(conn, conn->idle_since_ms + conn->limits.idle_ms);
        }
    }
    struct grpc_status status = {.code = call->code,
                                 .message = call->message != NULL ? call->message : "",
                                 .is_local = call->is_local,
                                 .is_unprocessed = call->is_unprocessed};
    if (call->hooks != NULL && call->hooks->on_end != NULL) {
        call->hooks->on_end(call, &status);
    }
}

void call_settle(struct grpc_call *call)
{
    if (call->is_dead) {
        return;
    }
    if (call->has_news) {
        call->has_news = false;
        if (call->is_server && !call->has_status) {
            call->conn->hooks->on_request(call->conn->owner, call);
        } else if (!call->is_server && !call->is_hard && call->hooks->on_headers != NULL) {
            call->hooks->on_headers(call);
        }
    }
    deliver_messages(call);
    if (wants_messages(call) && call->is_server && call->is_remote_done &&
        !call->is_half_close_told) {
        call->is_half_close_told = true;
        if (call->hooks->on_half_close != NULL) {
            call->hooks->on_half_close(call);
        }
    }
    if (call->is_drained && !call->is_dead) {
        call->is_drained = false;
        if (!call->has_status && call->hooks->on_drained != NULL) {
            call->hooks->on_drained(call);
        }
    }
    bool has_all = !call->is_server && call->is_remote_done && grpc_reader_held(&call->reader) == 0;
    if (!call->is_dead && call->has_status && (call->is_hard || has_all)) {
        call_deliver_end(call);
    }
}

void call_check_deadlines(struct grpc_call *call, uint64_t now_ms, uint64_t *next_ms)
{
    const struct grpc_limits *limits = &call->conn->limits;
    const uint64_t late[] = {
        call->has_status ? 0 : call->deadline_ms,
        call->recv_since_ms == 0 || limits->message_ms == 0
            ? 0
            : call->recv_since_ms + limits->message_ms,
        call->send_since_ms == 0 || limits->send_stall_ms == 0
            ? 0
            : call->send_since_ms + limits->send_stall_ms,
    };
    for (size_t i = 0; i < sizeof late / sizeof *late; i++) {
        if (late[i] > now_ms && late[i] < *next_ms) {
            *next_ms = late[i];
        }
    }
    if (late[0] != 0 && now_ms >= late[0]) {
        call_end(call, GRPC_DEADLINE_EXCEEDED, "the call's deadline has passed");
    }
    if (late[1] != 0 && now_ms >= late[1]) {
        conn_bite(call->conn, GRPC_LIMIT_message_ms);
        call_end(call, GRPC_DEADLINE_EXCEEDED,
                 "a message was not complete within message_ms (%u ms)", limits->message_ms);
    }
    if (late[2] != 0 && now_ms >= late[2]) {
        conn_bite(call->conn, GRPC_LIMIT_send_stall_ms);
        call_end_hard(call, GRPC_UNAVAILABLE, "the peer took nothing within send_stall_ms (%u ms)",
                      limits->send_stall_ms);
    }
}
