// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // accept4
#include "proxy/acceptor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "proxy/conn/conn.h"

enum {
    LOG_MS = 1000,
    TURN_MS = 8,
    AGAIN_MS = 100,
};

struct listener {
    uv_poll_t poll;
    int fd;
    struct listen_spec spec;
    struct addr bound;
    struct acceptor *acceptor; // borrowed
    struct listener *next;
    int caller_fd; // accepted, and waits for room; -1: nobody does
    bool is_wanted;
    bool is_full; // nobody looks whether callers wait: there is no room
    bool is_late; // the turn was over before all who wait were taken
};

enum next { CALLER, NOBODY, NOBODY_NOW };

static bool is_turn_over(const struct conn_env *env)
{
    return uv_hrtime() / 1000000 >= uv_now(env->loop) + TURN_MS;
}

static void on_again(uv_timer_t *timer)
{
    struct acceptor *acceptor = timer->data;
    acceptor->env->wake(acceptor->env->ctx);
}

// Lets callers wait until somebody has gone, or has been silent for long enough.
static void note_full(const struct listener *listener)
{
    struct acceptor *acceptor = listener->acceptor;
    struct conn_env *env = acceptor->env;
    enum direction direction = listen_direction(listener->spec.kind);
    uint64_t num_passed_over;
    if (!env->is_full) {
        env->is_full = true;
        uv_timer_start(&acceptor->again, on_again, AGAIN_MS, AGAIN_MS);
    }
    stats_add(&env->stats.accept_pauses[direction], 1);
    if (log_allowed(&acceptor->pause_log, uv_now(env->loop), LOG_MS, &num_passed_over)) {
        char buf[ADDR_TEXT_MAX];
        log_warn("msg=\"callers wait: a limit is reached\" dir=%s listener=%s connections=%u "
                 "handshakes=%u not_logged=%llu",
                 direction_text(direction), addr_text(&listener->bound, buf),
                 env->num_open[direction], env->gates[direction].num[TICKET_IN_FLIGHT],
                 (unsigned long long)num_passed_over);
    }
}

// Says that no connection can be taken, as when there is no descriptor left, and lets callers wait
// for AGAIN_MS: an error that stays must not be met all the time.
static void note_error(struct acceptor *acceptor, int error)
{
    struct conn_env *env = acceptor->env;
    uint64_t num_passed_over;
    acceptor->short_until = uv_now(env->loop) + AGAIN_MS;
    stats_add(&env->stats.accept_errors, 1);
    if (log_allowed(&acceptor->error_log, uv_now(env->loop), LOG_MS, &num_passed_over)) {
        log_warn("msg=\"cannot accept a connection\" error=\"%s\" not_logged=%llu", strerror(error),
                 (unsigned long long)num_passed_over);
    }
}

// Listens again where somebody who may do so has ended that from outside (SOCK_DESTROY: `ss -K`).
static void listen_again(const struct listener *listener)
{
    struct sockaddr_storage sa;
    socklen_t sa_len = sizeof sa;
    struct addr bound;
    invariant(listen(listener->fd, LISTEN_BACKLOG) == 0);
    // The kernel gives a port that it chose itself to others as soon as nobody listens there.
    invariant(getsockname(listener->fd, (struct sockaddr *)&sa, &sa_len) == 0 &&
              addr_from_sockaddr(&bound, (const struct sockaddr *)&sa) &&
              addr_equal(&bound, &listener->bound));
}

// Looks whether somebody waits, and has him in caller_fd then. A caller who is gone again, or to
// whom the network is down, is no fault of the listener's (accept(2), "Error handling").
static enum next look_for_caller(struct listener *listener)
{
    struct acceptor *acceptor = listener->acceptor;
    while (listener->caller_fd < 0) {
        if (uv_now(acceptor->env->loop) < acceptor->short_until) {
            return NOBODY_NOW;
        }
        listener->caller_fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        switch (listener->caller_fd >= 0 ? 0 : errno) {
        case 0:
            return CALLER;
        case EAGAIN:
        case ECONNABORTED:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case EINTR:
        case ENETDOWN:
        case ENETUNREACH:
        case ENONET:
        case ENOPROTOOPT:
        case EOPNOTSUPP:
        case EPROTO:
            return NOBODY; // who waits behind him is looked for in the next turn
        case EINVAL:
            note_error(acceptor, errno);
            listen_again(listener);
            break;
        default:
            note_error(acceptor, errno);
        }
    }
    return CALLER;
}

static void serve(struct listener *listener);

static void on_callers(uv_poll_t *poll, int status, int events)
{
    (void)status; // accept4 says why
    (void)events;
    serve(poll->data);
}

// Looks for callers, or lets them wait until acceptor_resume.
static void watch(struct listener *listener, bool is_full)
{
    if (is_full && !listener->is_full) {
        uv_poll_stop(&listener->poll);
        note_full(listener);
    } else if (!is_full && !uv_is_active((const uv_handle_t *)&listener->poll)) {
        invariant(uv_poll_start(&listener->poll, UV_READABLE, on_callers) == 0);
    }
    listener->is_full = is_full;
}

