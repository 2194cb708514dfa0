// SPDX-License-Identifier: Apache-2.0
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "net/grpc/call_impl.h"

struct grpc_call *call_new(struct grpc_conn *conn, const struct h2_stream_hooks *hooks)
{
    struct grpc_call *call = must_alloc(1, sizeof *call);
    call->stream.hooks = hooks;
    call->conn = conn;
    call->reader.message_bytes_max = conn->limits.message_bytes_max;
    return call;
}

void call_free(struct grpc_call *call)
{
    call_drop_queue(call);
    call_headers_cleanup(&call->headers);
    grpc_reader_cleanup(&call->reader);
    free(call->message);
    free(call);
}

void call_on_release(struct h2_stream *stream)
{
    call_free(call_of(stream));
}

void call_bite(struct grpc_call *call, enum grpc_limit limit)
{
    call->conn->bites->num[limit]++;
}

// Counts what the call's reader holds now against the connection's limit. false: the limit is
// passed.
static bool count_held(struct grpc_call *call)
{
    struct grpc_conn *conn = call->conn;
    conn->held_bytes += call->reader.bytes.cap - call->held_counted;
    call->held_counted = call->reader.bytes.cap;
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
    if (call->ending == CALL_GOES_ON) {
        call->ending = CALL_DECIDED;
        call->code = code;
        call->is_local = is_local;
        size_t len = message == NULL ? 0 : strnlen(message, GRPC_STATUS_MESSAGE_MAX - 1);
        if (len > 0) {
            call->message = must_alloc(len + 1, 1);
            memcpy(call->message, message, len);
        }
    }
}

void call_undecide(struct grpc_call *call)
{
    call->ending = CALL_GOES_ON;
    free(call->message);
    call->message = NULL;
}

void call_leave(struct grpc_call *call, uint32_t code)
{
    h2_stream_leave(&call->stream, code);
    call_drop_queue(call);
}

static void end_hard(struct grpc_call *call, enum grpc_code code, const char *message)
{
    if (call_is_server(call) && call->ending != CALL_ENDS_HARD) {
        call_undecide(call); // the client does not hear it
    }
    call_decide(call, code, message, true);
    call->ending = CALL_ENDS_HARD;
    call_leave(call, H2_CANCEL);
    h2_stream_wake(&call->stream);
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
    if (call_is_server(call)) {
        grpc_call_finish(call, code, message);
        drop_received(call);
    } else if (call->ending == CALL_GOES_ON) {
        end_hard(call, code, message);
    }
}

void call_on_data(struct h2_stream *stream, const uint8_t *bytes, size_t len)
{
    struct grpc_call *call = call_of(stream);
    if (call->ending != CALL_GOES_ON) { // nobody wants them any more
        h2_stream_consume(stream, len);
        return;
    }
    call->unconsumed += len;
    if (!grpc_reader_push(&call->reader, bytes, len)) {
        call_end(call, GRPC_RESOURCE_EXHAUSTED, "out of memory for a message");
    } else if (!count_held(call)) {
        call_bite(call, GRPC_LIMIT_held_bytes_max);
        call_end(call, GRPC_RESOURCE_EXHAUSTED,
                 "the connection's unfinished messages are over held_bytes_max (%u)",
                 call->conn->limits.held_bytes_max);
    }
    h2_stream_wake(stream);
}

// Ends a call whose bytes are no messages. A client's status may have come already behind them: it
// is worth nothing.
static void refuse_bytes(struct grpc_call *call, enum grpc_code code, const char *message)
{
    if (!call_is_server(call)) {
        call_undecide(call);
    }
    drop_received(call);
    call_end(call, code, "%s", message);
}

