// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/side.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/log.h"

enum {
    KEEPALIVE_IDLE_SECONDS = 60,
    // Unacknowledged data older than this ends the connection (RFC 5482), and so does an unanswered
    // keep-alive probe, so that the probes' own number and interval need no setting.
    USER_TIMEOUT_MS = 120000,
};

void side_init(struct side *side, uv_loop_t *loop, struct pool *pool, void *owner,
               void (*on_change)(void *owner), void (*on_closed)(void *owner))
{
    uv_tcp_init(loop, &side->tcp);
    side->tcp.data = side;
    side->pool = pool;
    side->owner = owner;
    side->on_change = on_change;
    side->on_closed = on_closed;
    side->is_open = true;
    side->moved_ms = uv_now(loop);
}

static void record_error(struct side *side, int error)
{
    if (side->error == 0) {
        side->error = error;
    }
}

void side_set_socket_options(int fd)
{
    static const int on = 1;
    static const int idle = KEEPALIVE_IDLE_SECONDS;
    static const int user_timeout = USER_TIMEOUT_MS;
    // None of these can fail on a TCP socket in a way that would matter more than going on without.
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof user_timeout);
}

int side_accept(struct side *side, uv_stream_t *listener)
{
    int error = uv_accept(listener, (uv_stream_t *)&side->tcp);
    side->is_connected = error == 0;
    return error;
}

static void on_connect(uv_connect_t *req, int status)
{
    struct side *side = req->handle->data;
    if (status == 0) {
        side->is_connected = true;
    } else {
        record_error(side, status);
    }
    if (side->is_open) {
        side->on_change(side->owner);
    }
}

int side_connect(struct side *side, const struct addr *addr)
{
    struct sockaddr_storage sa;
    addr_to_sockaddr(addr, &sa);
    int error =
        uv_tcp_connect(&side->req.connect, &side->tcp, (const struct sockaddr *)&sa, on_connect);
    uv_os_fd_t fd;
    if (error == 0 && uv_fileno((const uv_handle_t *)&side->tcp, &fd) == 0) {
        side_set_socket_options(fd);
    }
    return error;
}

bool side_borrow(struct side *side, struct ring *ring)
{
    if (ring->bytes == NULL) {
        uint8_t *block = pool_borrow(side->pool);
        if (block == NULL) {
            side->is_out_of_buffers = true;
            return false;
        }
        ring_attach(ring, block);
    }
    return true;
}

