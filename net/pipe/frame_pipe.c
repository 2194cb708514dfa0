// SPDX-License-Identifier: Apache-2.0
#include "net/pipe/frame_pipe.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"

#define READ_BYTES     65536
#define QUEUE_KEPT_MAX 65536 // the room that an empty queue keeps for the next frames

static void gone(struct frame_pipe *pipe, bool is_eof, const char *why)
{
    if (pipe->is_open) {
        frame_pipe_close(pipe);
        pipe->spec.on_gone(pipe->spec.ctx, is_eof, why);
    }
}

static bool on_frame(void *ctx, const uint8_t *body, size_t body_len, struct err *err)
{
    struct frame_pipe *pipe = ctx;
    // When the hook closes the pipe the frames that follow are nobody's.
    return pipe->spec.on_frame(pipe->spec.ctx, body, body_len, err) && pipe->is_open;
}

static void on_alloc(uv_handle_t *handle, size_t suggested_len, uv_buf_t *out_buf)
{
    (void)handle;
    (void)suggested_len;
    *out_buf = uv_buf_init(must_have(malloc(READ_BYTES)), READ_BYTES);
}

static void on_end(struct frame_pipe *pipe, int error)
{
    struct err err = {0};
    bool is_eof = error == UV_EOF || error == UV_ECONNRESET;
    if (!is_eof) {
        err_set(&err, "%s", uv_strerror(error));
    } else if (pipe->reader.bytes_len > 0) {
        err_set(&err, "closed by the other end in the middle of a frame");
    } else {
        err_set(&err, "closed by the other end");
    }
    gone(pipe, is_eof, err.text);
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct frame_pipe *pipe = stream->data;
    struct err err = {0};
    if (len < 0) {
        on_end(pipe, (int)len);
    } else if (len > 0 && !frame_reader_push(&pipe->reader, (const uint8_t *)buf->base, (size_t)len,
                                             on_frame, pipe, &err)) {
        gone(pipe, false, err.text);
    }
    free(buf->base);
}

static void on_written(uv_write_t *req, int status)
{
    struct frame_pipe *pipe = req->handle->data;
    bytes_cleanup(&pipe->writing);
    if (status == 0) {
        frame_pipe_flush(pipe);
    } else if (status != UV_ECANCELED) { // that is our own frame_pipe_close
        gone(pipe, status == UV_EPIPE || status == UV_ECONNRESET, uv_strerror(status));
    }
}

// Gives the kernel what it takes of the queue, and libuv the rest.
static void queue_write(struct frame_pipe *pipe)
{
    uv_stream_t *stream = (uv_stream_t *)&pipe->pipe;
    if (pipe->writing.len > 0 || pipe->queue.len == 0) {
        return;
    }
    uv_buf_t buf = uv_buf_init((char *)pipe->queue.at, (unsigned)pipe->queue.len);
    int taken = uv_try_write(stream, &buf, 1); // an error comes back from uv_write, in its callback
    if (taken == (int)buf.len) {
        pipe->queue.len = 0;
        if (pipe->queue.cap > QUEUE_KEPT_MAX) {
            bytes_cleanup(&pipe->queue);
        }
        return;
    }
    pipe->writing = pipe->queue;
    pipe->queue = (struct bytes){0};
    if (taken > 0) {
        buf.base += taken;
        buf.len -= (size_t)taken;
    }
    invariant(uv_write(&pipe->write, stream, &buf, 1, on_written) == 0);
}

static void set_reading(struct frame_pipe *pipe)
{
    size_t unsent = frame_pipe_unsent(pipe);
    uv_stream_t *stream = (uv_stream_t *)&pipe->pipe;
    if (pipe->is_paused && unsent == 0) {
        pipe->is_paused = false;
        invariant(uv_read_start(stream, on_alloc, on_read) == 0);
    } else if (!pipe->is_paused && pipe->spec.unsent_bytes_pause > 0 &&
               unsent > pipe->spec.unsent_bytes_pause) {
        pipe->is_paused = true;
        uv_read_stop(stream);
    }
}

void frame_pipe_flush(struct frame_pipe *pipe)
{
    if (pipe->is_open) {
        queue_write(pipe);
        set_reading(pipe);
    }
}

static void on_turn_end(uv_prepare_t *prepare)
{
    uv_prepare_stop(prepare);
    frame_pipe_flush(prepare->data);
}

bool frame_pipe_init(struct frame_pipe *pipe, uv_loop_t *loop, int fd,
                     const struct frame_pipe_spec *spec, struct err *err)
{
    *pipe = (struct frame_pipe){.spec = *spec,
                                .reader = {.frame_bytes_max = spec->in_bytes_max},
                                .is_open = true,
                                .handles_open = 2};
    uv_stream_t *stream = (uv_stream_t *)&pipe->pipe;
    invariant(uv_pipe_init(loop, &pipe->pipe, 0) == 0);
    invariant(uv_prepare_init(loop, &pipe->turn_end) == 0);
    pipe->pipe.data = pipe;
    pipe->turn_end.data = pipe;
    int error = uv_pipe_open(&pipe->pipe, fd);
    if (error != 0) {
        close(fd);
    } else if (!uv_is_readable(stream) || !uv_is_writable(stream)) {
        error = UV_EBADF;
    } else {
        error = uv_read_start(stream, on_alloc, on_read);
    }
    if (error != 0) {
        frame_pipe_close(pipe);
        return err_set(err, "%s", uv_strerror(error));
    }
    return true;
}

uint8_t *frame_pipe_push(struct frame_pipe *pipe, size_t body_len, struct err *err)
{
    size_t unsent = frame_pipe_unsent(pipe);
    if (!pipe->is_open) {
        err_set(err, "closed");
        return NULL;
    }
    if (body_len > pipe->spec.out_bytes_max) {
        err_set(err, "a message of %zu bytes is over the limit of %zu", body_len,
                pipe->spec.out_bytes_max);
        return NULL;
    }
    if (unsent + FRAME_PREFIX_LEN + body_len > pipe->spec.unsent_bytes_max) {
        err_set(err, "the other end doesn't read what it is sent: %zu bytes wait", unsent);
        return NULL;
    }
    uint8_t *place = bytes_extend(&pipe->queue, FRAME_PREFIX_LEN + body_len);
    frame_prefix_write(place, (uint32_t)body_len);
    uv_prepare_start(&pipe->turn_end, on_turn_end);
    return place + FRAME_PREFIX_LEN;
}

size_t frame_pipe_unsent(const struct frame_pipe *pipe)
{
    return pipe->queue.len + (pipe->writing.len > 0
                                  ? uv_stream_get_write_queue_size((const uv_stream_t *)&pipe->pipe)
                                  : 0);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct frame_pipe *pipe = handle->data;
    if (--pipe->handles_open > 0) {
        return;
    }
    frame_reader_cleanup(&pipe->reader);
    bytes_cleanup(&pipe->queue);
    bytes_cleanup(&pipe->writing);
    if (pipe->spec.on_closed != NULL) {
        pipe->spec.on_closed(pipe->spec.ctx);
    }
}

void frame_pipe_close(struct frame_pipe *pipe)
{
    if (pipe->is_open) {
        pipe->is_open = false;
        uv_close((uv_handle_t *)&pipe->turn_end, on_handle_closed);
        uv_close((uv_handle_t *)&pipe->pipe, on_handle_closed);
    }
}
