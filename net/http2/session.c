// SPDX-License-Identifier: Apache-2.0
#include "net/http2/conn.h"

#include <string.h>

enum { CREDIT_PER_FRAME_SENT = 4 }; // two WINDOW_UPDATEs, a PING that measures, and one to spare

// A peer may send so many frames that carry no message (floods: CVE-2019-9512, -9514, -9515,
// CVE-2023-44487).
static void count_control_frame(struct grpc_conn *conn)
{
    uint64_t now = conn_now(conn);
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
        conn_bite(conn, GRPC_LIMIT_control_frames_burst);
        conn_fail(conn, NGHTTP2_ENHANCE_YOUR_CALM,
                  "more frames without a message than control_frames_burst (%u) allows",
                  conn->limits.control_frames_burst);
        return;
    }
    conn->control_tokens--;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
    (void)session;
    struct grpc_conn *conn = ctx;
    bool is_message =
        (hd->type == NGHTTP2_DATA && (hd->length > 0 || (hd->flags & NGHTTP2_FLAG_END_STREAM))) ||
        hd->type == NGHTTP2_HEADERS || hd->type == NGHTTP2_CONTINUATION ||
        hd->type == NGHTTP2_GOAWAY;
    bool is_answer = (hd->type == NGHTTP2_PING || hd->type == NGHTTP2_SETTINGS) &&
                     (hd->flags & NGHTTP2_FLAG_ACK);
    if (!is_message && !is_answer) {
        count_control_frame(conn);
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct grpc_conn *conn = ctx;
    if (!conn->is_server || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    // Calls whose stream is closed but whose user is slow count here, though not for HTTP/2.
    if (conn->num_calls >= 2 * conn->limits.streams_max) {
        conn_bite(conn, GRPC_LIMIT_streams_max);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    struct grpc_call *call = call_new(conn, true);
    if (call == NULL) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    call->stream_id = frame->hd.stream_id;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *ctx)
{
    (void)flags;
    (void)ctx;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (call != NULL) {
        call_take_header(call, (const char *)name, name_len, (const char *)value, value_len);
    }
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
                         const uint8_t *bytes, size_t len, void *ctx)
{
    (void)flags;
    (void)ctx;
    // The connection's window is given back at once, so that a paused call stops nobody else.
    nghttp2_session_consume_connection(session, len);
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call != NULL) {
        call_take_bytes(call, bytes, len);
    } else {
        nghttp2_session_consume_stream(session, stream_id, len);
    }
    return 0;
}

// Takes a GOAWAY's reason, unless there is an earlier one: theirs, or ours, where nghttp2 puts what
// the peer did wrong.
static void take_goaway_reason(struct grpc_conn *conn, const char *who,
                               const nghttp2_goaway *goaway)
{
    char debug[96] = "";
    size_t len =
        goaway->opaque_data_len < sizeof debug - 1 ? goaway->opaque_data_len : sizeof debug - 1;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = goaway->opaque_data[i];
        debug[i] = c >= 0x20 && c <= 0x7e ? (char)c : '?';
    }
    if (goaway->error_code != NGHTTP2_NO_ERROR) {
        conn_reason(conn, "%s%s%s%s", who, nghttp2_http2_strerror(goaway->error_code),
                    len > 0 ? " " : "", debug);
    }
}

static void on_ping_answer(struct grpc_conn *conn)
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
    struct grpc_conn *conn = ctx;
    bool is_end_stream = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct grpc_call *call =
        frame->hd.stream_id == 0
            ? NULL
            : nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (call != NULL) {
            call_take_headers_end(call, is_end_stream);
        }
        break;
    case NGHTTP2_DATA:
        if (call != NULL && is_end_stream) {
            call_take_end_stream(call);
        }
        break;
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK) && !conn->is_open) {
            conn->is_open = true;
            conn->has_open_news = true;
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
        conn_goes_away(conn);
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
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (call != NULL) {
        call_take_close(call, error_code);
    }
    return 0;
}

static void on_goaway_sent(struct grpc_conn *conn, const nghttp2_goaway *goaway)
{
    take_goaway_reason(conn, "the peer broke HTTP/2: ", goaway);
    // A shutdown's first one: when the PING behind it is answered, no more calls are on their way
    // to us.
    if (conn->shutdown_since_ms != 0) {
        nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL);
    }
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct grpc_conn *conn = ctx;
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
    int32_t id = frame->hd.stream_id;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, id);
    if (call != NULL) {
        call->is_request_sent = true;
    }
    // The client needn't send the rest when the answer is complete (RFC 9113, section 8.1).
    if (conn->is_server && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        nghttp2_session_get_stream_remote_close(session, id) == 0) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
    }
    return 0;
}

// A request that nghttp2 could not send has no stream and so no on_stream_close.
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error,
                             void *ctx)
{
    (void)session;
    struct grpc_conn *conn = ctx;
    if (frame->hd.type != NGHTTP2_HEADERS) {
        return 0;
    }
    for (struct grpc_call *call = conn->calls; call != NULL; call = call->next) {
        if (call->stream_id == frame->hd.stream_id && !call->has_status) {
            call->is_unprocessed = !call->is_server && !call->is_request_sent;
            call_end_hard(call, call->is_server ? GRPC_INTERNAL : GRPC_UNAVAILABLE,
                          "headers were not sent: %s", nghttp2_strerror(error));
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
    conn_reason(ctx, "the peer broke HTTP/2: %s", nghttp2_strerror(error));
    return 0;
}

static ssize_t on_pull(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t len,
                       uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
    (void)source;
    (void)ctx;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    return call == NULL ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : call_pull(call, buf, len, flags);
}

const nghttp2_data_provider conn_data_provider = {.read_callback = on_pull};

static nghttp2_session_callbacks *make_callbacks(void)
{
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return NULL;
    }
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    return callbacks;
}

// nghttp2's own limits stay: 8 CONTINUATION frames (CVE-2024-28182), 1000 RST_STREAMs and then 33 a
// second (CVE-2023-44487), 1000 answers to PING and SETTINGS that the peer doesn't read
// (CVE-2019-9512).
static nghttp2_option *make_option(void)
{
    nghttp2_option *option = NULL;
    if (nghttp2_option_new(&option) != 0) {
        return NULL;
    }
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option,
                                         1); // they are kept for priorities, which gRPC has not
    return option;
}

static int submit_settings(struct grpc_conn *conn)
{
    const nghttp2_settings_entry common[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, conn->limits.window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, conn->limits.header_bytes_max},
        conn->is_server ? (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                                   conn->limits.streams_max}
                        : (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    int rv = nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, common,
                                     sizeof common / sizeof *common);
    int32_t window =
        conn->limits.window_bytes < (1u << 30) ? (int32_t)conn->limits.window_bytes * 2 : INT32_MAX;
    return rv != 0 ? rv
                   : nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0,
                                                           window < 65535 ? 65535 : window);
}

bool conn_session_new(struct grpc_conn *conn, struct err *err)
{
    nghttp2_session_callbacks *callbacks = make_callbacks();
    nghttp2_option *option = make_option();
    int rv = NGHTTP2_ERR_NOMEM;
    if (callbacks != NULL && option != NULL) {
        rv = conn->is_server ? nghttp2_session_server_new2(&conn->session, callbacks, conn, option)
                             : nghttp2_session_client_new2(&conn->session, callbacks, conn, option);
    }
    if (rv == 0) {
        rv = submit_settings(conn);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return rv == 0 || err_set(err, "nghttp2: %s", nghttp2_strerror(rv));
}