void side_settle(struct side *side, struct ring *ring)
{
    if (ring->bytes != NULL && ring->len == 0) {
        pool_give_back(side->pool, ring_detach(ring));
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested_len, uv_buf_t *out_buf)
{
    struct side *side = handle->data;
    (void)suggested_len;
    *out_buf = uv_buf_init(NULL, 0); // libuv then reports UV_ENOBUFS
    if (side_borrow(side, &side->in)) {
        size_t len;
        uint8_t *tail = ring_tail(&side->in, &len);
        if (side->ssl == NULL && len > RING_READ_MAX) {
            len = RING_READ_MAX; // so that all of it fits into the other side's `out` as records
        }
        *out_buf = uv_buf_init((char *)tail, (unsigned)len);
    }
}

// What the end of the stream really was. libuv reports EOF also for a reset that arrives while data
// is left to read (POLLHUP after a partial read); the socket still holds the error then, and a
// reset must never pass for a clean end.
static int end_error(const uv_stream_t *stream)
{
    uv_os_fd_t fd;
    int error = 0;
    socklen_t len = sizeof error;
    if (uv_fileno((const uv_handle_t *)stream, &fd) == 0 &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error != 0) {
        return uv_translate_sys_error(error);
    }
    return 0;
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct side *side = stream->data;
    (void)buf;
    if (len > 0) {
        ring_push(&side->in, (size_t)len);
        side->moved_ms = uv_now(stream->loop);
    } else {
        side_settle(side, &side->in);
        if (len == 0) {
            return; // nothing there after all
        }
        int error = len == UV_EOF ? end_error(stream) : (int)len;
        if (error == 0) {
            side->is_eof = true;
            side->moved_ms = uv_now(stream->loop); // half-closed begins now, not at the last byte
        } else {
            record_error(side, error);
        }
        side_set_reading(side, false);
    }
    side->on_change(side->owner);
}

void side_set_reading(struct side *side, bool wants_read)
{
    if (wants_read && !side->is_reading && !side->is_eof && side->error == 0) {
        side->is_reading = true;
        int error = uv_read_start((uv_stream_t *)&side->tcp, on_alloc, on_read);
        if (error != 0) {
            side->is_reading = false;
            record_error(side, error);
        }
    } else if (!wants_read && side->is_reading) {
        side->is_reading = false;
        uv_read_stop((uv_stream_t *)&side->tcp);
    }
}

static void on_finished(uv_shutdown_t *req, int status)
{
    struct side *side = req->handle->data;
    if (!side->is_open) {
        return;
    }
    side->is_finished = true;
    if (status != 0 && status != UV_ENOTCONN) {
        record_error(side, status);
    }
    side->on_change(side->owner);
}

static void on_written(uv_write_t *req, int status)
{
    struct side *side = req->handle->data;
    if (!side->is_open) {
        return; // side_close has taken the ring back
    }
    if (status == 0) {
        ring_pull(&side->out, side->writing_len);
        side->moved_ms = uv_now(side->tcp.loop);
    } else {
        record_error(side, status);
    }
    side->writing_len = 0;
    side_settle(side, &side->out);
    side->on_change(side->owner);
}

// The bytes of `out` as one or two buffers; returns how many buffers.
static unsigned out_bufs(const struct side *side, uv_buf_t bufs[2])
{
    size_t first_len;
    const uint8_t *first = ring_head(&side->out, &first_len);
    size_t second_len = ring_second_len(&side->out);
    bufs[0] = uv_buf_init((char *)(uintptr_t)first, (unsigned)first_len);
    bufs[1] = uv_buf_init((char *)side->out.bytes, (unsigned)second_len);
    return second_len > 0 ? 2 : 1;
}

void side_flush(struct side *side)
{
    if (side->error != 0 || side->writing_len > 0 || !side->is_connected) {
        return;
    }
    uv_stream_t *stream = (uv_stream_t *)&side->tcp;
    uv_buf_t bufs[2];
    if (side->out.len > 0) {
        int written = uv_try_write(stream, bufs, out_bufs(side, bufs));
        if (written > 0) {
            ring_pull(&side->out, (size_t)written);
            side->moved_ms = uv_now(stream->loop);
        } else if (written < 0 && written != UV_EAGAIN) {
            record_error(side, written);
            return;
        }
    }
    if (side->out.len > 0) {
        side->writing_len = side->out.len;
        side->waiting_ms = uv_now(stream->loop);
        int error = uv_write(&side->req.write, stream, bufs, out_bufs(side, bufs), on_written);
        if (error != 0) {
            side->writing_len = 0;
            record_error(side, error);
        }
        return;
    }
    side_settle(side, &side->out);
    if (side->wants_finish && !side->is_finishing) {
        side->is_finishing = true;
        int error = uv_shutdown(&side->req.shutdown, stream, on_finished);
        if (error != 0) {
            side->is_finished = true; // the peer is gone already: nothing to tell
        }
    }
}

static void on_close(uv_handle_t *handle)
{
    struct side *side = handle->data;
    side->on_closed(side->owner);
}

void side_close(struct side *side, bool with_reset)
{
    invariant(side->is_open && side->ssl == NULL);
    side->is_open = false;
    uv_os_fd_t fd;
    if (with_reset && uv_fileno((const uv_handle_t *)&side->tcp, &fd) == 0) {
        // Not uv_tcp_close_reset, which refuses while a FIN is on its way.
        static const struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    side_set_reading(side, false);
    ring_pull(&side->in, side->in.len);
    side_settle(side, &side->in);
    // A write under way is cancelled by uv_close before the memory is used again: its callback
    // comes first thing in the closing phase, and libuv touches no buffer in it.
    ring_pull(&side->out, side->out.len);
    side_settle(side, &side->out);
    uv_close((uv_handle_t *)&side->tcp, on_close);
}
