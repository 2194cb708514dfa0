// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // pthread_setname_np
#include "proxy/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "base/now.h"
#include "proxy/conn/closing.h"
#include "proxy/conn/queue.h"

enum {
    POOL_BYTES_MIN = 8 * RING_BYTES, // of a worker, or it could serve nobody
    DRAIN_CUT_MS = 1000,             // for the last bytes of connections that a drain's end ended
};

static uint32_t share(uint32_t whole, unsigned num_workers)
{
    return (whole + num_workers - 1) / num_workers;
}

struct room worker_room(const struct conn_env *env, const struct snapshot *snapshot,
                        unsigned num_workers)
{
    return room_for_connections(&env->room, num_workers, route_num_listens(snapshot->routes));
}

// Makes the limits this worker's share of what the snapshot allows and the process has room for.
static void limit(struct conn_env *env, const struct snapshot *snapshot, unsigned num_workers)
{
    struct limits *limits = &env->limits;
    const struct room room = worker_room(env, snapshot, num_workers);
    *limits = *route_limits(snapshot->routes);
    room_fit(limits, &room);
    env->descriptors_max = room.descriptors / num_workers;
    limits->connections = share(limits->connections, num_workers);
    limits->identity_connections = share(limits->identity_connections, num_workers);
    limits->hellos = share(limits->hellos, num_workers);
    limits->handshakes = share(limits->handshakes, num_workers);
    limits->denials = share(limits->denials, num_workers);
    denials_limit(&env->denials, limits->denials);
    queue_limit(env);
}

static void recheck_all(struct conn_env *env)
{
    peers_recheck(&env->peers, env->snapshot->trust->bundles, now_read(uv_now(env->loop)));
    struct conn *next;
    for (struct conn *conn = env->conns; conn != NULL; conn = next) {
        next = conn->next; // ending frees nobody before the loop's next turn
        conn_recheck(conn);
    }
}

void worker_adopt(struct conn_env *env, struct snapshot *snapshot, unsigned num_workers)
{
    struct snapshot *old = env->snapshot;
    env->snapshot = snapshot_ref(snapshot);
    limit(env, snapshot, num_workers);
    uint64_t pool_bytes = env->limits.buffer_bytes / num_workers;
    pool_set_limit(&env->pool, pool_bytes < POOL_BYTES_MIN ? POOL_BYTES_MIN : pool_bytes);
    recheck_all(env);
    snapshot_unref(old);
}

static void take_generation(struct worker *worker, struct generation *generation)
{
    uint64_t number = generation->snapshot->generation;
    worker_adopt(&worker->env, generation->snapshot, worker->num_workers);
    if (!worker->env.is_draining) {
        acceptor_adopt(&worker->acceptor, &generation->plan, worker->index);
    }
    generation_unref(generation);
    atomic_store(&worker->adopted_generation, number);
}

static Tabard__V1__Connection *conn_describe(const struct conn *conn)
{
    char buf[ADDR_TEXT_MAX];
    Tabard__V1__Connection *out = must_alloc(1, sizeof *out);
    tabard__v1__connection__init(out);
    out->id = conn->id;
    out->direction = must_strdup(direction_text(conn->direction));
    out->step = must_strdup(step_text(conn_step(conn)));
    out->source = must_strdup(addr_text(&conn->source, buf));
    out->destination = must_strdup(addr_text(&conn->destination, buf));
    out->peer = must_strdup(conn->peer != NULL ? conn->peer->text : "");
    const char *claimed = handshake_claimed(&conn->handshake);
    out->claimed = must_strdup(claimed != NULL ? claimed : "");
    out->policy = must_strdup(conn->policy != NULL ? conn->policy : "");
    if (conn->rule >= 0) {
        out->deciding_case = TABARD__V1__CONNECTION__DECIDING_RULE;
        out->rule = (uint32_t)conn->rule;
    }
    out->would = must_strdup(conn->would != REASON_NONE ? reason_text(conn->would) : "");
    out->generation = conn->env->snapshot->generation;
    out->bytes_up = conn->up.num_bytes;
    out->bytes_down = conn->down.num_bytes;
    out->age_ms = uv_now(conn->env->loop) - conn->opened_ms;
    return out;
}

