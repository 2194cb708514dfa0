// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "proxy/conn/authorize.h"
#include "proxy/conn/deadline.h"
#include "proxy/conn/steps.h"
#include "proxy/carry/tls.h"

enum { LIMIT_LOG_MS = 1000 };

static const char *const step_texts[NUM_STEPS] = {
    [STEP_ORIGIN] = "origin",   [STEP_ROUTE] = "route",         [STEP_DETECT] = "detect",
    [STEP_CONNECT] = "connect", [STEP_HANDSHAKE] = "handshake", [STEP_AUTHORIZE] = "authorize",
    [STEP_RELAY] = "relay",     [STEP_CLOSING] = "closing",
};

const char *step_text(enum step step)
{
    return step_texts[step];
}

enum step conn_step(const struct conn *conn)
{
    return conn->reason != REASON_NONE ? STEP_CLOSING : conn->path[conn->position];
}

static void conn_free(struct conn *conn)
{
    struct conn_env *env = conn->env;
    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        env->conns = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    env->num_conns--;
    stats_set(&env->stats.buffer_bytes,
              pool_bytes_lent(&env->pool)); // a deadline ends without an advance
    free(conn->detail);
    free(conn);
    env->on_conn_gone(env->ctx);
}

static void on_handle_closed(void *owner)
{
    struct conn *conn = owner;
    if (--conn->handles_open == 0) {
        conn_free(conn);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_handle_closed(handle->data);
}

static void on_change(void *owner)
{
    conn_advance(owner);
}

static void close_all(struct conn *conn)
{
    bool is_failure = conn->reason != REASON_FINISHED;
    bool has_spoken_tls = conn->mesh.ssl != NULL;
    if (conn->mesh.is_open) {
        tls_stop(&conn->mesh);
        // After an alert the peer gets a FIN: a reset could overtake it.
        bool with_reset = is_failure && !(has_spoken_tls && conn->mesh.is_finished);
        side_close(&conn->mesh, with_reset);
    }
    if (conn->plain.is_open) {
        side_close(&conn->plain, is_failure);
    }
    if (!uv_is_closing((const uv_handle_t *)&conn->timer)) {
        uv_close((uv_handle_t *)&conn->timer, on_timer_closed);
    }
}

// The last flush: an alert may still be on its way to the peer, everything else is over.
static void close_when_flushed(struct conn *conn)
{
    struct side *mesh = &conn->mesh;
    if (mesh->is_open) {
        ring_pull(&mesh->in, mesh->in.len);
        side_settle(mesh, &mesh->in);
        side_flush(mesh);
        bool is_over = mesh->error != 0 || (mesh->is_finished && mesh->is_eof);
        if (!is_over && mesh->ssl != NULL) {
            return;
        }
    }
    close_all(conn);
}

// Whether this end is to be logged: the limits that a flood meets are told once in a while, with
// how many were not (each is counted all the same).
static bool is_logged(struct conn *conn, uint64_t *out_num_passed_over)
{
    *out_num_passed_over = 0;
    return (conn->reason != REASON_LIMIT_CONNECTIONS && conn->reason != REASON_LIMIT_HANDSHAKES) ||
           log_allowed(&conn->env->limit_log, uv_now(conn->env->loop), LIMIT_LOG_MS,
                       out_num_passed_over);
}

static void log_end(struct conn *conn, enum step ended_in)
{
    uint64_t num_passed_over;
    if (!is_logged(conn, &num_passed_over)) {
        return;
    }
    char src[ADDR_TEXT_MAX];
    char dst[ADDR_TEXT_MAX];
    char rule[160] = "-";
    char detail[512] = "";
    char quoted[480];
    if (conn->policy != NULL && conn->policy[0] != '\0') {
        int len = snprintf(rule, sizeof rule, "%s", conn->policy);
        if (conn->rule >= 0 && len > 0 && (size_t)len < sizeof rule) {
            snprintf(rule + len, sizeof rule - (size_t)len, "#%d", conn->rule);
        }
    }
    if (conn->detail != NULL) {
        snprintf(detail, sizeof detail, " detail=%s",
                 log_quote(quoted, sizeof quoted, conn->detail));
    }
    if (num_passed_over > 0) {
        snprintf(detail, sizeof detail, " not_logged=%llu", (unsigned long long)num_passed_over);
    }
    log_info("msg=conn id=%llu dir=%s src=%s dst=%s peer=%s rule=%s generation=%llu up=%llu "
             "down=%llu ms=%llu reason=%s while=%s%s",
             (unsigned long long)conn->id, direction_text(conn->direction),
             addr_text(&conn->source, src), addr_text(&conn->destination, dst),
             conn->peer != NULL ? conn->peer->text : "-", rule,
             (unsigned long long)conn->env->snapshot->generation,
             (unsigned long long)conn->up.num_bytes, (unsigned long long)conn->down.num_bytes,
             (unsigned long long)(uv_now(conn->env->loop) - conn->opened_ms),
             reason_text(conn->reason), step_text(ended_in), detail);
}

// Gives back what only a living connection holds.
static void release_facts(struct conn *conn)
{
    struct conn_env *env = conn->env;
    signer_cancel(&env->signer, &conn->sign);
    if (conn->is_in_handshake) {
        conn->is_in_handshake = false;
        env->num_handshakes--;
        stats_set(&env->stats.handshakes_in_flight, env->num_handshakes);
    }
    snapshot_unref(conn->handshake_snapshot);
    conn->handshake_snapshot = NULL;
    peer_unref(&env->peers, conn->peer);
    conn->peer = NULL;
    conn->policy = NULL;
}

static void on_timer(uv_timer_t *timer);

static void timer_set(struct conn *conn, uint64_t within_ms)
{
    conn->timer_due_ms = uv_now(conn->env->loop) + within_ms;
    uv_timer_start(&conn->timer, on_timer, within_ms, 0);
}

void conn_end(struct conn *conn, enum reason reason, const char *detail)
{
    if (conn->reason != REASON_NONE) {
        return;
    }
    enum step ended_in = conn_step(conn);
    struct stats *stats = &conn->env->stats;
    conn->reason = reason;
    conn->step_ms = uv_now(conn->env->loop);
    if (detail != NULL && conn->detail == NULL) {
        conn->detail = strdup(detail);
    }
    stats_add(&stats->closed[conn->direction][reason], 1);
    stats_add(&stats->open[conn->direction], (uint64_t)-1);
    log_end(conn, ended_in);
    release_facts(conn);
    if (reason != REASON_FINISHED && conn->plain.is_open) {
        side_close(&conn->plain, true); // the service learns at once, and never by a quiet end
    }
    if (reason != REASON_FINISHED && conn->mesh.ssl != NULL) {
        int alert = reason_alert(reason);
        if (alert != REASON_NO_ALERT) {
            tls_alert(&conn->mesh, (uint8_t)alert);
        }
        conn->mesh.wants_finish = true;
        timer_set(conn, conn->env->limits.closing_ms);
        if (conn->is_advancing) {
            conn->wants_advance = true;
            return;
        }
        close_when_flushed(conn);
        if (conn->mesh.is_open) {
            side_set_reading(&conn->mesh, true);
        }
        return;
    }
    close_all(conn);
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *conn = timer->data;
    enum reason reason;
    uint64_t left = deadline_left(conn, &reason);
    if (left > 0) {
        timer_set(conn, left);
    } else if (conn->reason != REASON_NONE) {
        close_all(conn);
    } else if (reason == REASON_NONE) {
        conn->is_detect_over = true;
        conn_advance(conn);
    } else {
        conn_end(conn, reason, NULL);
    }
}

// Sets the deadline of a step that begins to wait, and pulls RELAY's nearer when something new may
// end it sooner. Bytes that move only push it away, which is seen when the timer fires: no system
// call and no timer for a message.
static void deadline_sync(struct conn *conn, bool is_new)
{
    bool may_end_sooner = conn->plain.writing_len > 0 || conn->mesh.writing_len > 0 ||
                          conn->up.is_ending != conn->down.is_ending;
    if (is_new || may_end_sooner) {
        enum reason reason;
        uint64_t left = deadline_left(conn, &reason);
        if (is_new || conn->timer_due_ms > uv_now(conn->env->loop) + left) {
            timer_set(conn, left);
        }
    }
}

static void interest_sync(struct conn *conn)
{
    struct side *const sides[] = {&conn->plain, &conn->mesh};
    for (size_t i = 0; i < 2; i++) {
        struct side *side = sides[i];
        if (side->is_open && side->is_connected) {
            side_set_reading(side, steps_want_read(conn, side));
        }
    }
}

// Runs the path from where it stands until a step waits or the connection ends. Returns whether the
// last step is new.
static bool run_steps(struct conn *conn)
{
    bool is_new = false;
    while (conn->reason == REASON_NONE) {
        enum step_result result = step_run(conn, conn->path[conn->position]);
        if (result == STEP_WAIT || result == STEP_ENDED) {
            conn->is_step_begun = true;
            break;
        }
        if (result == STEP_NEXT) {
            conn->position++;
        }
        conn->is_step_begun = false;
        conn->step_ms = uv_now(conn->env->loop);
        is_new = true;
    }
    return is_new;
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
        if (conn->reason == REASON_NONE) {
            deadline_sync(conn, is_new);
        } else if (conn->mesh.is_open || conn->plain.is_open) {
            close_when_flushed(conn);
        }
        interest_sync(conn);
    } while (conn->wants_advance);
    conn->is_advancing = false;
    stats_set(&conn->env->stats.buffer_bytes, pool_bytes_lent(&conn->env->pool));
}

