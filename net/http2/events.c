// SPDX-License-Identifier: Apache-2.0
#include "net/http2/conn_impl.h"

#include <string.h>

#include "base/log.h"

enum {
    CREDIT_PER_FRAME_SENT = 4, // two WINDOW_UPDATEs, a PING that measures, and one to spare
    HEADER_OVERHEAD = 32,      // of a header in a list's size: RFC 9113, section 6.5.2
    FRAME_HEADER_LEN = 9,      // RFC 9113, section 4.1
};

// Limits the frames that carry no message, of which floods consist (CVE-2019-9512, -9514, -9515,
// CVE-2023-44487).
static void count_control_frame(struct h2_conn *conn)
{
    uint64_t now = h2_conn_now(conn);
    uint64_t gained =
        (now - conn->control_refill_ms) * conn->limits.control_frames_per_second / 1000;
    if (gained > 0) {
        uint64_t tokens = conn->control_tokens + gained;
        conn->control_tokens = tokens < conn->limits.control_frames_burst
                                   ? (uint32_t)tokens
                                   : conn->limits.control_frames_burst;
        conn->control_refill_ms = now;
    }
    if (conn->control_tokens == 0) {
        h2_conn_bite(conn, H2_LIMIT_control_frames_burst);
        h2_conn_fail(conn, NGHTTP2_ENHANCE_YOUR_CALM,
                     "more frames without a message than control_frames_burst (%u) allows",
                     conn->limits.control_frames_burst);
        return;
    }
    conn->control_tokens--;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
    (void)session;
    struct h2_conn *conn = ctx;
    bool is_message =
        (hd->type == NGHTTP2_DATA && (hd->length > 0 || (hd->flags & NGHTTP2_FLAG_END_STREAM))) ||
        hd->type == NGHTTP2_HEADERS || hd->type == NGHTTP2_GOAWAY;
    bool is_answer = (hd->type == NGHTTP2_PING || hd->type == NGHTTP2_SETTINGS) &&
                     (hd->flags & NGHTTP2_FLAG_ACK);
    if (!is_message && !is_answer) {
        count_control_frame(conn);
    }
    return 0;
}

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return id == 0 ? NULL : nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_conn *conn = ctx;
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    conn->list_bytes = 0;
    if (stream != NULL) {
        stream->list_bytes = 0;
    }
    if (!conn->is_server || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    // Streams that are closed but whose user is slow count here, though not for HTTP/2.
    if (conn->num_streams >= 2 * conn->limits.streams_max) {
        h2_conn_bite(conn, H2_LIMIT_streams_max);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    stream = conn->is_abandoned || conn->hooks->on_request == NULL
                 ? NULL
                 : conn->hooks->on_request(conn->owner, conn);
    if (stream == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    stream->id = frame->hd.stream_id;
    h2_stream_join(stream, conn);
    nghttp2_session_set_stream_user_data(session, stream->id, stream);
    return 0;
}

static void take_status(struct h2_stream *stream, const uint8_t *value)
{
    // nghttp2 has seen three digits.
    stream->status =
        (unsigned)(value[0] - '0') * 100 + (unsigned)(value[1] - '0') * 10 + (value[2] - '0');
}

// Says whether the list is an informational (1xx) answer, behind which the real one is still to
// come.
static bool is_informational(const struct h2_stream *stream)
{
    return !stream->conn->is_server && stream->receiving == H2_RECEIVING_HEADERS &&
           stream->status < 200;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *ctx)
{
    struct h2_conn *conn = ctx;
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    (void)flags;
    // A few bytes of HPACK may stand for many (RFC 7541, section 7.3), and each costs time.
    conn->list_bytes += (uint32_t)(name_len + value_len + HEADER_OVERHEAD);
    if (conn->list_bytes > conn->limits.list_bytes_max) {
        h2_conn_bite(conn, H2_LIMIT_list_bytes_max);
        h2_conn_fail(conn, NGHTTP2_ENHANCE_YOUR_CALM,
                     "a header list of more than list_bytes_max (%u)", conn->limits.list_bytes_max);
        conn->is_deaf = true;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (stream == NULL) {
        return 0;
    }
    if (!conn->is_server && name_len == 7 && memcmp(name, ":status", 7) == 0) {
        take_status(stream, value);
    } else if (stream->list_bytes + name_len + value_len + HEADER_OVERHEAD >
               conn->limits.header_bytes_max) {
        if (!stream->is_list_too_large) {
            h2_conn_bite(conn, H2_LIMIT_header_bytes_max);
        }
        stream->is_list_too_large = true;
    } else if (!is_informational(stream)) {
        stream->list_bytes += (uint32_t)(name_len + value_len + HEADER_OVERHEAD);
        stream->hooks->on_header(stream, (const char *)name, name_len, (const char *)value,
                                 value_len);
    }
    return 0;
}

static void take_end(struct h2_stream *stream)
{
    if (stream->receiving != H2_RECEIVING_GONE) { // the hook before may have left it
        stream->receiving = H2_RECEIVING_DONE;
        stream->hooks->on_end(stream);
    }
}

static void take_headers(struct h2_stream *stream, bool is_end_stream)
{
    if (is_informational(stream)) {
        return;
    }
    bool is_trailers = stream->receiving != H2_RECEIVING_HEADERS;
    stream->receiving = is_end_stream ? H2_RECEIVING_DONE : H2_RECEIVING_BODY;
    stream->hooks->on_headers(stream, is_trailers);
    if (is_end_stream) {
        take_end(stream);
    }
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                         const uint8_t *bytes, size_t len, void *ctx)
{
    (void)flags;
    (void)ctx;
    // The connection's window is given back at once, so that a stream that nobody reads stops
    // nobody else.
    nghttp2_session_consume_connection(session, len);
    struct h2_stream *stream = stream_of(session, stream_id);
    if (stream != NULL) {
        stream->hooks->on_data(stream, bytes, len);
    } else {
        nghttp2_session_consume_stream(session, stream_id, len);
    }
    return 0;
}

// Takes a GOAWAY's reason, unless there is an earlier one: theirs, or ours, where nghttp2 puts what
// the peer did wrong.
static void take_goaway_reason(struct h2_conn *conn, const char *who, const nghttp2_goaway *goaway)
{
    char debug[96] = "";
    size_t len =
        goaway->opaque_data_len < sizeof debug - 1 ? goaway->opaque_data_len : sizeof debug - 1;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = goaway->opaque_data[i];
        debug[i] = c >= 0x20 && c <= 0x7e ? (char)c : '?';
    }
    if (goaway->error_code != NGHTTP2_NO_ERROR) {
        h2_conn_reason(conn, "%s%s%s%s", who, nghttp2_http2_strerror(goaway->error_code),
                       len > 0 ? " " : "", debug);
    }
}

static void on_ping_answer(struct h2_conn *conn)
{
    conn->ping_since_ms = 0;
    if (conn->shutdown_since_ms != 0) {
        conn->shutdown_since_ms = 0;
        nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(conn->session),
                              NGHTTP2_NO_ERROR, NULL, 0);
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_conn *conn = ctx;
    bool is_end_stream = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (stream != NULL) {
            take_headers(stream, is_end_stream);
        }
        break;
    case NGHTTP2_DATA:
        if (stream != NULL && is_end_stream) {
            take_end(stream);
        }
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK) && !conn->is_open) {
            conn->is_open = true;
            conn->opening_since_ms = 0;
        }
        break;
    case NGHTTP2_PING:
        if (frame->hd.flags & NGHTTP2_FLAG_ACK) {
            on_ping_answer(conn);
        }
        break;
    case NGHTTP2_GOAWAY:
        take_goaway_reason(conn, "the peer sent GOAWAY ", &frame->goaway);
        h2_conn_leave(conn);
        break;
    default:
        break;
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *ctx)
{
    (void)ctx;
    struct h2_stream *stream = stream_of(session, stream_id);
    if (stream != NULL) {
        h2_stream_close(stream, H2_CLOSE_STREAM, error_code, nghttp2_http2_strerror(error_code));
    }
    return 0;
}

