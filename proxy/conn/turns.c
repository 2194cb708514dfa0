// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/turns.h"

#include <stdio.h>

#include "proxy/conn/closing.h"
#include "proxy/conn/conn.h"

enum {
    RUN_MAX = 32,   // how many advance in a turn of the loop, of each kind
    ENDS_MAX = 64,  // how many connections may have to go at one look
    SEEN_MAX = 256, // how many are looked at for whether their peers take anything
};

// Lets those advance that are ready by now. Who becomes ready meanwhile has its turn in the next
// turn of the loop, after everybody else's sockets.
static void advance_ready(struct turns *turns)
{
    struct list *link;
    list_push(&turns->ready, &turns->end);
    for (size_t num = 0; num < RUN_MAX && (link = list_pop(&turns->ready)) != &turns->end; num++) {
        conn_advance(LIST_OF(link, struct conn, ready));
    }
    list_remove(&turns->end);
}

// Lends blocks to those that wait, as long as there are any. Whom that lets advance may come to
// wait again, but behind those who waited before. Returns whether there may be more to lend.
static bool serve_waiting(struct pool *pool)
{
    struct side *side = NULL;
    for (size_t num = 0; num < RUN_MAX && (side = side_lend_next(pool)) != NULL; num++) {
        side->on_change(side->owner);
        side_settle_idle(side);
    }
    return side != NULL;
}

bool turns_run(struct conn_env *env)
{
    advance_ready(&env->turns);
    bool has_more = serve_waiting(&env->pool);
    return has_more || !list_is_empty(&env->turns.ready);
}

static const struct conn *first_waiting(const struct pool *pool)
{
    for (enum pool_use use = NUM_POOL_USES; use-- > 0;) {
        const struct list *queue = &pool->waiting[use];
        if (!list_is_empty(queue)) {
            return LIST_OF(queue->next - use, struct side, waiting)->owner;
        }
    }
    return NULL;
}

// Looks at those that have taken too little for longest.
static void see_progress(struct conn_env *env)
{
    size_t num = 0;
    LIST_EACH_SAFE(link, &env->pool.writing) {
        if (num++ == SEEN_MAX) {
            return;
        }
        side_see_progress(LIST_OF(link, struct side, writing), uv_now(env->loop));
    }
}

// Returns the side whose peer has taken too little for longest, and for TURNS_STALL_MS at least;
// not one of whoever asks first. NULL: there is none.
static struct side *longest_stalled(struct conn_env *env)
{
    const struct conn *asking = first_waiting(&env->pool);
    LIST_EACH_SAFE(link, &env->pool.writing) {
        struct side *side = LIST_OF(link, struct side, writing);
        if (uv_now(env->loop) - side->stalled_ms < TURNS_STALL_MS) {
            return NULL; // and so has everybody behind it
        }
        if (side->owner != asking && side_is_stalled(side, uv_now(env->loop))) {
            return side;
        }
    }
    return NULL;
}

static void end_stalled(struct side *side)
{
    struct conn *conn = side->owner;
    char detail[96];
    snprintf(detail, sizeof detail, "the %s has taken next to nothing for %llu ms, and others wait",
             side == conn->plain ? "service" : "peer",
             (unsigned long long)(conn_now_ms(conn) - side->stalled_ms));
    conn_end(conn, REASON_LIMIT_BUFFERS, detail);
    closing_now(conn); // nothing can be told to who takes nothing
}

static size_t num_waiting(const struct pool *pool)
{
    size_t num = 0;
    for (enum pool_use use = 0; use < NUM_POOL_USES; use++) {
        LIST_EACH_SAFE(link, &pool->waiting[use]) {
            num++;
        }
    }
    return num;
}

static void on_look(uv_timer_t *look)
{
    struct conn_env *env = look->data;
    struct pool *pool = &env->pool;
    if (!pool_is_short(pool)) {
        uv_timer_stop(look);
        return;
    }
    bool is_somebody_overdue = pool->num_served < env->turns.num_waits_at_look;
    env->turns.num_waits_at_look = pool->num_waits;
    size_t num = num_waiting(pool);
    struct side *side;
    see_progress(env);
    for (size_t i = 0;
         is_somebody_overdue && i < num && i < ENDS_MAX && (side = longest_stalled(env)) != NULL;
         i++) {
        end_stalled(side);
    }
}

// Called from within anybody's turn: it only makes sure that the loop comes back to it.
static void on_shortage(void *ctx)
{
    struct conn_env *env = ctx;
    stats_set(&env->stats.buffer_waits, env->pool.num_waits);
    env->wake(env->ctx);
    if (!uv_is_active((const uv_handle_t *)&env->turns.look)) {
        env->turns.num_waits_at_look = 0;
        uv_timer_start(&env->turns.look, on_look, TURNS_LOOK_MS, TURNS_LOOK_MS);
    }
}

void turns_init(struct conn_env *env)
{
    struct turns *turns = &env->turns;
    list_init(&turns->ready);
    turns->end = (struct list){0};
    uv_timer_init(env->loop, &turns->look);
    turns->look.data = env;
    pool_init(&env->pool, on_shortage, env);
    hangup_init(&env->hangup, env->loop);
}

void turns_close(struct conn_env *env)
{
    uv_close((uv_handle_t *)&env->turns.look, NULL);
    hangup_stop(&env->hangup);
}

void turns_add(struct conn *conn)
{
    struct conn_env *env = conn->env;
    if (!list_is_linked(&conn->ready)) {
        list_push(&env->turns.ready, &conn->ready);
        env->wake(env->ctx);
    }
}