static void answer_report(struct worker *worker, struct worker_report *report)
{
    size_t max = report->num_connections_max;
    report->connections = must_alloc(max, sizeof(Tabard__V1__Connection *));
    for (const struct conn *conn = worker->env.conns; conn != NULL && report->num < max;
         conn = conn->next) {
        report->connections[report->num++] = conn_describe(conn);
    }
    if (report->wants_denials) {
        const struct denials *denials = &worker->env.denials;
        report->denials = must_alloc(denials->num, sizeof *report->denials);
        denials_report(denials, report->denials, &report->num_denials);
    }
    atomic_store(&worker->answer, report);
}

// Once each turn of the loop while somebody waits who may go on: connections and handshakes whose
// turn it is, and callers for whom there is room again.
static void on_turn(uv_idle_t *idle)
{
    struct worker *worker = idle->data;
    uv_idle_stop(idle);
    acceptor_resume(&worker->acceptor);
    bool has_more = turns_run(&worker->env);
    has_more |= queue_pump(&worker->env);
    if (has_more) {
        uv_idle_start(idle, on_turn);
    }
}

static void wake(void *ctx)
{
    struct worker *worker = ctx;
    if (!uv_is_closing((const uv_handle_t *)&worker->turn)) {
        uv_idle_start(&worker->turn, on_turn);
    }
}

// Goes on in a drain as far as connections have ended.
static void drain_on(struct worker *worker)
{
    struct conn_env *env = &worker->env;
    if (!env->is_draining || uv_is_closing((const uv_handle_t *)&worker->wake)) {
        return;
    }
    if (!worker->is_outbound_drained && worker_is_quiet(worker)) {
        uv_async_send(worker->on_event);
    }
    if (worker->is_outbound_drained && env->num_conns == 0) {
        link_close(&worker->link);
        turns_close(env);
        heap_close(&worker->heap);
        acceptor_cleanup(&worker->acceptor);
        uv_close((uv_handle_t *)&worker->wake, NULL);
        uv_close((uv_handle_t *)&worker->drain_timer, NULL);
        uv_close((uv_handle_t *)&worker->turn, NULL);
    }
}

static void drain_outbound(struct worker *worker)
{
    if (!worker->is_outbound_drained) {
        worker->is_outbound_drained = true;
        acceptor_close(&worker->acceptor, DIRECTION_OUTBOUND);
    }
}

static void on_drain_cut(uv_timer_t *timer)
{
    struct worker *worker = timer->data;
    struct conn *next;
    for (struct conn *conn = worker->env.conns; conn != NULL; conn = next) {
        next = conn->next; // closing frees nobody before the loop's next turn
        closing_now(conn);
    }
}

static void on_drain_over(uv_timer_t *timer)
{
    struct worker *worker = timer->data;
    struct conn *next;
    drain_outbound(worker);
    for (struct conn *conn = worker->env.conns; conn != NULL; conn = next) {
        next = conn->next;
        conn_end(conn, REASON_DRAINING, NULL);
    }
    uv_timer_start(timer, on_drain_cut, DRAIN_CUT_MS, 0);
    drain_on(worker);
}

static void drain(struct worker *worker, int seconds)
{
    struct conn_env *env = &worker->env;
    if (!env->is_draining) {
        env->is_draining = true;
        acceptor_close(&worker->acceptor, DIRECTION_INBOUND);
        atomic_store(&worker->has_closed_inbound, true);
        for (struct conn *conn = env->conns; conn != NULL; conn = conn->next) {
            conn_sync_deadline(conn);
        }
    }
    uv_timer_start(&worker->drain_timer, on_drain_over, (uint64_t)seconds * 1000, 0);
}

static void on_wake(uv_async_t *async)
{
    struct worker *worker = async->data;
    struct generation *generation = atomic_exchange(&worker->incoming, NULL);
    if (generation != NULL) {
        take_generation(worker, generation);
    }
    struct worker_report *report = atomic_exchange(&worker->request, NULL);
    if (report != NULL) {
        answer_report(worker, report);
    }
    atomic_store(&worker->pong, atomic_load(&worker->ping));
    int seconds = atomic_exchange(&worker->drain_seconds, -1);
    if (seconds >= 0) {
        drain(worker, seconds);
    }
    if (atomic_exchange(&worker->drains_outbound, false)) {
        drain_outbound(worker);
    }
    drain_on(worker);
    uv_async_send(worker->on_event);
}

static void on_conn_gone(void *ctx)
{
    struct worker *worker = ctx;
    heap_conn_gone(&worker->heap, worker->env.num_conns);
    drain_on(worker);
}

