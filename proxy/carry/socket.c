// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/socket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    // A silent host is gone after this time, whatever it leaves unanswered: keep-alive, data, or
    // probes of its closed window.
    SILENCE_SECONDS = 120,
    KEEPALIVE_SECONDS = 20, // a third of the least time that connection tracking has by default
    KEEPALIVE_PART = 3,     // of the time of connection tracking, so that two probes may be lost
    KEEPALIVE_PROBES_MAX = 127, // the kernel's
    // Between retransmissions, and between probes of a closed window, which take the place of
    // keep-alive. Less would make the kernel give up earlier than RFC 1122 wants (section 4.2.3.5).
    RTO_MAX_SECONDS_MIN = 10,
    // How often a turn of the loop may fill all the room for reading: a quarter of a mebibyte, and
    // then it is the next connection's turn.
    READS_IN_ROW_MAX = 4,
};

static int keepalive_seconds = KEEPALIVE_SECONDS;

static struct socket *socket_of(struct side *side)
{
    _Static_assert(offsetof(struct socket, side) == 0, "a socket is found by its side");
    return (struct socket *)side;
}

// libuv's codes are errno values with a minus, but for those that never come from a system call.
static void fail(struct side *side, int uv_error)
{
    side_fail(side, -uv_error);
}

int socket_fd(const struct socket *sock)
{
    uv_os_fd_t fd;
    return uv_fileno((const uv_handle_t *)&sock->tcp, &fd) == 0 ? fd : -1;
}

// With a reset, or with a FIN after the bytes that the kernel still holds: how the kernel closes.
static void set_linger(int fd, bool with_reset)
{
    const struct linger linger = {.l_onoff = with_reset, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

// Returns a time of connection tracking in seconds; 0: it has none, or is not loaded.
static int conntrack_seconds(const char *name)
{
    char path[96];
    int seconds = 0;
    snprintf(path, sizeof path, "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_%s", name);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fscanf(file, "%d", &seconds) != 1) {
            seconds = 0;
        }
        fclose(file);
    }
    return seconds;
}

void socket_keep_alive_by_conntrack(void)
{
    // The states in which a connection may be silent and not yet over.
    static const char *const names[] = {"established", "fin_wait", "close_wait", "unacknowledged",
                                        "max_retrans"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int seconds = conntrack_seconds(names[i]);
        if (seconds > 0 && seconds / KEEPALIVE_PART < keepalive_seconds) {
            keepalive_seconds = seconds < KEEPALIVE_PART ? 1 : seconds / KEEPALIVE_PART;
        }
    }
}

static int clamp(int value, int min, int max)
{
    return value < min ? min : value > max ? max : value;
}

bool socket_is_silent(const struct tcp_info *info)
{
    return info->tcpi_last_ack_recv >= SILENCE_SECONDS * 1000 &&
           info->tcpi_last_data_recv >= SILENCE_SECONDS * 1000;
}

void socket_set_options(int fd)
{
    static const int on = 1;
    const int idle = keepalive_seconds;
    const int num_probes = clamp((SILENCE_SECONDS - idle) / idle, 1, KEEPALIVE_PROBES_MAX);
    const int rto_max_ms = clamp(idle, RTO_MAX_SECONDS_MIN, KEEPALIVE_SECONDS) * 1000;
    // A failure is passed over: the connection works without them.
    set_linger(fd, true); // so that a proxy that is killed leaves no clean ends behind
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle);
    if (idle < KEEPALIVE_SECONDS) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &num_probes, sizeof num_probes);
    } // else the kernel's number ends nothing before socket_is_silent does
    (void)setsockopt(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, &rto_max_ms, sizeof rto_max_ms);
}

int socket_accept(struct socket *sock, int fd)
{
    int error = uv_tcp_open(&sock->tcp, fd);
    sock->side.is_connected = error == 0;
    if (error != 0) {
        close(fd);
    }
    return -error;
}

static void on_connect(uv_connect_t *req, int status)
{
    struct side *side = req->handle->data;
    if (status == 0) {
        side->is_connected = true;
    } else {
        fail(side, status);
    }
    if (side->is_open) {
        side->on_change(side->owner);
    }
}

