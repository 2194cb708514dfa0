// SPDX-License-Identifier: Apache-2.0
#include "proxy/link/link.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { READ_BYTES = 64 << 10 };

static void gone(struct link *link, const char *why)
{
    if (link->is_open) {
        log_info("msg=\"link to the agent is gone\" cause=\"%s\"", why);
        link_close(link);
        link->on_gone(link->ctx);
    }
}

static bool on_frame(void *ctx, const uint8_t *body, size_t body_len, struct err *err)
{
    struct link *link = ctx;
    Tabard__V1__ToProxy *message = tabard__v1__to_proxy__unpack(NULL, body_len, body);
    if (message == NULL) {
        return err_set(err, "a frame of %zu bytes is no ToProxy message", body_len);
    }
    link->on_message(link->ctx, message);
    tabard__v1__to_proxy__free_unpacked(message, NULL);
    return true;
}

static void on_alloc(uv_handle_t *handle, size_t suggested_len, uv_buf_t *out_buf)
{
    (void)handle;
    (void)suggested_len;
    *out_buf = uv_buf_init(malloc(READ_BYTES), READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct link *link = stream->data;
    if (len > 0) {
        struct err err = {0};
        if (!frame_reader_push(&link->reader, (const uint8_t *)buf->base, (size_t)len, on_frame,
                               link, &err)) {
            gone(link, err.text);
        }
    } else if (len < 0) {
        gone(link, len == UV_EOF ? "closed by the agent" : uv_strerror((int)len));
    }
    free(buf->base);
}

static void flush_queue(struct link *link);

static void on_written(uv_write_t *req, int status)
{
    struct link *link = req->handle->data;
    free(link->writing);
    link->writing = NULL;
    if (status != 0) {
        gone(link, uv_strerror(status));
    } else {
        flush_queue(link);
    }
}

static void flush_queue(struct link *link)
{
    if (!link->is_open || link->writing != NULL || link->queue_len == 0) {
        return;
    }
    link->writing = link->queue;
    uv_buf_t buf = uv_buf_init((char *)link->queue, (unsigned)link->queue_len);
    link->queue = NULL;
    link->queue_len = 0;
    link->queue_cap = 0;
    int error = uv_write(&link->write, (uv_stream_t *)&link->pipe, &buf, 1, on_written);
    if (error != 0) {
        free(link->writing);
        link->writing = NULL;
        gone(link, uv_strerror(error));
    }
}

static void on_prepare(uv_prepare_t *prepare)
{
    flush_queue(prepare->data);
    uv_prepare_stop(prepare);
}

int link_init(struct link *link, uv_loop_t *loop, int fd, size_t frame_bytes_max,
              void (*on_message)(void *ctx, const Tabard__V1__ToProxy *message),
              void (*on_gone)(void *ctx), void *ctx)
{
    *link = (struct link){.reader = {.frame_bytes_max = frame_bytes_max},
                          .on_message = on_message,
                          .on_gone = on_gone,
                          .ctx = ctx};
    int error = uv_pipe_init(loop, &link->pipe, 0);
    if (error != 0) {
        return error;
    }
    uv_prepare_init(loop, &link->flush);
    link->pipe.data = link;
    link->flush.data = link;
    link->is_open = true;
    error = uv_pipe_open(&link->pipe, fd);
    if (error == 0) {
        error = uv_read_start((uv_stream_t *)&link->pipe, on_alloc, on_read);
    }
    if (error != 0) {
        link_close(link);
    }
    return error;
}

static void on_close(uv_handle_t *handle)
{
    struct link *link = handle->data;
    frame_reader_cleanup(&link->reader);
    free(link->queue);
    link->queue = NULL;
    link->queue_len = 0;
    link->queue_cap = 0;
}

void link_close(struct link *link)
{
    if (!link->is_open) {
        return;
    }
    link->is_open = false;
    uv_close((uv_handle_t *)&link->flush, NULL);
    uv_close((uv_handle_t *)&link->pipe, on_close);
}

static bool reserve(struct link *link, size_t more)
{
    size_t need = link->queue_len + more;
    if (need <= link->queue_cap) {
        return true;
    }
    size_t cap = need < 4096 ? 4096 : need * 2;
    uint8_t *grown = realloc(link->queue, cap);
    if (grown == NULL) {
        return false;
    }
    link->queue = grown;
    link->queue_cap = cap;
    return true;
}

bool link_send(struct link *link, const Tabard__V1__FromProxy *message)
{
    if (!link->is_open) {
        return false;
    }
    size_t body_len = tabard__v1__from_proxy__get_packed_size(message);
    if (link->queue_len + body_len > LINK_QUEUE_BYTES_MAX) {
        gone(link, "the agent takes no more messages");
        return false;
    }
    if (!reserve(link, FRAME_PREFIX_LEN + body_len)) {
        return false;
    }
    frame_prefix_write(link->queue + link->queue_len, (uint32_t)body_len);
    tabard__v1__from_proxy__pack(message, link->queue + link->queue_len + FRAME_PREFIX_LEN);
    link->queue_len += FRAME_PREFIX_LEN + body_len;
    if (!uv_is_active((const uv_handle_t *)&link->flush)) {
        uv_prepare_start(&link->flush, on_prepare);
    }
    return true;
}
