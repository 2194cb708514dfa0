// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // struct ucred
#include "net/http2/transport_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

#define READ_BYTES 65536

void h2_peer_source(const struct h2_peer *peer, uint8_t out[H2_SOURCE_BYTES])
{
    memset(out, 0, H2_SOURCE_BYTES);
    out[0] = peer->is_unix;
    if (peer->is_unix) {
        memcpy(out + 1, &peer->uid, sizeof peer->uid);
    } else {
        memcpy(out + 1, peer->addr.ip.bytes, ip_is_v4(&peer->addr.ip) ? 16 : 8);
    }
}

void transport_end(struct transport *transport, const char *why)
{
    if (!transport->is_ended && !transport->is_closing) {
        transport->is_ended = true;
        uv_read_stop(&transport->stream);
        transport->hooks->on_end(transport->ctx, why);
    }
}

void transport_write(struct transport *transport, const uint8_t *bytes, size_t len)
{
    if (!transport->is_ended && !transport->is_closing && !transport->is_finished) {
        invariant(transport->hello_ctx == NULL); // nothing is said before the hello
        bytes_push(transport->ssl != NULL ? &transport->plain : &transport->out, bytes, len);
    }
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    (void)request; // the peer's answer, or a deadline, does the rest
    (void)status;
}

static void on_write(uv_write_t *request, int status)
{
    struct transport *transport = request->data;
    transport->is_writing = false;
    bytes_cleanup(&transport->writing);
    if (transport->is_closing) {
        return;
    }
    if (status < 0) {
        transport_end(transport, uv_strerror(status));
        return;
    }
    transport_flush(transport);
    if (!transport->is_closing && !transport->is_ended) {
        transport->hooks->on_written(transport->ctx);
    }
}

// Hands `out` to the kernel: what it takes at once, and the rest as a write request.
static void write_out(struct transport *transport)
{
    uv_buf_t buf = uv_buf_init((char *)transport->out.at, (unsigned)transport->out.len);
    int written = uv_try_write(&transport->stream, &buf, 1);
    if (written == UV_EAGAIN) {
        written = 0;
    }
    if (written < 0) {
        bytes_cleanup(&transport->out);
        transport_end(transport, uv_strerror(written));
        return;
    }
    if ((size_t)written == transport->out.len) {
        bytes_cleanup(&transport->out);
        return;
    }
    transport->writing = transport->out;
    transport->out = (struct bytes){0};
    buf = uv_buf_init((char *)transport->writing.at + written,
                      (unsigned)(transport->writing.len - (size_t)written));
    transport->write.data = transport;
    int status = uv_write(&transport->write, &transport->stream, &buf, 1, on_write);
    if (status < 0) {
        bytes_cleanup(&transport->writing);
        transport_end(transport, uv_strerror(status));
        return;
    }
    transport->is_writing = true;
    transport->write_since_ms = uv_now(transport->stream.loop);
}

void transport_flush(struct transport *transport)
{
    if (transport->is_writing || transport->is_ended || transport->is_closing) {
        return;
    }
    if (transport->plain.len > 0 && !transport_tls_seal(transport)) {
        return;
    }
    if (transport->out.len > 0) {
        write_out(transport);
    }
    if (transport->is_finished && !transport->is_shut && !transport->is_ended &&
        transport_is_idle(transport)) {
        transport->is_shut = true;
        uv_shutdown(&transport->shutdown, &transport->stream, on_shutdown);
    }
}

bool transport_has_room(const struct transport *transport)
{
    return transport->is_open && !transport->is_ended &&
           transport->plain.len + transport->out.len < TRANSPORT_ROOM_BYTES;
}

bool transport_is_idle(const struct transport *transport)
{
    return !transport->is_writing && transport->plain.len == 0 && transport->out.len == 0;
}

void transport_finish(struct transport *transport)
{
    if (!transport->is_open || transport->is_finished || transport->is_ended ||
        transport->is_closing) {
        return;
    }
    if (transport->plain.len > 0 && !transport_tls_seal(transport)) {
        return;
    }
    if (transport->ssl != NULL) {
        SSL_shutdown(transport->ssl);
    }
    transport->is_finished = true;
    transport_flush(transport);
}

bool transport_awaits_hello(const struct transport *transport)
{
    return transport->hello_ctx != NULL;
}

bool transport_has_unread(const struct transport *transport)
{
    uv_os_fd_t fd = -1;
    int num = 0;
    return uv_fileno(&transport->handle, &fd) == 0 && ioctl(fd, FIONREAD, &num) == 0 && num > 0;
}

void transport_closed(uv_handle_t *handle)
{
    struct transport *transport = handle->data;
    SSL_free(transport->ssl);
    SSL_CTX_free(transport->hello_ctx);
    transport->ssl = NULL;
    transport->hello_ctx = NULL;
    bytes_cleanup(&transport->hello);
    bytes_wipe(&transport->plain);
    bytes_cleanup(&transport->out);
    bytes_cleanup(&transport->writing);
    transport->hooks->on_closed(transport->ctx);
}