// Returns the descriptor, made now if there is none yet; -1 sets errno.
static int descriptor(struct socket *sock, int family)
{
    int fd = socket_fd(sock);
    if (fd >= 0) {
        return fd;
    }
    fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
        return -1;
    }
    int error = uv_tcp_open(&sock->tcp, fd);
    if (error != 0) {
        close(fd);
        errno = -error;
        return -1;
    }
    return fd;
}

int socket_bind(struct socket *sock, const struct addr *source, bool is_transparent)
{
    static const int on = 1;
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(source, &sa);
    int fd = descriptor(sock, sa.ss_family);
    if (fd < 0) {
        return errno;
    }
    bool is_v4 = sa.ss_family == AF_INET;
    int level = is_v4 ? IPPROTO_IP : IPPROTO_IPV6;
    // bind(2) counts an IPv4 address that a route makes this host's, but not an IPv6 one.
    int option = !is_transparent ? IPV6_FREEBIND : is_v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT;
    bool is_plain = is_v4 && !is_transparent;
    return (is_plain || setsockopt(fd, level, option, &on, sizeof on) == 0) &&
                   setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0 &&
                   bind(fd, (const struct sockaddr *)&sa, sa_len) == 0
               ? 0
               : errno;
}

bool socket_may_be_transparent(void)
{
    static const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    bool may = fd >= 0 && setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof on) == 0;
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return may;
}

// Returns the address with the interface that the socket is bound to, where it is a link-local one
// that names none: libuv from 1.50 on would otherwise look for one, by a kind of socket that the
// proxy may not make. The scope stays 0 where there is none.
static struct addr with_interface(const struct socket *sock, const struct addr *addr)
{
    struct addr whole = *addr;
    int interface = 0;
    socklen_t len = sizeof interface;
    if (ip_is_link_local6(&addr->ip) && addr->scope == 0 &&
        getsockopt(socket_fd(sock), SOL_SOCKET, SO_BINDTOIFINDEX, &interface, &len) == 0) {
        whole.scope = (uint32_t)interface;
    }
    return whole;
}

int socket_connect(struct socket *sock, const struct addr *addr)
{
    struct sockaddr_storage sa;
    const struct addr whole = with_interface(sock, addr);
    if (ip_is_link_local6(&whole.ip) && whole.scope == 0) {
        return EINVAL; // as the kernel's connect(2)
    }
    addr_to_sockaddr(&whole, &sa);
    int error =
        uv_tcp_connect(&sock->req.connect, &sock->tcp, (const struct sockaddr *)&sa, on_connect);
    if (error == 0) {
        socket_set_options(socket_fd(sock));
    }
    return -error;
}

// Without room libuv reports UV_ENOBUFS, and leaves the socket for this turn of the loop. It would
// otherwise read on, as often as 32 times, as long as a read fills all the room.
static void on_alloc(uv_handle_t *handle, size_t suggested_len, uv_buf_t *out_buf)
{
    (void)suggested_len;
    struct side *side = handle->data;
    size_t len = 0;
    uint8_t *room = side->reads_in_row < READS_IN_ROW_MAX ? side_room(side, &len) : NULL;
    *out_buf = uv_buf_init((char *)room, (unsigned)len);
}

// Returns the error behind an end of the stream, an errno value; 0: the end is clean. libuv reports
// EOF also for a reset that arrives while data is left to read (POLLHUP after a partial read); the
// socket still holds the error then, and a reset must never pass for a clean end.
int socket_error(const struct socket *sock)
{
    int error = 0;
    socklen_t len = sizeof error;
    return getsockopt(socket_fd(sock), SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : 0;
}

static void socket_set_reading(struct side *side, bool wants_read);

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct side *side = stream->data;
    bool is_full = len > 0 && (size_t)len == buf->len;
    side->reads_in_row = is_full ? (uint8_t)(side->reads_in_row + 1) : 0;
    if (len > 0) {
        ring_push(&side->in, (size_t)len);
        side->moved_ms = uv_now(stream->loop);
    } else if (len == UV_ENOBUFS) {
        if (side_is_waiting(side, POOL_READ)) {
            socket_set_reading(side, false);
        }
        return;
    } else {
        side_settle(side, &side->in);
        if (len == 0) {
            return; // nothing there after all
        }
        int error = len == UV_EOF ? socket_error(socket_of(side)) : (int)-len;
        if (error == 0) {
            side->is_eof = true;
            side->moved_ms = uv_now(stream->loop); // half-closed begins now, not at the last byte
        } else {
            side_fail(side, error);
        }
        socket_set_reading(side, false);
    }
    side->on_change(side->owner);
}

