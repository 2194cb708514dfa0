// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/call_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/http2/conn.h"

void call_drop_queue(struct grpc_call *call)
{
    while (call->first != NULL) {
        struct send_item *item = call->first;
        call->first = item->next;
        free(item);
    }
    call->last = NULL;
    call->first_sent = 0;
    call->queued_bytes = 0;
    call->send_since_ms = 0;
}

void call_leave_stream(struct grpc_call *call, uint32_t error_code)
{
    if (!call->is_stream_closed) {
        call->is_stream_closed = true;
        nghttp2_session *session = call->conn->session;
        nghttp2_session_set_stream_user_data(session, call->stream_id, NULL);
        if (!call->is_remote_done || !call->is_sending_over) {
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id, error_code);
        }
        conn_wake(call->conn);
    }
    call_drop_queue(call);
}

static void add_nv(nghttp2_nv *nv, const char *name, size_t name_len, const char *value,
                   size_t value_len)
{
    // nghttp2 copies both, and the struct's pointers only lack a const.
    *nv = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                       .namelen = name_len,
                       .value = (uint8_t *)(uintptr_t)value,
                       .valuelen = value_len};
}

nghttp2_nv *call_nv(const char *const (*fixed)[2], size_t num_fixed,
                    const struct grpc_metadata *first, const struct grpc_metadata *second,
                    size_t *out_num)
{
    const struct grpc_metadata *lists[] = {first, second};
    size_t cap = num_fixed + (first != NULL ? first->num : 0) + (second != NULL ? second->num : 0);
    nghttp2_nv *nv = calloc(cap, sizeof *nv);
    if (nv == NULL) {
        return NULL;
    }
    size_t num = 0;
    for (size_t i = 0; i < num_fixed; i++) {
        if (fixed[i][1] != NULL) {
            add_nv(&nv[num++], fixed[i][0], strlen(fixed[i][0]), fixed[i][1], strlen(fixed[i][1]));
        }
    }
    for (size_t i = 0; i < 2; i++) {
        struct grpc_metadata_item item;
        for (size_t at = 0; lists[i] != NULL && grpc_metadata_next(lists[i], &at, &item);) {
            add_nv(&nv[num++], item.name, item.name_len, item.value, item.value_len);
        }
    }
    *out_num = num;
    return nv;
}

// A server's header lists: the response's, its trailers, or both in one (trailers-only).
static int submit(struct grpc_call *call, bool has_headers, bool has_trailers)
{
    char message[3 * GRPC_STATUS_MESSAGE_MAX];
    char http_status[12];
    char code[12];
    snprintf(http_status, sizeof http_status, "%u", call->http_status);
    snprintf(code, sizeof code, "%d", (int)call->code);
    grpc_message_encode(message, sizeof message, call->message != NULL ? call->message : "");
    const char *const fixed[][2] = {
        {":status", has_headers ? http_status : NULL},
        {"content-type", has_headers ? "application/grpc" : NULL},
        {"grpc-accept-encoding", has_headers ? "identity" : NULL},
        {"grpc-status", has_trailers ? code : NULL},
        {"grpc-message", has_trailers && call->message != NULL ? message : NULL},
    };
    size_t num = 0;
    nghttp2_nv *nv =
        call_nv(fixed, sizeof fixed / sizeof *fixed, has_headers ? &call->headers_out : NULL,
                has_trailers ? &call->trailers_out : NULL, &num);
    if (nv == NULL) {
        return NGHTTP2_ERR_NOMEM;
    }
    nghttp2_session *session = call->conn->session;
    int rv = has_headers ? nghttp2_submit_response(session, call->stream_id, nv, num,
                                                   has_trailers ? NULL : &conn_data_provider)
                         : nghttp2_submit_trailer(session, call->stream_id, nv, num);
    free(nv);
    if (rv == 0) {
        call->is_response_started = true;
        call->is_sending_over = call->is_sending_over || has_trailers;
        if (has_trailers) {
            call->send_since_ms = 0;
        }
    }
    return rv;
}

