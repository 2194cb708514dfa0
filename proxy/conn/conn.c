// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/conn.h"

#include <string.h>

#include "base/must.h"
#include "proxy/conn/authorize.h"
#include "proxy/conn/closing.h"
#include "proxy/conn/deadline.h"
#include "proxy/conn/steps.h"
#include "proxy/carry/tls.h"
#include "proxy/conn/queue.h"

enum {
    OVERDUE_MS = 1,
};

static void on_change(void *owner)
{
    conn_advance(owner);
}

static void on_timer(uv_timer_t *timer);

static void timer_set(struct conn *conn, uint64_t within_ms)
{
    conn->timer_due_ms = conn_now_ms(conn) + within_ms;
    uv_timer_start(&conn->timer, on_timer, within_ms, 0);
}

static uint64_t deadline_left(const struct conn *conn, enum reason *out_reason)
{
    return step_rows[conn_step(conn)].left(conn, out_reason);
}

// A side of which nothing is read tells of no silent host by itself.
static void look_at_sides(struct conn *conn)
{
    struct side *const sides[] = {conn->plain, conn->mesh};
    conn->looked_ms = conn_now_ms(conn);
    for (size_t i = 0; i < 2; i++) {
        if (sides[i]->is_open && sides[i]->is_connected && sides[i]->error == 0) {
            sides[i]->carrier->look(sides[i]);
        }
    }
    if (conn->plain->error != 0 || conn->mesh->error != 0) {
        conn_advance(conn);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *conn = timer->data;
    enum reason reason;
    if (conn_step(conn) == STEP_RELAY && deadline_look(conn) == 0) {
        look_at_sides(conn);
    }
    uint64_t left = deadline_left(conn, &reason);
    if (left > 0) {
        conn->is_overdue = false;
        timer_set(conn, left);
    } else if (!conn->is_overdue) {
        // A turn of the loop that took long, or a process that was stopped, may owe the connection
        // what lies in its sockets: the loop looks there before the timer is due again.
        conn->is_overdue = true;
        timer_set(conn, OVERDUE_MS);
    } else if (conn->reason != REASON_NONE) {
        closing_now(conn);
    } else if (reason == REASON_NONE) {
        conn->is_detect_over = true;
        conn->is_overdue = false;
        conn->timer_due_ms = UINT64_MAX; // none, until deadline_sync sets one
        conn_advance(conn);
    } else {
        conn_end(conn, reason, deadline_detail(conn, reason));
    }
}

// Sets the deadline of a step that begins to wait, and pulls RELAY's nearer when something new may
// end it sooner, or one's to the next try for a local port or a place. Bytes that move only push it
// away, which is seen when the timer fires: no system call and no timer for a message.
static void deadline_sync(struct conn *conn, bool is_new)
{
    bool may_end_sooner = conn->plain->writing_len > 0 || conn->mesh->writing_len > 0 ||
                          conn->up.is_ending != conn->down.is_ending || conn->is_waiting_for_port ||
                          conn->is_waiting_for_place || deadline_held(conn) != UINT64_MAX;
    if (is_new) {
        conn->is_overdue = false;
    }
    if (is_new || may_end_sooner || conn->timer_due_ms == UINT64_MAX) { // or none is set
        enum reason reason;
        uint64_t left = deadline_left(conn, &reason);
        if (is_new || conn->timer_due_ms > conn_now_ms(conn) + left) {
            timer_set(conn, left);
        }
    }
}

static void interest_sync(struct conn *conn)
{
    bool (*wants_read)(const struct conn *, const struct side *) =
        step_rows[conn_step(conn)].wants_read;
    struct side *const sides[] = {conn->plain, conn->mesh};
    for (size_t i = 0; i < 2; i++) {
        struct side *side = sides[i];
        if (side->is_open && side->is_connected) {
            side_set_reading(side, wants_read(conn, side));
        }
    }
}

// Runs steps until one waits. Returns whether that one has only begun to.
static bool run_steps(struct conn *conn)
{
    for (;;) {
        bool is_new = !conn->is_step_begun;
        enum step_result result = step_rows[conn_step(conn)].run(conn);
        if (result == STEP_WAIT) {
            conn->is_step_begun = true;
            return is_new;
        }
        if (result == STEP_NEXT) {
            conn->at++;
        }
        conn->is_step_begun = false;
        conn->step_ms = conn_now_ms(conn);
    }
}

void conn_advance(struct conn *conn)
{
    if (conn->is_advancing) {
        conn->wants_advance = true;
        return;
    }
    conn->is_advancing = true;
    do {
        conn->wants_advance = false;
        bool is_new = run_steps(conn);
        if (conn->plain->is_open || conn->mesh->is_open) {
            deadline_sync(conn, is_new);
        }
        interest_sync(conn);
    } while (conn->wants_advance);
    conn->is_advancing = false;
    if (tls_is_interrupted(conn->mesh)) {
        turns_add(conn);
    }
    stats_set(&conn->env->stats.buffer_bytes, pool_bytes_lent(&conn->env->pool));
}

struct socket *conn_socket(struct conn *conn, const struct side *side)
{
    return side == conn->mesh ? &conn->mesh_socket : &conn->plain_socket;
}

void conn_make_socket(struct conn *conn, const struct side *side)
{
    socket_init(conn_socket(conn, side), conn->env->loop, &conn->env->hangup, &conn->env->pool,
                conn, on_change, closing_on_handle_closed);
    conn->handles_open++;
}

int conn_caller_error(const struct conn *conn)
{
    return socket_error(conn->accepted == conn->mesh ? &conn->mesh_socket : &conn->plain_socket);
}

bool conn_origin(struct conn *conn, struct origin *out, bool is_intercepted)
{
    return origin_read(out, socket_fd(conn_socket(conn, conn->accepted)), is_intercepted);
}

static struct conn *conn_new(struct conn_env *env, const struct listen_spec *spec)
{
    struct conn *conn = must_alloc(1, sizeof *conn);
    conn->env = env;
    env->next_id += env->id_step;
    conn->id = env->next_id;
    conn->kind = spec->kind;
    conn->direction = listen_direction(spec->kind);
    conn->plain = &conn->plain_socket.side;
    conn->mesh = &conn->mesh_socket.side;
    conn->mesh->is_mesh = true;
    conn->accepted = conn->direction == DIRECTION_OUTBOUND ? conn->plain : conn->mesh;
    conn->dialed = conn->direction == DIRECTION_OUTBOUND ? conn->mesh : conn->plain;
    conn->mesh->owner = conn; // a handshake may wait for its turn before the side is made
    conn->mesh->on_change = on_change;
    conn->destination = spec->target;
    conn->port = spec->port;
    conn->at = path_start;
    conn->rule = -1;
    conn->opened_ms = uv_now(env->loop);
    uv_timer_init(env->loop, &conn->timer);
    conn->timer.data = conn;
    conn->handles_open = 1;
    conn_make_socket(conn, conn->accepted);
    conn->next = env->conns;
    if (env->conns != NULL) {
        env->conns->prev = conn;
    }
    env->conns = conn;
    env->num_conns++;
    env->num_open[conn->direction]++;
    return conn;
}

void conn_env_init(struct conn_env *env, uv_loop_t *loop)
{
    *env = (struct conn_env){.loop = loop};
    signer_init(&env->signer, NULL);
    room_read(&env->room, "/proc/self/cgroup", "/sys/fs/cgroup");
    denials_init(&env->denials);
    queue_init(env);
}

void conn_env_cleanup(struct conn_env *env)
{
    snapshot_unref(env->snapshot);
    pool_cleanup(&env->pool);
    peers_cleanup(&env->peers);
    host_addrs_cleanup(&env->host_addrs);
    denials_cleanup(&env->denials);
    queue_cleanup(env);
}

bool conn_has_room(struct conn_env *env, enum direction direction)
{
    struct gate *gate = &env->gates[DIRECTION_INBOUND];
    uint64_t now_ms = uv_now(env->loop);
    if (queue_is_full(env, direction, gate->num[TICKET_HELLO])) {
        return false;
    }
    if (queue_descriptors(env) + 2 > env->descriptors_max && !gate_evict_hello(gate, now_ms)) {
        return false;
    }
    if (direction == DIRECTION_OUTBOUND) {
        return true; // callers wait in QUEUE, for each destination
    }
    return gate_has_hello_room(gate, now_ms) &&
           (gate->num[TICKET_WAITING] + gate->num[TICKET_IN_FLIGHT] < env->limits.handshakes ||
            gate_evict_silent(gate, now_ms));
}

void conn_accept(struct conn_env *env, int fd, const struct listen_spec *spec)
{
    struct conn *conn = conn_new(env, spec);
    stats_add(&env->stats.opened[conn->direction], 1);
    stats_add(&env->stats.open[conn->direction], 1);
    int error = socket_accept(conn_socket(conn, conn->accepted), fd);
    if (error != 0) {
        conn_end(conn, REASON_NO_ORIGIN, strerror(error));
    } else {
        conn_advance(conn);
    }
}

void conn_recheck(struct conn *conn)
{
    if (conn->reason != REASON_NONE || !conn->is_authorized) {
        conn->policy = NULL; // it will ask when it comes to AUTHORIZE
        return;
    }
    enum reason reason = authorize(conn, true);
    if (reason != REASON_NONE) {
        conn_end(conn, reason, NULL);
    } else {
        deadline_sync(conn, true); // the limits may have changed, too
    }
}

void conn_sync_deadline(struct conn *conn)
{
    if (conn->reason == REASON_NONE) {
        deadline_sync(conn, true);
    }
}
