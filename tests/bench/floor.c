// SPDX-License-Identifier: Apache-2.0
//
// The floor under every relay: one thread, epoll, one read and one write per message, no TLS, no
// policy, no log. What a sidecar costs above two of these is the price of what it does. Usage:
// floor LISTEN_PORT TARGET_PORT, both on 127.0.0.1. It ends when it is killed.
#define _GNU_SOURCE // accept4
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_LEN 65536
#define EVENTS_MAX 256
#define BACKLOG    4096

struct side {
    int fd;
    uint32_t interest;
    bool is_eof;      // nothing more comes from here
    uint8_t *pending; // owned; what this side's socket has not taken yet, or NULL
    size_t pending_at;
    size_t pending_len;
    struct pair *pair;
};

struct pair {
    struct side sides[2];
    bool is_closed; // freed after the events of this turn
    struct pair *next_closed;
};

static int epoll_fd;
static struct pair *closed;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct side *other(struct side *side)
{
    return &side->pair->sides[side == side->pair->sides];
}

static void set_interest(struct side *side, uint32_t interest)
{
    if (side->interest != interest) {
        struct epoll_event event = {.events = interest, .data.ptr = side};
        side->interest = interest;
        if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, side->fd, &event) != 0) {
            die("epoll_ctl");
        }
    }
}

static void pair_close(struct pair *pair)
{
    if (!pair->is_closed) {
        pair->is_closed = true;
        for (int i = 0; i < 2; i++) {
            close(pair->sides[i].fd);
            free(pair->sides[i].pending);
        }
        pair->next_closed = closed;
        closed = pair;
    }
}

static void finish(struct side *source)
{
    struct side *target = other(source);
    source->is_eof = true;
    set_interest(source, source->interest & ~(uint32_t)EPOLLIN);
    if (target->is_eof) {
        pair_close(source->pair);
    } else {
        shutdown(target->fd, SHUT_WR);
    }
}

// Keeps what the target did not take; the source waits until it has.
static void keep(struct side *target, const uint8_t *bytes, size_t len)
{
    struct side *source = other(target);
    target->pending = malloc(len);
    if (target->pending == NULL) {
        die("malloc");
    }
    memcpy(target->pending, bytes, len);
    target->pending_at = 0;
    target->pending_len = len;
    set_interest(source, source->interest & ~(uint32_t)EPOLLIN);
    set_interest(target, target->interest | EPOLLOUT);
}

static void on_readable(struct side *source)
{
    static uint8_t buffer[BUFFER_LEN];
    struct side *target = other(source);
    ssize_t len = read(source->fd, buffer, sizeof buffer);
    if (len < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            pair_close(source->pair);
        }
        return;
    }
    if (len == 0) {
        finish(source);
        return;
    }
    ssize_t written = write(target->fd, buffer, (size_t)len);
    if (written < 0 && errno != EAGAIN && errno != EINTR) {
        pair_close(source->pair);
        return;
    }
    size_t taken = written > 0 ? (size_t)written : 0;
    if (taken < (size_t)len) {
        keep(target, buffer + taken, (size_t)len - taken);
    }
}

static void on_writable(struct side *target)
{
    struct side *source = other(target);
    if (target->pending != NULL) {
        ssize_t written = write(target->fd, target->pending + target->pending_at,
                                target->pending_len - target->pending_at);
        if (written < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                pair_close(target->pair);
            }
            return;
        }
        target->pending_at += (size_t)written;
        if (target->pending_at < target->pending_len) {
            return;
        }
        free(target->pending);
        target->pending = NULL;
    }
    set_interest(target, target->interest & ~(uint32_t)EPOLLOUT);
    set_interest(source, source->interest | EPOLLIN); // also the first time: connected
}

static void on_accept(int listener, const struct sockaddr_in *target)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    struct pair *pair = calloc(1, sizeof *pair);
    int onward = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    static const int on = 1;
    if (pair == NULL || onward < 0 ||
        (connect(onward, (const struct sockaddr *)target, sizeof *target) != 0 &&
         errno != EINPROGRESS)) {
        close(fd);
        close(onward);
        free(pair);
        return;
    }
    const int fds[2] = {fd, onward};
    // What comes from the client waits in the kernel until the target is connected.
    static const uint32_t interests[2] = {0, EPOLLIN | EPOLLOUT};
    for (int i = 0; i < 2; i++) {
        struct side *side = &pair->sides[i];
        *side = (struct side){.fd = fds[i], .interest = interests[i], .pair = pair};
        struct epoll_event event = {.events = interests[i], .data.ptr = side};
        (void)setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[i], &event) != 0) {
            die("epoll_ctl");
        }
    }
}

static void on_event(struct side *side, uint32_t events)
{
    if (!side->pair->is_closed && (events & EPOLLOUT) != 0) {
        on_writable(side);
    }
    if (!side->pair->is_closed && (events & EPOLLIN) != 0) {
        on_readable(side);
    }
    if (!side->pair->is_closed && (events & (EPOLLERR | EPOLLHUP)) != 0 &&
        (side->interest & EPOLLIN) == 0 && (events & EPOLLERR) != 0) {
        pair_close(side->pair);
    }
}

static int start_listening(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, BACKLOG) != 0) {
        die("listen");
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: floor LISTEN_PORT TARGET_PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = start_listening((uint16_t)strtoul(argv[1], NULL, 10));
    struct sockaddr_in target = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) != 0) {
        die("epoll");
    }
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int num = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < num; i++) {
            if (events[i].data.ptr == NULL) {
                on_accept(listener, &target);
            } else {
                on_event(events[i].data.ptr, events[i].events);
            }
        }
        while (closed != NULL) {
            struct pair *pair = closed;
            closed = pair->next_closed;
            free(pair);
        }
    }
}