static void socket_set_reading(struct side *side, bool wants_read)
{
    uv_stream_t *stream = (uv_stream_t *)&socket_of(side)->tcp;
    side->is_reading = wants_read;
    if (!wants_read) {
        uv_read_stop(stream);
        side_settle(side, &side->in);
        return;
    }
    int error = uv_read_start(stream, on_alloc, on_read);
    if (error != 0) {
        side->is_reading = false;
        fail(side, error);
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
        fail(side, status);
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
        side->moved_ms = uv_now(req->handle->loop);
    } else {
        fail(side, status);
    }
    side_peer_took(side);
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

static void socket_flush(struct side *side)
{
    struct socket *sock = socket_of(side);
    uv_stream_t *stream = (uv_stream_t *)&sock->tcp;
    uv_buf_t bufs[2];
    if (side->out.len > 0) {
        int written = uv_try_write(stream, bufs, out_bufs(side, bufs));
        if (written > 0) {
            ring_pull(&side->out, (size_t)written);
            side->moved_ms = uv_now(stream->loop);
        } else if (written < 0 && written != UV_EAGAIN) {
            fail(side, written);
            return;
        }
    }
    if (side->out.len > 0) {
        side_wait_for_peer(side, uv_now(stream->loop));
        int error = uv_write(&sock->req.write, stream, bufs, out_bufs(side, bufs), on_written);
        if (error != 0) {
            side_peer_took(side);
            fail(side, error);
        }
        return;
    }
    side_settle(side, &side->out);
    if (side->wants_finish && !side->is_finishing) {
        side->is_finishing = true;
        int error = uv_shutdown(&sock->req.shutdown, stream, on_finished);
        if (error != 0) {
            side->is_finished = true; // the peer is gone already: nothing to tell
        }
    }
}

static void socket_look(struct side *side)
{
    struct socket *sock = socket_of(side);
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    bool has_ended = side->is_eof || side->has_close_notify;
    bool is_silent = getsockopt(socket_fd(sock), IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
                     socket_is_silent(&info);
    // Of a side that is still to be read a reset is met after the bytes that came before it.
    int error = has_ended || is_silent ? socket_error(sock) : 0;
    if (error != 0 || is_silent) {
        side_fail(side, error != 0 ? error : ETIMEDOUT);
    } else if (has_ended && !side->is_watched) {
        side->is_watched = true;
        hangup_watch(sock->hangup, socket_fd(sock), side);
    }
}

static size_t socket_untaken(const struct side *side)
{
    const struct socket *sock = (const struct socket *)side;
    int len = 0;
    int fd = socket_fd(sock);
    if (fd < 0 || ioctl(fd, SIOCOUTQ, &len) != 0 || len < 0) {
        len = 0;
    }
    return (size_t)len + uv_stream_get_write_queue_size((const uv_stream_t *)&sock->tcp);
}

static void on_close(uv_handle_t *handle)
{
    struct side *side = handle->data;
    side->on_closed(side->owner);
}

// A write under way is cancelled by uv_close before the ring's memory is used again: its callback
// comes first thing in the closing phase, and libuv touches no buffer in it.
static void socket_close(struct side *side, bool with_reset)
{
    struct socket *sock = socket_of(side);
    int fd = socket_fd(sock);
    if (fd >= 0) {
        // Not uv_tcp_close_reset, which refuses while a FIN is on its way.
        set_linger(fd, with_reset);
    }
    uv_close((uv_handle_t *)&sock->tcp, on_close);
}

static bool socket_has_unread(const struct side *side)
{
    uint8_t byte;
    int fd = socket_fd((const struct socket *)side);
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

void socket_init(struct socket *sock, uv_loop_t *loop, struct hangup *hangup, struct pool *pool,
                 void *owner, void (*on_change)(void *owner), void (*on_closed)(void *owner))
{
    static const struct carrier carrier = {.flush = socket_flush,
                                           .set_reading = socket_set_reading,
                                           .look = socket_look,
                                           .untaken = socket_untaken,
                                           .close = socket_close,
                                           .has_unread = socket_has_unread};
    sock->hangup = hangup;
    uv_tcp_init(loop, &sock->tcp);
    sock->tcp.data = &sock->side;
    side_init(&sock->side, &carrier, pool, owner, on_change, on_closed, uv_now(loop));
}