// Takes callers while there is room and the turn lasts, and one of them in any case: what the loop
// did before it came here may have taken the whole turn, and may do so in each. Only where somebody
// waits conn_has_room is asked, since a stranger may have to go for him.
static void serve(struct listener *listener)
{
    struct conn_env *env = listener->acceptor->env;
    listener->is_late = false;
    do {
        enum next next = look_for_caller(listener);
        if (next == NOBODY) {
            watch(listener, false);
            return;
        }
        if (next == NOBODY_NOW || !conn_has_room(env, listen_direction(listener->spec.kind))) {
            watch(listener, true);
            return;
        }
        int fd = listener->caller_fd;
        listener->caller_fd = -1;
        conn_accept(env, fd, &listener->spec);
    } while (!is_turn_over(env));
    watch(listener, false);
    listener->is_late = true; // the next turn begins with it
    env->wake(env->ctx);
}

void acceptor_resume(struct acceptor *acceptor)
{
    bool is_full = false;
    for (struct listener *at = acceptor->listeners; at != NULL; at = at->next) {
        if (at->is_full || at->is_late) {
            serve(at);
        }
        is_full |= at->is_full;
    }
    if (acceptor->env->is_full && !is_full) {
        acceptor->env->is_full = false;
        uv_timer_stop(&acceptor->again);
    }
}

static void on_listener_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static struct listener *listener_find(struct acceptor *acceptor, const struct listen_socket *sock)
{
    for (struct listener *at = acceptor->listeners; at != NULL; at = at->next) {
        if (addr_equal(&at->bound, &sock->bound)) {
            return at;
        }
    }
    return NULL;
}

// Serves a worker's descriptor of a socket. The socket listens already (listen_plan_init), so no
// address can turn out to be taken: a failure here is a bug, and aborts rather than leave a port
// that nobody serves.
static void listener_open(struct acceptor *acceptor, struct listen_socket *sock, unsigned worker)
{
    struct listener *listener = must_alloc(1, sizeof *listener);
    invariant(sock->fds[worker] >= 0);
    listener->acceptor = acceptor;
    listener->spec = sock->spec;
    listener->bound = sock->bound;
    listener->is_wanted = true;
    listener->fd = sock->fds[worker];
    sock->fds[worker] = -1;
    listener->caller_fd = -1;
    invariant(listen(listener->fd, LISTEN_BACKLOG) == 0);
    invariant(uv_poll_init(acceptor->env->loop, &listener->poll, listener->fd) == 0);
    listener->poll.data = listener;
    watch(listener, false);
    listener->next = acceptor->listeners;
    acceptor->listeners = listener;
}

static void close_unwanted(struct acceptor *acceptor)
{
    struct listener **at = &acceptor->listeners;
    while (*at != NULL) {
        struct listener *listener = *at;
        if (listener->is_wanted) {
            at = &listener->next;
            continue;
        }
        *at = listener->next;
        uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
        close(listener->fd);
        if (listener->caller_fd >= 0) {
            close(listener->caller_fd);
        }
    }
}

static void want_none(struct acceptor *acceptor)
{
    for (struct listener *at = acceptor->listeners; at != NULL; at = at->next) {
        at->is_wanted = false;
    }
}

void acceptor_adopt(struct acceptor *acceptor, struct listen_plan *plan, unsigned worker)
{
    struct conn_env *env = acceptor->env;
    want_none(acceptor);
    env->outbound_port = 0;
    env->inbound_port = 0;
    for (size_t i = 0; i < plan->num; i++) {
        struct listen_socket *sock = &plan->sockets[i];
        if (sock->spec.kind == LISTEN_OUTBOUND) {
            env->outbound_port = sock->bound.port;
        } else if (sock->spec.kind == LISTEN_INBOUND) {
            env->inbound_port = sock->bound.port;
        }
        struct listener *listener = listener_find(acceptor, sock);
        if (listener == NULL) {
            listener_open(acceptor, sock, worker);
        } else {
            listener->spec = sock->spec;
            listener->is_wanted = true;
        }
    }
    close_unwanted(acceptor);
    env->wake(env->ctx); // the limits may be others, too
}

void acceptor_init(struct acceptor *acceptor, struct conn_env *env)
{
    *acceptor = (struct acceptor){.env = env};
    uv_timer_init(env->loop, &acceptor->again);
    acceptor->again.data = acceptor;
}

void acceptor_close(struct acceptor *acceptor, enum direction direction)
{
    for (struct listener *at = acceptor->listeners; at != NULL; at = at->next) {
        at->is_wanted &= listen_direction(at->spec.kind) != direction;
    }
    close_unwanted(acceptor);
}

void acceptor_cleanup(struct acceptor *acceptor)
{
    want_none(acceptor);
    close_unwanted(acceptor);
    uv_close((uv_handle_t *)&acceptor->again, NULL);
    acceptor->env->is_full = false;
}