ssize_t call_pull(struct grpc_call *call, uint8_t *buf, size_t len, uint32_t *flags)
{
    size_t num = 0;
    while (call->first != NULL && num < len) {
        struct send_item *item = call->first;
        size_t left = item->len - call->first_sent;
        size_t take = left < len - num ? left : len - num;
        memcpy(buf + num, item->bytes + call->first_sent, take);
        num += take;
        call->first_sent += take;
        if (call->first_sent == item->len) {
            call->first = item->next;
            call->first_sent = 0;
            free(item);
        }
    }
    if (call->first == NULL) {
        call->last = NULL;
    }
    call->queued_bytes -= num;
    call->send_since_ms = call->queued_bytes > 0 ? conn_now(call->conn) : 0;
    if (call->was_full && call->queued_bytes <= call->conn->limits.send_queue_bytes_max / 2) {
        call->was_full = false;
        call->is_drained = true;
        conn_call_is_ready(call->conn, call);
    }
    if (call->first == NULL && call->is_sending_done) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (!call->is_server) {
            call->is_sending_over = true;
        } else {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            int rv = submit(call, false, true);
            return rv == 0 ? (ssize_t)num : NGHTTP2_ERR_CALLBACK_FAILURE;
        }
    } else if (num == 0) {
        call->is_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)num;
}

// Something to send is there: tells nghttp2, and starts the clock of the peer's patience.
static void offer(struct grpc_call *call)
{
    if (call->send_since_ms == 0) {
        call->send_since_ms = conn_now(call->conn);
        if (call->conn->limits.send_stall_ms > 0) {
            conn_due(call->conn, call->send_since_ms + call->conn->limits.send_stall_ms);
        }
    }
    if (call->is_deferred) {
        call->is_deferred = false;
        nghttp2_session_resume_data(call->conn->session, call->stream_id);
    }
    conn_wake(call->conn);
}

void grpc_call_send_headers(struct grpc_call *call)
{
    if (call->is_server && !call->is_response_started && !call->has_status) {
        if (submit(call, true, false) != 0) {
            call_end_hard(call, GRPC_RESOURCE_EXHAUSTED, "out of memory for headers");
        }
        conn_wake(call->conn);
    }
}

bool grpc_call_can_send(const struct grpc_call *call)
{
    return !call->has_status && !call->is_sending_done &&
           call->queued_bytes < call->conn->limits.send_queue_bytes_max;
}

bool grpc_call_send(struct grpc_call *call, const uint8_t *bytes, size_t len, struct err *err)
{
    if (call->has_status || call->is_sending_done) {
        return err_set(err, call->has_status ? "the call has ended" : "the call is half-closed");
    }
    if (!grpc_call_can_send(call)) {
        return err_set(err, "%zu bytes wait already, over send_queue_bytes_max (%u)",
                       call->queued_bytes, call->conn->limits.send_queue_bytes_max);
    }
    struct send_item *item = len > UINT32_MAX ? NULL : malloc(sizeof *item + GRPC_PREFIX_LEN + len);
    if (item == NULL) {
        return err_set(err, "no memory for a message of %zu bytes", len);
    }
    grpc_call_send_headers(call);
    item->next = NULL;
    item->len = GRPC_PREFIX_LEN + len;
    grpc_prefix_write(item->bytes, (uint32_t)len);
    if (len > 0) {
        memcpy(item->bytes + GRPC_PREFIX_LEN, bytes, len);
    }
    if (call->last != NULL) {
        call->last->next = item;
    } else {
        call->first = item;
    }
    call->last = item;
    call->queued_bytes += item->len;
    call->was_full = call->queued_bytes >= call->conn->limits.send_queue_bytes_max;
    offer(call);
    return true;
}

void grpc_call_half_close(struct grpc_call *call)
{
    if (!call->is_server && !call->is_sending_done && !call->has_status) {
        call->is_sending_done = true;
        offer(call);
    }
}

void grpc_call_finish(struct grpc_call *call, enum grpc_code code, const char *message)
{
    if (!call->is_server || call->has_status) {
        return;
    }
    if (call->headers_out.num > 0) {
        grpc_call_send_headers(call); // only trailers may be in a trailers-only answer
    }
    call_decide(call, code, message, true);
    call->is_sending_done = true;
    if (call->is_response_started) {
        offer(call);
    } else if (submit(call, true, true) != 0) {
        call_end_hard(call, GRPC_RESOURCE_EXHAUSTED, "out of memory for a status");
    }
    conn_call_is_ready(call->conn, call);
}
