// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // accept4
#include "control/host/http_listeners.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"

// It frees itself when it is closed.
struct http_listener {
    struct http_listeners *listeners; // borrowed
    uv_poll_t poll;
    struct addr addr; // as it was asked for; the zero state: a descriptor that came from elsewhere
    int fd;           // owned
};

static void release(struct http_listeners *listeners)
{
    if (--listeners->handles_open == 0) {
        listeners->on_closed(listeners->ctx);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct http_listener *listener = handle->data;
    struct http_listeners *listeners = listener->listeners;
    free(listener);
    release(listeners);
}

static void on_pause_over(uv_timer_t *timer);

static void pause_all(struct http_listeners *listeners)
{
    for (size_t i = 0; i < HTTP_LISTENERS_MAX; i++) {
        if (listeners->all[i] != NULL) {
            uv_poll_stop(&listeners->all[i]->poll);
        }
    }
    uv_timer_start(&listeners->pause, on_pause_over, HTTP_PAUSE_MS, 0);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    const struct http_listener *listener = poll->data;
    struct http_listeners *listeners = listener->listeners;
    for (int i = 0; i < HTTP_ACCEPTS_MAX; i++) {
        struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
        socklen_t len = sizeof from;
        int fd =
            accept4(listener->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listeners->on_connection(listeners->ctx, fd, &from, len);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_all(listeners);
            break;
        } else if (errno == EAGAIN) {
            break;
        }
    }
    listeners->on_turn(listeners->ctx);
}

static void on_pause_over(uv_timer_t *timer)
{
    const struct http_listeners *listeners = timer->data;
    for (size_t i = 0; i < HTTP_LISTENERS_MAX; i++) {
        if (listeners->all[i] != NULL) {
            uv_poll_start(&listeners->all[i]->poll, UV_READABLE, on_ready);
        }
    }
}

static void add(struct http_listeners *listeners, int fd, const struct addr *addr)
{
    size_t at = 0;
    while (listeners->all[at] != NULL) {
        at++;
        invariant(at < HTTP_LISTENERS_MAX);
    }
    struct http_listener *listener = must_alloc(1, sizeof *listener);
    *listener = (struct http_listener){.listeners = listeners, .addr = *addr, .fd = fd};
    uv_poll_init(listeners->pause.loop, &listener->poll, fd);
    listener->poll.data = listener;
    listeners->handles_open++;
    listeners->all[at] = listener;
    uv_poll_start(&listener->poll, UV_READABLE, on_ready);
}

static void close_one(struct http_listeners *listeners, size_t at)
{
    struct http_listener *listener = listeners->all[at];
    listeners->all[at] = NULL;
    uv_close((uv_handle_t *)&listener->poll, on_poll_closed);
    close(listener->fd);
}

static bool listen_on(struct http_listeners *listeners, const struct addr *addr, struct err *err)
{
    struct addr bound = {0};
    char text[ADDR_TEXT_MAX];
    int fd = listen_tcp(addr, &bound, err);
    if (fd < 0) {
        return false;
    }
    log_info("msg=listening what=%s address=%s", listeners->what, addr_text(&bound, text));
    add(listeners, fd, addr);
    return true;
}

// Whether the addresses hold one. Takes it out: what is left in the end is new.
static bool take_out(struct listen_addrs *addrs, const struct addr *addr)
{
    for (size_t i = 0; i < addrs->num; i++) {
        if (addr_equal(&addrs->addrs[i], addr)) {
            addrs->addrs[i] = addrs->addrs[--addrs->num];
            return true;
        }
    }
    return false;
}

// Listens on the addresses that the host has by now. One that can't be had is tried again.
static void on_follow(uv_timer_t *timer)
{
    struct http_listeners *listeners = timer->data;
    // The first is 127.0.0.1, which stays.
    struct listen_addrs addrs = listen_own(listeners->all[0]->addr.port);
    for (size_t i = 0; i < HTTP_LISTENERS_MAX; i++) {
        if (listeners->all[i] != NULL && !take_out(&addrs, &listeners->all[i]->addr)) {
            close_one(listeners, i);
        }
    }
    for (size_t i = 0; i < addrs.num; i++) {
        listen_on(listeners, &addrs.addrs[i], NULL);
    }
}

void http_listeners_init(struct http_listeners *listeners, uv_loop_t *loop)
{
    uv_timer_init(loop, &listeners->pause);
    uv_timer_init(loop, &listeners->follow);
    listeners->pause.data = listeners->follow.data = listeners;
    listeners->handles_open = 2;
}

void http_listeners_add(struct http_listeners *listeners, int fd)
{
    add(listeners, fd, &(struct addr){.port = 0});
}

bool http_listeners_add_tcp(struct http_listeners *listeners, const char *what,
                            const struct listen_addrs *addrs, struct err *err)
{
    listeners->what = what;
    for (size_t i = 0; i < addrs->num; i++) {
        if (!listen_on(listeners, &addrs->addrs[i], err)) {
            return err_prefix(err, "--%s", what);
        }
    }
    if (addrs->is_own) {
        uv_timer_start(&listeners->follow, on_follow, HTTP_FOLLOW_MS, HTTP_FOLLOW_MS);
    }
    return true;
}

void http_listeners_close(struct http_listeners *listeners)
{
    for (size_t i = 0; i < HTTP_LISTENERS_MAX; i++) {
        if (listeners->all[i] != NULL) {
            close_one(listeners, i);
        }
    }
    uv_close((uv_handle_t *)&listeners->pause, on_timer_closed);
    uv_close((uv_handle_t *)&listeners->follow, on_timer_closed);
}
