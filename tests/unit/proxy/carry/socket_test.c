// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // accept4
#include "proxy/carry/socket.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEADLINE_MS = 10000, MUCH = 64 << 20 };

// One socket of ours, and the descriptor of who is at its other end.
static struct {
    uv_loop_t loop;
    uv_timer_t tick; // so that no turn waits for ever
    struct hangup hangup;
    struct pool pool;
    struct socket sock;
    struct side *side;
    int listener;
    struct addr addr; // of the listener
    int far;
    unsigned num_changes;
    unsigned num_shortages;
    size_t num_read;
    bool is_closed;
} t;

static void on_change(void *owner)
{
    (void)owner;
    t.num_changes++;
}

static void on_closed(void *owner)
{
    (void)owner;
    t.is_closed = true;
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void on_shortage(void *ctx)
{
    (void)ctx;
    t.num_shortages++;
}

static void init(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    cr_assert(uv_loop_init(&t.loop) == 0);
    hangup_init(&t.hangup, &t.loop);
    uv_timer_init(&t.loop, &t.tick);
    uv_timer_start(&t.tick, on_tick, 1, 1);
    pool_init(&t.pool, on_shortage, NULL);
    pool_set_limit(&t.pool, 4 * RING_BYTES);
    t.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    cr_assert(bind(t.listener, (const struct sockaddr *)&any, sizeof any) == 0);
    cr_assert(listen(t.listener, 8) == 0);
    cr_assert(getsockname(t.listener, (struct sockaddr *)&bound, &len) == 0);
    cr_assert(addr_from_sockaddr(&t.addr, (const struct sockaddr *)&bound));
    t.side = &t.sock.side;
    t.far = -1;
    socket_init(&t.sock, &t.loop, &t.hangup, &t.pool, NULL, on_change, on_closed);
}

static void cleanup(void)
{
    if (t.side->is_open) {
        side_close(t.side, false);
    }
    uv_close((uv_handle_t *)&t.tick, NULL);
    hangup_stop(&t.hangup);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    cr_assert(t.is_closed && t.pool.num_lent == 0);
    cr_assert(uv_loop_close(&t.loop) == 0);
    pool_cleanup(&t.pool);
    close(t.listener);
    if (t.far >= 0) {
        close(t.far);
    }
}

TestSuite(socket, .init = init, .fini = cleanup, .timeout = 20);

#define until(cond)                                                                                \
    for (uint64_t begun_ms = uv_hrtime() / 1000000; !(cond); uv_run(&t.loop, UV_RUN_ONCE)) {       \
        cr_assert(uv_hrtime() / 1000000 - begun_ms < DEADLINE_MS, "waited in vain: %s", #cond);    \
    }

static void far_reset(void)
{
    static const struct linger now = {.l_onoff = 1, .l_linger = 0};
    cr_assert(setsockopt(t.far, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    close(t.far);
    t.far = -1;
}

static void begin(void)
{
    cr_assert_eq(socket_connect(&t.sock, &t.addr), 0);
    cr_assert(t.side->error == 0 && !t.side->is_connected);
    until(t.side->is_connected);
    t.far = accept4(t.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert(t.far >= 0 && t.num_changes == 1);
}

static bool far_gets(const char *text)
{
    char buf[64] = "";
    ssize_t got = recv(t.far, buf, sizeof buf, 0);
    return got == (ssize_t)strlen(text) && memcmp(buf, text, strlen(text)) == 0;
}

static void put(const char *text)
{
    cr_assert(side_borrow(t.side, &t.side->out));
    ring_write(&t.side->out, (const uint8_t *)text, strlen(text));
    side_flush(t.side);
}

static void drain_in(void *owner)
{
    (void)owner;
    t.num_read += t.side->in.len;
    ring_pull(&t.side->in, t.side->in.len);
    side_settle(t.side, &t.side->in);
}

Test(socket, a_turn_of_the_loop_reads_a_quarter_of_a_mebibyte_and_no_more)
{
    enum { TURN_BYTES = 4 * RING_READ_MAX };
    static const uint8_t zeros[65536];
    int large = 4 << 20;
    begin();
    cr_assert(setsockopt(socket_fd(&t.sock), SOL_SOCKET, SO_RCVBUF, &large, sizeof large) == 0);
    cr_assert(setsockopt(t.far, SOL_SOCKET, SO_SNDBUF, &large, sizeof large) == 0);
    t.side->is_relaying = true;
    t.side->on_change = drain_in;
    size_t num_sent = 0;
    ssize_t sent;
    while ((sent = send(t.far, zeros, sizeof zeros, 0)) > 0) {
        num_sent += (size_t)sent;
    }
    cr_assert(num_sent > TURN_BYTES, "the kernel holds only %zu bytes", num_sent);
    side_set_reading(t.side, true);
    while (t.num_read < num_sent) {
        size_t before = t.num_read;
        uv_run(&t.loop, UV_RUN_ONCE);
        cr_assert(t.num_read - before <= TURN_BYTES, "%zu bytes", t.num_read - before);
    }
}

Test(socket, reads_on_once_there_is_a_block_again)
{
    begin();
    t.side->is_relaying = true;
    pool_set_limit(&t.pool, 0);
    cr_assert(send(t.far, "hello", 5, 0) == 5);
    side_set_reading(t.side, true);
    until(t.num_shortages > 0);
    cr_assert(!t.side->is_reading && side_is_waiting(t.side, POOL_READ) && t.side->error == 0);
    side_set_reading(t.side, true);
    cr_assert(!t.side->is_reading, "there is no sense in it yet");
    pool_set_limit(&t.pool, 4 * RING_BYTES);
    cr_assert(side_lend_next(&t.pool) == t.side);
    side_set_reading(t.side, true);
    side_settle_idle(t.side);
    until(t.side->in.len == 5);
}

Test(socket, a_call_that_nobody_takes_says_so)
{
    close(t.listener);
    t.listener = -1;
    socket_connect(&t.sock, &t.addr);
    until(t.side->error != 0);
    cr_assert(t.side->error == ECONNREFUSED && !t.side->is_connected && t.num_changes == 1);
}

Test(socket, a_call_that_cannot_even_begin_says_so_at_once)
{
    const struct addr nowhere = {.ip = {{[10] = 0xff, [11] = 0xff, [12] = 255, 255, 255, 255}},
                                 .port = 80};
    cr_assert_neq(socket_connect(&t.sock, &nowhere), 0);
    cr_assert(!t.side->is_connected && t.side->error == 0 && t.num_changes == 0);
}

Test(socket, a_link_local_address_without_its_interface_is_refused_before_libuv_looks_for_one)
{
    struct addr addr;
    cr_assert(addr_parse(&addr, "[fe80::1]:80", false, NULL));
    cr_assert_eq(socket_connect(&t.sock, &addr), EINVAL);
    cr_assert_eq(socket_fd(&t.sock), -1, "libuv has not begun");
    cr_assert(!t.side->is_connected && t.side->error == 0 && t.num_changes == 0);
}

Test(socket, a_link_local_address_is_called_by_the_interface_that_the_socket_is_bound_to)
{
    struct addr addr;
    const int loopback_interface = 1;
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    cr_assert(fd >= 0 && uv_tcp_open(&t.sock.tcp, fd) == 0);
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &loopback_interface, sizeof(int)) != 0) {
        cr_skip_test("no socket can be bound to an interface here: %s", strerror(errno));
    }
    cr_assert(addr_parse(&addr, "[fe80::1]:80", false, NULL));
    cr_assert_neq(socket_connect(&t.sock, &addr), EINVAL, "the kernel tries");
}

static struct addr loopback(uint8_t last)
{
    return (struct addr){.ip = {{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = last}}};
}

Test(socket, a_call_comes_from_the_address_that_was_bound_last)
{
    const struct addr first = loopback(6);
    const struct addr second = loopback(7);
    struct sockaddr_storage sa;
    struct addr seen;
    socklen_t len = sizeof sa;
    cr_assert_eq(socket_bind(&t.sock, &first, false), 0);
    cr_assert_eq(socket_bind(&t.sock, &second, false), 0); // nothing has been called from the first
    begin();
    cr_assert_eq(getpeername(t.far, (struct sockaddr *)&sa, &len), 0);
    cr_assert(addr_from_sockaddr(&seen, (const struct sockaddr *)&sa));
    cr_expect(ip_equal(&seen.ip, &second.ip));
    cr_expect_neq(seen.port, 0);
}

Test(socket, another_host_s_address_takes_a_capability)
{
    const struct addr foreign = {
        .ip = {{[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1}}};
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    cr_assert_eq(syscall(SYS_capset, &header, none), 0);
    cr_expect_eq(socket_bind(&t.sock, &foreign, true), EPERM);
}

Test(socket, carries_bytes_both_ways_and_holds_no_memory_between)
{
    begin();
    put("ping");
    cr_assert(far_gets("ping") && t.side->out.bytes == NULL);
    side_set_reading(t.side, true);
    cr_assert(send(t.far, "pong", 4, 0) == 4);
    until(t.side->in.len == 4);
    ring_pull(&t.side->in, 4);
    side_settle(t.side, &t.side->in);
    cr_assert(t.pool.num_lent == 0);
}

Test(socket, what_it_is_not_to_read_stays_with_the_sender)
{
    begin();
    side_set_reading(t.side, true);
    side_set_reading(t.side, false);
    cr_assert(send(t.far, "x", 1, 0) == 1);
    for (int i = 0; i < 5; i++) {
        uv_run(&t.loop, UV_RUN_ONCE);
    }
    cr_assert(t.side->in.len == 0 && t.num_changes == 1);
    side_set_reading(t.side, true);
    until(t.side->in.len == 1);
}

Test(socket, an_end_of_ours_comes_after_the_bytes_and_leaves_theirs_open)
{
    begin();
    t.side->wants_finish = true;
    put("last");
    cr_assert(far_gets("last"));
    until(t.side->is_finished);
    cr_assert(far_gets(""), "their end of ours");
    side_set_reading(t.side, true);
    cr_assert(send(t.far, "more", 4, 0) == 4);
    until(t.side->in.len == 4);
    shutdown(t.far, SHUT_WR);
    until(t.side->is_eof);
    cr_assert(t.side->error == 0 && !t.side->is_reading);
}

Test(socket, a_reset_is_never_a_clean_end_whatever_is_left_to_read)
{
    begin();
    cr_assert(send(t.far, "half an answer", 14, 0) == 14);
    far_reset();
    side_set_reading(t.side, true);
    until(t.side->error != 0 || t.side->is_eof);
    cr_assert(!t.side->is_eof && t.side->error == ECONNRESET && !t.side->is_reading);
}

Test(socket, a_reset_in_silence_is_noticed)
{
    begin();
    side_set_reading(t.side, true);
    far_reset();
    until(t.side->error != 0 || t.side->is_eof);
    cr_assert(!t.side->is_eof && t.side->error == ECONNRESET);
}

Test(socket, a_reset_after_the_far_end_s_clean_end_is_noticed)
{
    begin();
    side_set_reading(t.side, true);
    shutdown(t.far, SHUT_WR);
    until(t.side->is_eof);
    t.side->carrier->look(t.side);
    cr_assert(t.side->error == 0 && t.side->is_watched);
    far_reset();
    until(t.side->error != 0);
    cr_assert(t.num_changes == 3, "the connection, the end and the reset are told");
}

Test(socket, a_reset_after_close_notify_is_noticed_though_no_end_came)
{
    begin();
    side_set_reading(t.side, true);
    t.side->has_close_notify = true;
    side_set_reading(t.side, false);
    t.side->carrier->look(t.side);
    far_reset();
    until(t.side->error != 0);
    cr_assert(!t.side->is_eof);
}

Test(socket, a_reset_before_the_first_look_is_found_by_it)
{
    begin();
    side_set_reading(t.side, true);
    shutdown(t.far, SHUT_WR);
    until(t.side->is_eof);
    far_reset();
    for (int i = 0; i < 5; i++) {
        uv_run(&t.loop, UV_RUN_ONCE);
    }
    cr_assert(t.side->error == 0);
    t.side->carrier->look(t.side);
    cr_assert(t.side->error != 0);
}

Test(socket, a_look_lets_no_reset_overtake_bytes_that_are_still_to_be_read)
{
    begin();
    cr_assert(send(t.far, "before", 6, 0) == 6);
    far_reset();
    t.side->carrier->look(t.side);
    cr_assert(t.side->error == 0);
    side_set_reading(t.side, true);
    until(t.side->error != 0);
    cr_assert(t.side->in.len == 6 && t.side->error == ECONNRESET);
}

Test(socket, keeps_an_urgent_byte_in_its_place_in_the_stream)
{
    uint8_t bytes[6] = "";
    begin();
    cr_assert(send(t.far, "!", 1, MSG_OOB) == 1);
    cr_assert(send(t.far, "ab", 2, 0) == 2);
    cr_assert(send(t.far, "?", 1, MSG_OOB) == 1);
    cr_assert(send(t.far, "c", 1, 0) == 1);
    side_set_reading(t.side, true);
    until(t.side->in.len == 5);
    ring_copy(&t.side->in, 0, bytes, 5);
    cr_assert_str_eq((const char *)bytes, "!ab?c");
}

Test(socket, a_host_is_silent_only_when_neither_acknowledgment_nor_data_came_for_two_minutes)
{
    static const struct {
        struct tcp_info info;
        bool is_silent;
    } cases[] = {
        {{.tcpi_last_ack_recv = 120000, .tcpi_last_data_recv = 130000}, true},
        {{.tcpi_last_ack_recv = 3600000, .tcpi_last_data_recv = 3600000}, true},
        {{.tcpi_last_ack_recv = 119999, .tcpi_last_data_recv = 3600000}, false},
        {{.tcpi_last_ack_recv = 3600000, .tcpi_last_data_recv = 119999}, false},
        {{.tcpi_last_ack_recv = 5, .tcpi_probes = 9, .tcpi_unacked = 1}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_assert(socket_is_silent(&cases[i].info) == cases[i].is_silent, "case %zu", i);
    }
}

Test(socket, bytes_that_the_far_end_does_not_take_wait_with_the_time_since_when)
{
    static uint8_t sink[65536];
    begin();
    uint64_t sent = 0;
    while (t.side->writing_len == 0) {
        cr_assert(sent < MUCH && side_borrow(t.side, &t.side->out));
        sent += ring_write(&t.side->out, sink, sizeof sink);
        side_flush(t.side);
    }
    cr_assert(t.side->out.len == t.side->writing_len && t.side->waiting_ms == uv_now(&t.loop));
    uint64_t got = 0;
    until((got += (uint64_t)(recv(t.far, sink, sizeof sink, 0) + 1)) > 0 &&
          t.side->writing_len == 0);
    cr_assert(t.side->out.bytes == NULL && t.side->error == 0);
}

Test(socket, closes_with_a_reset_or_with_an_end)
{
    for (int with_reset = 0; with_reset < 2; with_reset++) {
        char byte;
        begin();
        side_close(t.side, with_reset);
        until(t.is_closed);
        ssize_t got = recv(t.far, &byte, 1, 0);
        cr_assert(with_reset ? got < 0 && errno == ECONNRESET : got == 0);
        close(t.far);
        t.num_changes = 0;
        t.is_closed = false;
        t.sock = (struct socket){0};
        socket_init(&t.sock, &t.loop, &t.hangup, &t.pool, NULL, on_change, on_closed);
    }
    t.far = -1;
}

Test(socket, closing_drops_what_is_being_written)
{
    static uint8_t bytes[65536];
    begin();
    while (t.side->writing_len == 0) {
        cr_assert(side_borrow(t.side, &t.side->out));
        ring_write(&t.side->out, bytes, sizeof bytes);
        side_flush(t.side);
    }
    unsigned before = t.num_changes;
    side_close(t.side, true);
    cr_assert(t.pool.num_lent == 0);
    until(t.is_closed);
    cr_assert(t.num_changes == before, "nobody is told of a fact after the close");
}

Test(socket, has_the_options_of_a_sidecar)
{
    int value = 0;
    socklen_t len = sizeof value;
    begin();
    cr_assert(getsockopt(socket_fd(&t.sock), IPPROTO_TCP, TCP_NODELAY, &value, &len) == 0 && value);
    cr_assert(getsockopt(socket_fd(&t.sock), SOL_SOCKET, SO_KEEPALIVE, &value, &len) == 0 && value);
    cr_assert(getsockopt(socket_fd(&t.sock), SOL_SOCKET, SO_OOBINLINE, &value, &len) == 0 && value);
    int idle = 0;
    int interval = 0;
    cr_assert(getsockopt(socket_fd(&t.sock), IPPROTO_TCP, TCP_KEEPIDLE, &idle, &len) == 0);
    cr_assert(getsockopt(socket_fd(&t.sock), IPPROTO_TCP, TCP_KEEPINTVL, &interval, &len) == 0);
    cr_assert(3 * idle <= 60 && 3 * interval <= 60,
              "connection tracking keeps CLOSE_WAIT for 60 s");
    cr_assert(getsockopt(socket_fd(&t.sock), IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &len) == 0);
    cr_assert(value == 0, "a paused reader's host answers, but the connection ends after %d ms",
              value);
}