void transport_close(struct transport *transport)
{
    if (!transport->is_closing) {
        transport->is_closing = true;
        transport_dial_stop(transport);
        if (!uv_is_closing(&transport->handle)) { // else it is being made anew for another address
            uv_close(&transport->handle, transport_closed);
        }
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    // One buffer for each thread is enough: on_read has used it up when it returns.
    static _Thread_local char bytes[READ_BYTES];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_read(uv_stream_t *stream, ssize_t num, const uv_buf_t *buf)
{
    struct transport *transport = stream->data;
    if (num < 0) {
        transport_end(transport,
                      num == UV_EOF ? "the peer closed the connection" : uv_strerror((int)num));
        return;
    }
    if (num == 0) {
        return;
    }
    transport->read_ms = uv_hrtime() / 1000000;
    if (transport->ssl == NULL && transport->hello_ctx == NULL) {
        transport->hooks->on_bytes(transport->ctx, (const uint8_t *)buf->base, (size_t)num);
        return;
    }
    transport->in = (const uint8_t *)buf->base;
    transport->in_len = (size_t)num;
    if (transport->ssl != NULL || transport_tls_hello(transport)) {
        transport_tls_step(transport);
        bytes_cleanup(&transport->hello);
    }
    transport->in = NULL;
    transport->in_len = 0;
}

static void learn_peer(struct transport *transport)
{
    uv_os_fd_t fd = -1;
    uv_fileno(&transport->handle, &fd);
    struct h2_peer *peer = &transport->peer;
    if (peer->is_unix) {
        struct ucred credentials = {.pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
        socklen_t len = sizeof credentials;
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &len);
        peer->pid = credentials.pid;
        peer->uid = credentials.uid;
        peer->gid = credentials.gid;
        return;
    }
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    if (getpeername(fd, (struct sockaddr *)&sa, &len) == 0) {
        addr_from_sockaddr(&peer->addr, (struct sockaddr *)&sa);
    }
    uv_tcp_nodelay(&transport->tcp, 1);
    transport_watch_silence(fd);
}

// Starts reading on a stream that has just been connected or accepted. Returns 0 or an error of
// libuv's.
static int start(struct transport *transport)
{
    learn_peer(transport);
    return uv_read_start(&transport->stream, on_alloc, on_read);
}

void transport_connected(struct transport *transport)
{
    int status = start(transport);
    if (status < 0) {
        transport_end(transport, uv_strerror(status));
    } else if (transport->ssl != NULL) {
        transport_tls_step(transport);
    } else {
        transport->is_open = true;
        transport->hooks->on_open(transport->ctx);
    }
}

static void init_handle(struct transport *transport, uv_loop_t *loop, bool is_unix)
{
    transport->peer =
        (struct h2_peer){.is_unix = is_unix, .pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
    if (is_unix) {
        uv_pipe_init(loop, &transport->pipe, 0);
    } else {
        uv_tcp_init(loop, &transport->tcp);
    }
    transport->handle.data = transport;
}

bool transport_connect(struct transport *transport, uv_loop_t *loop, const struct h2_target *target,
                       SSL_CTX *ssl_ctx, const char *server_name, struct err *err)
{
    init_handle(transport, loop, target->unix_path != NULL);
    if (ssl_ctx != NULL && !transport_tls_start(transport, ssl_ctx, false, server_name, err)) {
        return false;
    }
    return transport_dial_start(transport, loop, target, err);
}

// Begins to serve a peer whose connection the handle has. `status` is what libuv said of that.
static bool serve(struct transport *transport, int status, SSL_CTX *ssl_ctx, struct err *err)
{
    if (status == 0) {
        status = start(transport);
    }
    if (status < 0) {
        return err_set(err, "cannot accept the connection: %s", uv_strerror(status));
    }
    if (ssl_ctx != NULL) {
        transport_tls_await(transport, ssl_ctx);
        return true;
    }
    transport->is_open = true; // without on_open: its user is told by the return
    return true;
}

bool transport_accept(struct transport *transport, uv_stream_t *listener, SSL_CTX *ssl_ctx,
                      struct err *err)
{
    init_handle(transport, listener->loop, listener->type == UV_NAMED_PIPE);
    return serve(transport, uv_accept(listener, &transport->stream), ssl_ctx, err);
}

bool transport_take(struct transport *transport, uv_loop_t *loop, int fd, SSL_CTX *ssl_ctx,
                    struct err *err)
{
    int domain = AF_UNSPEC;
    socklen_t len = sizeof domain;
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
    init_handle(transport, loop, domain == AF_UNIX);
    int status =
        domain == AF_UNIX ? uv_pipe_open(&transport->pipe, fd) : uv_tcp_open(&transport->tcp, fd);
    if (status != 0) {
        close(fd);
    }
    return serve(transport, status, ssl_ctx, err);
}

void transport_set_reading(struct transport *transport, bool is_reading)
{
    if (transport->is_ended || transport->is_closing) {
        return;
    }
    if (is_reading) {
        uv_read_start(&transport->stream, on_alloc, on_read); // an error comes with the read
    } else {
        uv_read_stop(&transport->stream);
    }
}