static void on_sign_done(void *owner)
{
    conn_advance(owner);
}

static struct conn *conn_new(struct conn_env *env, const struct listen_spec *spec)
{
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    conn->env = env;
    env->next_id += env->id_step;
    conn->id = env->next_id;
    conn->kind = spec->kind;
    conn->direction = spec->kind == LISTEN_OUTBOUND || spec->kind == LISTEN_FORWARD
                          ? DIRECTION_OUTBOUND
                          : DIRECTION_INBOUND;
    conn->accepted = conn->direction == DIRECTION_OUTBOUND ? &conn->plain : &conn->mesh;
    conn->dialed = conn->direction == DIRECTION_OUTBOUND ? &conn->mesh : &conn->plain;
    conn->destination = spec->target;
    conn->port = spec->port;
    conn->path = path_start;
    conn->rule = -1;
    conn->opened_ms = uv_now(env->loop);
    conn->sign.owner = conn;
    conn->sign.on_done = on_sign_done;
    uv_timer_init(env->loop, &conn->timer);
    conn->timer.data = conn;
    side_init(conn->accepted, env->loop, &env->pool, conn, on_change, on_handle_closed);
    conn->handles_open = 2;
    conn->next = env->conns;
    if (env->conns != NULL) {
        env->conns->prev = conn;
    }
    env->conns = conn;
    env->num_conns++;
    return conn;
}

void conn_accept(struct conn_env *env, uv_stream_t *listener, const struct listen_spec *spec)
{
    struct conn *conn = conn_new(env, spec);
    if (conn == NULL) {
        log_error("msg=\"out of memory for a connection\"");
        abort(); // the agent starts a proxy with more room; a listener that waits would wait for
                 // ever
    }
    stats_add(&env->stats.opened[conn->direction], 1);
    stats_add(&env->stats.open[conn->direction], 1);
    int error = side_accept(conn->accepted, listener);
    if (error != 0) {
        conn_end(conn, REASON_NO_ORIGIN, uv_strerror(error));
    } else if (env->num_conns > env->limits.connections) {
        conn_end(conn, REASON_LIMIT_CONNECTIONS, NULL);
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
