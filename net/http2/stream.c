// SPDX-License-Identifier: Apache-2.0
#include "net/http2/stream.h"

#include <string.h>

#include "base/log.h"
#include "net/http2/conn_impl.h"

uint64_t h2_stream_now(const struct h2_stream *stream)
{
    return h2_conn_now(stream->conn);
}

void h2_stream_due(struct h2_stream *stream, uint64_t at_ms)
{
    h2_conn_due(stream->conn, at_ms);
}

void h2_stream_wake(struct h2_stream *stream)
{
    if (!list_is_linked(&stream->ready_link)) {
        list_push(&stream->conn->ready, &stream->ready_link);
    }
    h2_conn_wake(stream->conn);
}

void h2_stream_join(struct h2_stream *stream, struct h2_conn *conn)
{
    stream->conn = conn;
    list_push(&conn->streams, &stream->link);
    conn->num_streams++;
    conn->idle_since_ms = 0;
}

void h2_stream_release(struct h2_stream *stream)
{
    struct h2_conn *conn = stream->conn;
    invariant(stream->receiving == H2_RECEIVING_GONE);
    list_remove(&stream->ready_link);
    list_remove(&stream->link);
    list_push(&conn->released, &stream->link);
    if (--conn->num_streams == 0 && conn->is_server) {
        conn->idle_since_ms = h2_conn_now(conn);
        if (conn->limits.idle_ms > 0) {
            h2_conn_due(conn, conn->idle_since_ms + conn->limits.idle_ms);
        }
    }
    h2_conn_wake(conn);
}

// Turns headers into nghttp2's array, which borrows all text, and returns how many there are.
static size_t fill_nv(nghttp2_nv out[H2_HEADERS_MAX], const struct h2_header *headers, size_t num)
{
    size_t num_out = 0;
    invariant(num <= H2_HEADERS_MAX);
    for (size_t i = 0; i < num; i++) {
        if (headers[i].value != NULL) {
            // nghttp2 copies both, and the struct's pointers only lack a const.
            out[num_out++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)headers[i].name,
                                          .namelen = strlen(headers[i].name),
                                          .value = (uint8_t *)(uintptr_t)headers[i].value,
                                          .valuelen = strlen(headers[i].value)};
        }
    }
    return num_out;
}

bool h2_stream_request(struct h2_stream *stream, struct h2_conn *conn,
                       const struct h2_header *headers, size_t num)
{
    nghttp2_nv nv[H2_HEADERS_MAX];
    size_t num_nv = fill_nv(nv, headers, num);
    invariant(h2_conn_takes_streams(conn));
    int32_t id = nghttp2_submit_request(conn->session, NULL, nv, num_nv, &h2_data_provider, stream);
    if (id < 0) {
        invariant(id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE);
        return false;
    }
    stream->id = id;
    stream->sending = H2_SENDING_BODY;
    h2_stream_join(stream, conn);
    h2_conn_wake(conn);
    return true;
}

static void end_sending(struct h2_stream *stream)
{
    stream->sending = H2_SENDING_OVER;
    stream->send_since_ms = 0;
}

void h2_stream_send_headers(struct h2_stream *stream, const struct h2_header *headers, size_t num,
                            bool is_last)
{
    nghttp2_nv nv[H2_HEADERS_MAX];
    size_t num_nv = fill_nv(nv, headers, num);
    invariant(stream->conn->is_server && stream->sending == H2_SENDING_HEADERS);
    int rv = nghttp2_submit_response(stream->conn->session, stream->id, nv, num_nv,
                                     is_last ? NULL : &h2_data_provider);
    invariant(rv == 0);
    stream->sending = H2_SENDING_BODY;
    if (is_last) {
        end_sending(stream);
    }
    h2_conn_wake(stream->conn);
}

void h2_stream_send_trailers(struct h2_stream *stream, const struct h2_header *headers, size_t num)
{
    nghttp2_nv nv[H2_HEADERS_MAX];
    size_t num_nv = fill_nv(nv, headers, num);
    int rv = nghttp2_submit_trailer(stream->conn->session, stream->id, nv, num_nv);
    invariant(rv == 0);
    end_sending(stream);
}

void h2_stream_offer(struct h2_stream *stream)
{
    struct h2_conn *conn = stream->conn;
    if (stream->receiving == H2_RECEIVING_GONE || stream->sending == H2_SENDING_OVER) {
        return;
    }
    if (stream->send_since_ms == 0) {
        stream->send_since_ms = h2_conn_now(conn); // starts the clock of send_stall_ms
        if (conn->limits.send_stall_ms > 0) {
            h2_conn_due(conn, stream->send_since_ms + conn->limits.send_stall_ms);
        }
    }
    if (stream->is_deferred) {
        stream->is_deferred = false;
        nghttp2_session_resume_data(conn->session, stream->id);
    }
    h2_conn_wake(conn);
}

void h2_stream_finish(struct h2_stream *stream)
{
    if (stream->sending < H2_SENDING_CLOSING) {
        stream->sending = H2_SENDING_CLOSING;
        h2_stream_offer(stream);
    }
}

void h2_stream_write(struct h2_stream *stream, const uint8_t *bytes, size_t len)
{
    invariant(len <= stream->taking_len);
    stream->taking_len -= len;
    transport_write(&stream->conn->transport, bytes, len);
}

void h2_stream_consume(struct h2_stream *stream, size_t len)
{
    if (stream->receiving != H2_RECEIVING_GONE) {
        nghttp2_session_consume_stream(stream->conn->session, stream->id, len);
        h2_conn_wake(stream->conn);
    }
}

// nghttp2 may keep the stream, or a request that it has not sent, for longer than its user does.
void h2_stream_forget(struct h2_stream *stream)
{
    nghttp2_session_set_stream_user_data(stream->conn->session, stream->id, NULL);
    stream->receiving = H2_RECEIVING_GONE;
    stream->send_since_ms = 0;
}

void h2_stream_leave(struct h2_stream *stream, uint32_t code)
{
    if (stream->receiving != H2_RECEIVING_GONE) {
        bool is_over = stream->receiving == H2_RECEIVING_DONE && stream->sending == H2_SENDING_OVER;
        h2_stream_forget(stream);
        if (!is_over) {
            nghttp2_submit_rst_stream(stream->conn->session, NGHTTP2_FLAG_NONE, stream->id, code);
        }
        h2_conn_wake(stream->conn);
    }
}

void h2_stream_close(struct h2_stream *stream, enum h2_close_kind kind, uint32_t code,
                     const char *why)
{
    bool is_unsent = !stream->conn->is_server && !stream->is_sent;
    const struct h2_close close = {.kind = kind,
                                   .code = code,
                                   .why = why,
                                   .is_unprocessed =
                                       kind == H2_CLOSE_STREAM
                                           ? !stream->conn->is_server && code == H2_REFUSED_STREAM
                                           : is_unsent};
    h2_stream_forget(stream);
    stream->hooks->on_close(stream, &close);
}