static void refuse_message(struct grpc_call *call, enum grpc_reader_result result, size_t len)
{
    char message[128];
    switch (result) {
    case GRPC_READER_TOO_LONG:
        call_bite(call, GRPC_LIMIT_message_bytes_max);
        snprintf(message, sizeof message,
                 "a message of %zu bytes is over the limit message_bytes_max (%u)", len,
                 call->conn->limits.message_bytes_max);
        refuse_bytes(call, GRPC_RESOURCE_EXHAUSTED, message);
        break;
    case GRPC_READER_COMPRESSED:
        if (call_is_server(call) && call->headers.has_encoding && !call->headers.is_identity) {
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
        h2_stream_consume(&call->stream, call->unconsumed - held);
        call->unconsumed = held;
    }
}

static bool wants_messages(const struct grpc_call *call)
{
    enum call_ending too_late = call_is_server(call) ? CALL_DECIDED : CALL_ENDS_HARD;
    return call->told < CALL_TOLD_END && !call->is_paused && call->ending < too_late;
}

static bool is_whole(const struct grpc_call *call)
{
    return call->stream.receiving >= H2_RECEIVING_DONE;
}

// Handles the bytes that are left and make no whole message.
static void check_rest(struct grpc_call *call)
{
    if (is_whole(call) && (call_is_server(call) || call->code == GRPC_OK || call->is_local)) {
        refuse_bytes(call, GRPC_INTERNAL, "the stream ended in the middle of a message");
    } else if (is_whole(call)) {
        drop_received(call); // the status says enough
    } else if (call->recv_since_ms == 0) {
        call->recv_since_ms = h2_stream_now(&call->stream);
        h2_stream_due(&call->stream, call->recv_since_ms + call->conn->limits.message_ms);
    }
}

static void deliver_messages(struct grpc_call *call)
{
    const uint8_t *body = NULL;
    size_t len = 0;
    enum grpc_reader_result result = GRPC_READER_MESSAGE;
    while (wants_messages(call) && result == GRPC_READER_MESSAGE) {
        result = grpc_reader_next(&call->reader, &body, &len);
        if (result == GRPC_READER_MESSAGE) {
            call->recv_since_ms = 0;
            if (call->hooks->on_message != NULL) {
                call->hooks->on_message(call, body, len);
            }
        } else if (result != GRPC_READER_MORE) {
            refuse_message(call, result, len);
        }
    }
    if (wants_messages(call) && grpc_reader_held(&call->reader) > 0) {
        check_rest(call);
    }
    count_held(call);
    give_back_window(call);
}

static void deliver_end(struct grpc_call *call)
{
    const struct grpc_status status = {.code = call->code,
                                       .message = call->message != NULL ? call->message : "",
                                       .is_local = call->is_local,
                                       .is_unprocessed = call->is_unprocessed};
    invariant(call->ending != CALL_GOES_ON && call->told < CALL_TOLD_END);
    call->told = CALL_TOLD_END;
    drop_received(call);
    h2_stream_release(&call->stream);
    if (call->hooks != NULL && call->hooks->on_end != NULL) {
        call->hooks->on_end(call, &status);
    }
}

void call_on_turn(struct h2_stream *stream)
{
    struct grpc_call *call = call_of(stream);
    if (call->told == CALL_TOLD_END) {
        return;
    }
    if (call_is_server(call) && call->told < CALL_TOLD_START &&
        stream->receiving > H2_RECEIVING_HEADERS) {
        call->told = CALL_TOLD_START;
        if (call->ending == CALL_GOES_ON) {
            call_route(call);
        }
    }
    deliver_messages(call);
    if (wants_messages(call) && call_is_server(call) && is_whole(call) &&
        call->told < CALL_TOLD_HALF_CLOSE) {
        call->told = CALL_TOLD_HALF_CLOSE;
        if (call->hooks->on_half_close != NULL) {
            call->hooks->on_half_close(call);
        }
    }
    if (call->room == CALL_DRAINED && call->told < CALL_TOLD_END) {
        call->room = CALL_HAS_ROOM;
        if (call->ending == CALL_GOES_ON && call->hooks->on_drained != NULL) {
            call->hooks->on_drained(call);
        }
    }
    bool has_all = !call_is_server(call) && is_whole(call) && grpc_reader_held(&call->reader) == 0;
    if (call->told < CALL_TOLD_END && call->ending != CALL_GOES_ON &&
        (call->ending == CALL_ENDS_HARD || has_all)) {
        deliver_end(call);
    }
}

// Says whether a time has come; if not, notes it in *next_ms if it is the nearest. 0: there is
// none.
static bool is_due(uint64_t at_ms, uint64_t now_ms, uint64_t *next_ms)
{
    if (at_ms != 0 && now_ms < at_ms && at_ms < *next_ms) {
        *next_ms = at_ms;
    }
    return at_ms != 0 && now_ms >= at_ms;
}

uint64_t call_on_time(struct h2_stream *stream, uint64_t now_ms)
{
    struct grpc_call *call = call_of(stream);
    uint32_t message_ms = call->conn->limits.message_ms;
    uint64_t next_ms = UINT64_MAX;
    if (is_due(call->ending == CALL_GOES_ON ? call->deadline_ms : 0, now_ms, &next_ms)) {
        call_end(call, GRPC_DEADLINE_EXCEEDED, "the call's deadline has passed");
    }
    if (is_due(call->recv_since_ms == 0 || message_ms == 0 ? 0 : call->recv_since_ms + message_ms,
               now_ms, &next_ms)) {
        call_bite(call, GRPC_LIMIT_message_ms);
        call_end(call, GRPC_DEADLINE_EXCEEDED,
                 "a message was not complete within message_ms (%u ms)", message_ms);
    }
    return next_ms;
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
        h2_stream_wake(&call->stream);
    }
}

const struct h2_peer *grpc_call_peer(const struct grpc_call *call)
{
    return h2_conn_peer(call->conn->h2);
}

uint64_t grpc_call_silent_ms(const struct grpc_call *call)
{
    return h2_conn_silent_ms(call->conn->h2);
}

void grpc_call_prove(struct grpc_call *call)
{
    grpc_conn_leave_strangers(call->conn);
}

void grpc_conn_leave_strangers(struct grpc_conn *conn)
{
    if (conn->service != NULL && conn->service->strangers != NULL) {
        strangers_leave(conn->service->strangers, &conn->stranger);
    }
}

struct grpc_conn *grpc_conn_new(void *owner, const struct grpc_limits *limits,
                                struct grpc_bites *bites)
{
    struct grpc_conn *conn = must_alloc(1, sizeof *conn);
    conn->owner = owner;
    conn->limits = *limits;
    conn->bites = bites;
    return conn;
}

static void drop_call(struct h2_stream *stream, void *ctx)
{
    struct grpc_call *call = call_of(stream);
    const struct grpc_status *status = ctx;
    end_hard(call, status->code, status->message);
    deliver_end(call);
}

void grpc_conn_abandon(struct grpc_conn *conn, enum grpc_code code, const char *why)
{
    struct grpc_status status = {.code = code, .message = why};
    list_remove(&conn->link);
    grpc_conn_leave_strangers(conn);
    conn->owner = NULL;
    h2_conn_abandon(conn->h2, drop_call, &status);
}

void grpc_conn_free(struct grpc_conn *conn)
{
    list_remove(&conn->link);
    free(conn);
}
