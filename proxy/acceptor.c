// SPDX-License-Identifier: Apache-2.0
#include "proxy/acceptor.h"

#include <stdlib.h>

#include "base/must.h"
#include "proxy/conn/conn.h"

enum {
    LOG_MS = 1000,
    TURN_MS = 8,
    AGAIN_MS = 100,
};

struct listener {
    uv_tcp_t tcp;
    struct listen_spec spec;
    struct addr bound;
    struct acceptor *acceptor; // borrowed
    struct listener *next;
    bool is_wanted;
    bool is_paused; // libuv holds a connection that is not taken yet
    bool is_full;   // for want of room
};

enum turn { ROOM, NO_ROOM, TURN_OVER };

static enum turn room_for(const struct listener *listener)
{
    struct conn_env *env = listener->acceptor->env;
    if (uv_hrtime() / 1000000 >= uv_now(env->loop) + TURN_MS) {
        return TURN_OVER;
    }
    return conn_has_room(env, listen_direction(listener->spec.kind)) ? ROOM : NO_ROOM;
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

// Takes the connection that libuv has announced, if there is room. While it is not taken, libuv
// accepts no other.
static enum turn take(struct listener *listener)
{
    struct conn_env *env = listener->acceptor->env;
    enum turn room = room_for(listener);
    bool was_full = listener->is_full;
    listener->is_paused = room != ROOM;
    listener->is_full = room == NO_ROOM;
    if (room == ROOM) {
        conn_accept(env, (uv_stream_t *)&listener->tcp, &listener->spec);
    } else if (room == TURN_OVER) {
        env->wake(env->ctx);
    } else if (!was_full) {
        note_full(listener);
    }
    return room;
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct listener *listener = stream->data;
    struct acceptor *acceptor = listener->acceptor;
    struct conn_env *env = acceptor->env;
    if (status == 0) {
        take(listener);
        return;
    }
    uint64_t num_passed_over;
    stats_add(&env->stats.accept_errors, 1);
    if (log_allowed(&acceptor->error_log, uv_now(env->loop), LOG_MS, &num_passed_over)) {
        log_warn("msg=\"cannot accept a connection\" error=\"%s\" not_logged=%llu",
                 uv_strerror(status), (unsigned long long)num_passed_over);
    }
}

void acceptor_resume(struct acceptor *acceptor)
{
    bool is_full = false;
    for (struct listener *at = acceptor->listeners; at != NULL; at = at->next) {
        if (at->is_paused) {
            is_full |= take(at) == NO_ROOM;
        }
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
    invariant(uv_tcp_init(acceptor->env->loop, &listener->tcp) == 0);
    listener->tcp.data = listener;
    invariant(uv_tcp_open(&listener->tcp, sock->fds[worker]) == 0);
    sock->fds[worker] = -1;
    invariant(uv_listen((uv_stream_t *)&listener->tcp, LISTEN_BACKLOG, on_connection) == 0);
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
        uv_close((uv_handle_t *)&listener->tcp, on_listener_closed);
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