static void on_message(void *ctx, const Tabard__V1__ToProxy *message)
{
    struct worker *worker = ctx;
    if (message->kind_case == TABARD__V1__TO_PROXY__KIND_SIGN_RESULT) {
        signer_on_result(&worker->env.signer, message->sign_result);
        queue_wake(&worker->env);
    }
}

static void on_link_gone(void *ctx)
{
    struct worker *worker = ctx;
    signer_fail_all(&worker->env.signer);
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    char name[16];
    snprintf(name, sizeof name, "worker-%u", worker->index);
    pthread_setname_np(pthread_self(), name);
    if (worker->sandbox != NULL) {
        proxy_sandbox_enter_worker(worker->sandbox);
    }
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    atomic_store(&worker->is_done, true);
    uv_async_send(worker->on_event);
    return NULL;
}

bool worker_init(struct worker *worker, unsigned index, unsigned num_workers, int sign_fd,
                 uv_async_t *on_event, struct err *err)
{
    *worker = (struct worker){.index = index, .num_workers = num_workers, .on_event = on_event};
    atomic_init(&worker->drain_seconds, -1);
    int error = uv_loop_init(&worker->loop);
    if (error != 0) {
        return err_set(err, "no event loop: %s", uv_strerror(error));
    }
    conn_env_init(&worker->env, &worker->loop);
    worker->env.on_conn_gone = on_conn_gone;
    worker->env.wake = wake;
    worker->env.ctx = worker;
    worker->env.next_id = index;
    worker->env.id_step = num_workers;
    worker->env.signer.link = &worker->link;
    acceptor_init(&worker->acceptor, &worker->env);
    uv_idle_init(&worker->loop, &worker->turn);
    worker->turn.data = worker;
    host_addrs_init(&worker->env.host_addrs);
    uv_async_init(&worker->loop, &worker->wake, on_wake);
    worker->wake.data = worker;
    turns_init(&worker->env);
    heap_init(&worker->heap, &worker->loop);
    uv_timer_init(&worker->loop, &worker->drain_timer);
    worker->drain_timer.data = worker;
    if (!link_init(&worker->link, &worker->loop, sign_fd, LINK_SIGN, on_message, on_link_gone,
                   worker, err)) {
        return err_prefix(err, "descriptor %d, for signatures", sign_fd);
    }
    return true;
}

bool worker_start(struct worker *worker, struct proxy_sandbox *sandbox, struct err *err)
{
    worker->sandbox = sandbox;
    // Signals are the main thread's, but for the one that the kernel sends to a thread for its own
    // system call, and the one by which abort(3) ends it: glibc from 2.41 on doesn't unblock that.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    sigdelset(&all, SIGSYS);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&worker->thread, NULL, run, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0 || err_set(err, "no thread: %s", strerror(error));
}

void worker_publish(struct worker *worker, struct generation *generation)
{
    struct generation *passed_over = atomic_exchange(&worker->incoming, generation);
    invariant(passed_over == NULL); // the main thread waits for each generation to be adopted
    uv_async_send(&worker->wake);
}

void worker_inspect(struct worker *worker, struct worker_report *report)
{
    struct worker_report *passed_over = atomic_exchange(&worker->request, report);
    invariant(passed_over == NULL);
    uv_async_send(&worker->wake);
}

void worker_ping(struct worker *worker, uint64_t id)
{
    if (!atomic_load(&worker->is_done)) {
        atomic_store(&worker->ping, id);
        uv_async_send(&worker->wake);
    }
}

void worker_drain(struct worker *worker, int seconds)
{
    if (!atomic_load(&worker->is_done)) {
        atomic_store(&worker->drain_seconds, seconds);
        uv_async_send(&worker->wake);
    }
}

void worker_drain_outbound(struct worker *worker)
{
    if (!atomic_load(&worker->is_done)) {
        atomic_store(&worker->drains_outbound, true);
        uv_async_send(&worker->wake);
    }
}

bool worker_is_quiet(const struct worker *worker)
{
    const struct stats *stats = &worker->env.stats;
    return atomic_load(&worker->has_closed_inbound) &&
           atomic_load(&stats->open[DIRECTION_INBOUND]) == 0 &&
           atomic_load(&stats->open[DIRECTION_OUTBOUND]) == 0;
}

void worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
    uv_loop_close(&worker->loop);
    generation_unref(atomic_exchange(&worker->incoming, NULL));
    conn_env_cleanup(&worker->env);
}