static void on_goaway_sent(struct h2_conn *conn, const nghttp2_goaway *goaway)
{
    take_goaway_reason(conn, "the peer broke HTTP/2: ", goaway);
    // A shutdown's first one: when the PING behind it is answered, no more streams are on their
    // way to us.
    if (conn->shutdown_since_ms != 0) {
        nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL);
    }
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2_conn *conn = ctx;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        on_goaway_sent(conn, &frame->goaway);
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
        return 0;
    }
    conn->control_tokens += CREDIT_PER_FRAME_SENT;
    if (conn->control_tokens > conn->limits.control_frames_burst) {
        conn->control_tokens = conn->limits.control_frames_burst;
    }
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    if (stream != NULL) {
        stream->is_sent = true;
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && stream->hooks->on_finished != NULL) {
            stream->hooks->on_finished(stream);
        }
    }
    return 0;
}

// nghttp2 has no stream for a request that it could not send, and so on_stream_close doesn't come.
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error,
                             void *ctx)
{
    (void)session;
    struct h2_conn *conn = ctx;
    if (frame->hd.type != NGHTTP2_HEADERS) {
        return 0;
    }
    for (struct list *link = conn->streams.next; link != &conn->streams; link = link->next) {
        struct h2_stream *stream = LIST_OF(link, struct h2_stream, link);
        if (stream->id == frame->hd.stream_id && stream->receiving != H2_RECEIVING_GONE) {
            h2_stream_leave(stream, H2_CANCEL);
            h2_stream_close(stream, H2_CLOSE_UNSENT, H2_NO_ERROR, nghttp2_strerror(error));
            break;
        }
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
                            void *ctx)
{
    (void)session;
    (void)frame;
    h2_conn_reason(ctx, "the peer broke HTTP/2: %s", nghttp2_strerror(error));
    return 0;
}

// Says how many of the bytes that wait go into the next frame, which on_send_data then fills.
static ssize_t on_pull(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t len,
                       uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
    (void)buf;
    (void)source;
    struct h2_conn *conn = ctx;
    struct h2_stream *stream = stream_of(session, stream_id);
    if (stream == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    size_t waiting = stream->hooks->waiting(stream);
    size_t take = waiting < len ? waiting : len;
    stream->send_since_ms = waiting > take ? h2_conn_now(conn) : 0;
    if (take == waiting && stream->sending == H2_SENDING_CLOSING) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (stream->hooks->on_last != NULL && stream->hooks->on_last(stream)) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        }
        stream->sending = H2_SENDING_OVER;
    } else if (take == 0) {
        stream->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (take > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    }
    return (ssize_t)take;
}

const nghttp2_data_provider h2_data_provider = {.read_callback = on_pull};

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header,
                        size_t len, nghttp2_data_source *source, void *ctx)
{
    (void)source;
    struct h2_conn *conn = ctx;
    struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
    invariant(stream != NULL && frame->data.padlen == 0); // on_pull has just seen it
    transport_write(&conn->transport, header, FRAME_HEADER_LEN);
    stream->taking_len = len;
    stream->hooks->on_take(stream, len);
    invariant(stream->taking_len == 0);
    return transport_has_room(&conn->transport) ? 0 : NGHTTP2_ERR_PAUSE;
}

nghttp2_session_callbacks *h2_events_callbacks(void)
{
    nghttp2_session_callbacks *callbacks = NULL;
    invariant(nghttp2_session_callbacks_new(&callbacks) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
    return callbacks;
}
