// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "net/grpc/call_impl.h"

// A message may hold a token.
static void free_item(struct send_item *item)
{
    explicit_bzero(item->bytes, item->len);
    free(item);
}

void call_drop_queue(struct grpc_call *call)
{
    while (call->first != NULL) {
        struct send_item *item = call->first;
        call->first = item->next;
        free_item(item);
    }
    call->last = NULL;
    call->first_sent = 0;
    call->queued_bytes = 0;
}

size_t call_waiting(const struct h2_stream *stream)
{
    return call_of(stream)->queued_bytes;
}

void call_on_take(struct h2_stream *stream, size_t len)
{
    struct grpc_call *call = call_of(stream);
    call->queued_bytes -= len;
    while (len > 0) {
        struct send_item *item = call->first;
        size_t left = item->len - call->first_sent;
        size_t take = left < len ? left : len;
        h2_stream_write(stream, item->bytes + call->first_sent, take);
        len -= take;
        call->first_sent += take;
        if (call->first_sent == item->len) {
            call->first = item->next;
            call->first_sent = 0;
            free_item(item);
        }
    }
    if (call->first == NULL) {
        call->last = NULL;
    }
    if (call->room == CALL_FULL &&
        call->queued_bytes <= call->conn->limits.send_queue_bytes_max / 2) {
        call->room = CALL_DRAINED;
        h2_stream_wake(stream);
    }
}

bool grpc_call_can_send(const struct grpc_call *call)
{
    return call->ending == CALL_GOES_ON && call->stream.sending < H2_SENDING_CLOSING &&
           call->queued_bytes < call->conn->limits.send_queue_bytes_max;
}

bool grpc_call_send(struct grpc_call *call, const uint8_t *bytes, size_t len, struct err *err)
{
    uint32_t queue_max = call->conn->limits.send_queue_bytes_max;
    if (call->ending != CALL_GOES_ON || call->stream.sending >= H2_SENDING_CLOSING) {
        return err_set(err, call->ending != CALL_GOES_ON ? "the call has ended"
                                                         : "the call is half-closed");
    }
    if (!grpc_call_can_send(call)) {
        return err_set(err, "%zu bytes wait already, over send_queue_bytes_max (%u)",
                       call->queued_bytes, queue_max);
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
    *(call->last != NULL ? &call->last->next : &call->first) = item;
    call->last = item;
    call->queued_bytes += item->len;
    if (call->queued_bytes >= queue_max) {
        call->room = CALL_FULL;
    }
    h2_stream_offer(&call->stream);
    return true;
}
