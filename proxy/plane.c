// SPDX-License-Identifier: Apache-2.0
#include "proxy/plane.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"
#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "proto/contract.h"
#include "proxy/greeting.h"
#include "proxy/inspect_result.h"
#include "proxy/link/link.h"
#include "proxy/proxy_sandbox.h"
#include "proxy/trust/trust.h"
#include "proxy/worker.h"

// A question that the agent has asked about connections.
struct inspection {
    uint64_t id;
    uint32_t num_connections_max;
    bool wants_denials;
};

struct plane {
    const struct program *program;
    uv_loop_t loop;
    struct link link;
    uv_async_t on_event;
    struct worker *workers; // owned
    unsigned num_workers;
    struct generation *current;    // counted: in force on every worker; NULL before the first
    struct generation *publishing; // counted: not yet adopted everywhere
    Tabard__V1__Snapshot *waiting; // owned: came while another was being published
    uint64_t ping;                 // the last one that was asked; 0: it is answered
    struct inspection inspects[CONTRACT_INSPECTS_MAX]; // the oldest first
    size_t num_inspects;
    struct worker_report *reports; // owned: one for each worker, about the first inspection
    bool is_inspecting;            // the workers are writing their reports
    bool is_draining;
    bool is_outbound_draining;
    bool is_ending;
};

static void answer_snapshot(struct plane *plane, uint64_t generation, const char *error)
{
    Tabard__V1__SnapshotResult result = TABARD__V1__SNAPSHOT_RESULT__INIT;
    result.generation = generation;
    result.error = (char *)(uintptr_t)error;
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_SNAPSHOT_RESULT;
    message.snapshot_result = &result;
    link_send(&plane->link, &message);
}

// Logs which addresses are new since `old`, as they were bound.
static void log_new_listeners(const struct listen_plan *plan, const struct listen_plan *old)
{
    for (size_t i = 0; i < plan->num; i++) {
        const struct listen_socket *sock = &plan->sockets[i];
        bool is_new = true;
        for (size_t k = 0; old != NULL && k < old->num; k++) {
            is_new &= old->sockets[k].spec.kind != sock->spec.kind ||
                      !addr_equal(&old->sockets[k].bound, &sock->bound);
        }
        if (is_new) {
            char configured[ADDR_TEXT_MAX];
            char bound[ADDR_TEXT_MAX];
            log_info("msg=listening kind=%s configured=%s address=%s",
                     listen_kind_text(sock->spec.kind), addr_text(&sock->configured, configured),
                     addr_text(&sock->bound, bound));
        }
    }
}

static void take_snapshot(struct plane *plane, const Tabard__V1__Snapshot *message)
{
    struct err err = {0};
    struct generation *generation = NULL;
    if (plane->is_draining) {
        err_set(&err, "the proxy is draining");
    } else if (plane->current != NULL &&
               message->generation <= plane->current->snapshot->generation) {
        err_set(&err, "generation %llu is not newer than %llu, which is in force",
                (unsigned long long)message->generation,
                (unsigned long long)plane->current->snapshot->generation);
    } else {
        generation = generation_new(message, plane->current, plane->num_workers, &err);
    }
    if (generation == NULL) {
        char text[1024];
        answer_snapshot(plane, message->generation, err_text(&err, text, sizeof text));
        return;
    }
    plane->publishing = generation;
    for (unsigned i = 0; i < plane->num_workers; i++) {
        worker_publish(&plane->workers[i], generation_ref(generation));
    }
}

static void keep_waiting(struct plane *plane, const Tabard__V1__Snapshot *message)
{
    if (plane->waiting != NULL) {
        answer_snapshot(plane, plane->waiting->generation, "superseded by a newer generation");
        tabard__v1__snapshot__free_unpacked(plane->waiting, NULL);
    }
    plane->waiting = pb_copy(&message->base);
}

static bool is_adopted_everywhere(const struct plane *plane, uint64_t generation)
{
    for (unsigned i = 0; i < plane->num_workers; i++) {
        if (atomic_load(&plane->workers[i].adopted_generation) != generation) {
            return false;
        }
    }
    return true;
}

// Logs the limits of a snapshot where the process has less room than they take.
static void log_limits(const struct plane *plane, const struct snapshot *snapshot)
{
    const struct limits *whole = route_limits(snapshot->routes);
    const struct room room = worker_room(&plane->workers[0].env, snapshot, plane->num_workers);
    struct limits fit = *whole;
    room_fit(&fit, &room);
    if (memcmp(&fit, whole, sizeof fit) != 0) {
        char memory[24] = "-"; // no control group sets a limit
        if (room.memory_bytes != UINT64_MAX) {
            snprintf(memory, sizeof memory, "%llu", (unsigned long long)room.memory_bytes);
        }
        log_info("msg=\"limits lowered to fit\" connections=%u hellos=%u handshakes=%u "
                 "buffer_bytes=%llu memory_bytes=%s descriptors=%u",
                 fit.connections, fit.hellos, fit.handshakes, (unsigned long long)fit.buffer_bytes,
                 memory, room.descriptors);
    }
}

static void finish_publishing(struct plane *plane)
{
    struct generation *generation = plane->publishing;
    if (generation == NULL || !is_adopted_everywhere(plane, generation->snapshot->generation)) {
        return;
    }
    struct generation *old = plane->current;
    plane->current = generation;
    plane->publishing = NULL;
    log_new_listeners(&generation->plan, old != NULL ? &old->plan : NULL);
    if (old == NULL ||
        memcmp(route_limits(old->snapshot->routes), route_limits(generation->snapshot->routes),
               sizeof(struct limits)) != 0) {
        log_limits(plane, generation->snapshot);
    }
    if (old != NULL) {
        trust_warn_of_withdrawn(generation->snapshot->trust, old->snapshot->trust);
    }
    generation_unref(old);
    answer_snapshot(plane, generation->snapshot->generation, "");
    Tabard__V1__Snapshot *waiting = plane->waiting;
    plane->waiting = NULL;
    if (waiting != NULL) {
        take_snapshot(plane, waiting);
        tabard__v1__snapshot__free_unpacked(waiting, NULL);
    }
}

// Answers with the figures, and with what the workers reported if they were asked.
static void answer_inspect(struct plane *plane, uint64_t id, bool has_reports)
{
    Tabard__V1__InspectResult *result =
        inspect_result_new(plane->program, plane->workers, plane->num_workers, plane->current,
                           has_reports ? plane->reports : NULL);
    result->id = id;
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_INSPECT_RESULT;
    message.inspect_result = result;
    link_send(&plane->link, &message);
    tabard__v1__inspect_result__free_unpacked(result, NULL);
}

// Asks the workers for what the first inspection wants.
static void begin_inspect(struct plane *plane)
{
    const struct inspection *inspection = &plane->inspects[0];
    size_t max = inspection->num_connections_max;
    plane->is_inspecting = true;
    for (unsigned i = 0; i < plane->num_workers; i++) {
        plane->reports[i] = (struct worker_report){.num_connections_max =
                                                       max > 0 ? max / plane->num_workers + 1 : 0,
                                                   .wants_denials = inspection->wants_denials};
        if (!atomic_load(&plane->workers[i].is_done)) {
            worker_inspect(&plane->workers[i], &plane->reports[i]);
        }
    }
}

static bool is_answered_by_every_worker(const struct plane *plane)
{
    for (unsigned i = 0; i < plane->num_workers; i++) {
        const struct worker *worker = &plane->workers[i];
        if (atomic_load(&worker->answer) == NULL && !atomic_load(&worker->is_done)) {
            return false;
        }
    }
    return true;
}

static void inspect_remove(struct plane *plane, size_t at)
{
    plane->num_inspects--;
    memmove(&plane->inspects[at], &plane->inspects[at + 1],
            (plane->num_inspects - at) * sizeof plane->inspects[0]);
}

static void finish_inspect(struct plane *plane)
{
    if (!plane->is_inspecting || !is_answered_by_every_worker(plane)) {
        return;
    }
    for (unsigned i = 0; i < plane->num_workers; i++) {
        atomic_store(&plane->workers[i].answer, NULL);
        atomic_store(&plane->workers[i].request, NULL); // a worker that has ended leaves it
    }
    plane->is_inspecting = false;
    answer_inspect(plane, plane->inspects[0].id, true);
    inspect_remove(plane, 0);
    if (plane->num_inspects > 0) {
        begin_inspect(plane);
    }
}

static void take_inspect(struct plane *plane, const Tabard__V1__Inspect *inspect)
{
    if (inspect->num_connections_max == 0 && !inspect->wants_denials) {
        answer_inspect(plane, inspect->id, false);
        return;
    }
    if (plane->num_inspects == CONTRACT_INSPECTS_MAX) {
        inspect_remove(plane, 1); // the agent waits for no more, and has given up on this one
    }
    plane->inspects[plane->num_inspects++] =
        (struct inspection){.id = inspect->id,
                            .num_connections_max = inspect->num_connections_max,
                            .wants_denials = inspect->wants_denials};
    if (!plane->is_inspecting) {
        begin_inspect(plane);
    }
}

static void take_ping(struct plane *plane, uint64_t id)
{
    plane->ping = id;
    for (unsigned i = 0; i < plane->num_workers; i++) {
        worker_ping(&plane->workers[i], id);
    }
}

static void finish_ping(struct plane *plane)
{
    if (plane->ping == 0) {
        return;
    }
    for (unsigned i = 0; i < plane->num_workers; i++) {
        const struct worker *worker = &plane->workers[i];
        if (atomic_load(&worker->pong) != plane->ping && !atomic_load(&worker->is_done)) {
            return;
        }
    }
    Tabard__V1__Pong pong = TABARD__V1__PONG__INIT;
    pong.id = plane->ping;
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_PONG;
    message.pong = &pong;
    plane->ping = 0;
    link_send(&plane->link, &message);
}

static int drain_seconds(const struct plane *plane)
{
    return plane->current != NULL
               ? (int)route_limits(plane->current->snapshot->routes)->drain_seconds
               : CONTRACT_DRAIN_SECONDS_DEFAULT;
}

static bool is_quiet(const struct plane *plane)
{
    for (unsigned i = 0; i < plane->num_workers; i++) {
        if (!worker_is_quiet(&plane->workers[i]) && !atomic_load(&plane->workers[i].is_done)) {
            return false;
        }
    }
    return true;
}

// Accepts no calls of the service any more.
static void drain_outbound(struct plane *plane)
{
    if (!plane->is_outbound_draining) {
        plane->is_outbound_draining = true;
        for (unsigned i = 0; i < plane->num_workers; i++) {
            worker_drain_outbound(&plane->workers[i]);
        }
    }
}

static void drain(struct plane *plane, int seconds)
{
    if (!plane->is_draining) {
        log_info("msg=draining seconds=%d", seconds);
    }
    plane->is_draining = true;
    for (unsigned i = 0; i < plane->num_workers; i++) {
        worker_drain(&plane->workers[i], seconds);
    }
}

static void on_message(void *ctx, const Tabard__V1__ToProxy *message)
{
    struct plane *plane = ctx;
    switch (message->kind_case) {
    case TABARD__V1__TO_PROXY__KIND_SNAPSHOT:
        if (plane->publishing != NULL) {
            keep_waiting(plane, message->snapshot);
        } else {
            take_snapshot(plane, message->snapshot);
        }
        break;
    case TABARD__V1__TO_PROXY__KIND_INSPECT:
        take_inspect(plane, message->inspect);
        break;
    case TABARD__V1__TO_PROXY__KIND_PING:
        take_ping(plane, message->ping->id);
        break;
    case TABARD__V1__TO_PROXY__KIND_DRAIN:
        drain(plane, (int)message->drain->seconds);
        break;
    default:
        log_warn("msg=\"the agent sent a message of a kind that does not belong here\" kind=%d",
                 (int)message->kind_case);
        break;
    }
}

static void on_link_gone(void *ctx)
{
    struct plane *plane = ctx;
    drain(plane, drain_seconds(plane)); // nobody is left to sign: what is open may finish
    drain_outbound(plane);
}

static bool are_workers_done(const struct plane *plane)
{
    for (unsigned i = 0; i < plane->num_workers; i++) {
        if (!atomic_load(&plane->workers[i].is_done)) {
            return false;
        }
    }
    return true;
}

static void on_event(uv_async_t *async)
{
    struct plane *plane = async->data;
    finish_publishing(plane);
    finish_inspect(plane);
    finish_ping(plane);
    if (plane->is_draining && is_quiet(plane)) {
        drain_outbound(plane);
    }
    if (are_workers_done(plane) && !plane->is_ending) {
        plane->is_ending = true;
        link_close(&plane->link);
        uv_close((uv_handle_t *)&plane->on_event, NULL);
    }
}

static bool begin(struct plane *plane, int control_fd, struct proxy_sandbox *sandbox,
                  struct err *err)
{
    uv_async_init(&plane->loop, &plane->on_event, on_event);
    plane->on_event.data = plane;
    if (!link_init(&plane->link, &plane->loop, control_fd, LINK_CONTROL, on_message, on_link_gone,
                   plane, err)) {
        return err_prefix(err, "descriptor %d, to the agent", control_fd);
    }
    for (unsigned i = 0; i < plane->num_workers; i++) {
        if (!worker_init(&plane->workers[i], i, plane->num_workers, control_fd + 1 + (int)i,
                         &plane->on_event, err)) {
            return err_prefix(err, "worker %u cannot start", i);
        }
    }
    if (!proxy_sandbox_close_files(sandbox, err)) {
        return err_prefix(err, "the sandbox");
    }
    for (unsigned i = 0; i < plane->num_workers; i++) {
        if (!worker_start(&plane->workers[i], sandbox, err)) {
            return err_prefix(err, "worker %u cannot start", i);
        }
    }
    if (!proxy_sandbox_close(sandbox, plane->num_workers, err)) {
        return err_prefix(err, "the sandbox");
    }
    greeting_send(&plane->link, &sandbox->facts);
    return true;
}

static void end(struct plane *plane)
{
    for (unsigned i = 0; i < plane->num_workers; i++) {
        worker_join(&plane->workers[i]);
    }
    generation_unref(plane->publishing);
    generation_unref(plane->current);
    if (plane->waiting != NULL) {
        tabard__v1__snapshot__free_unpacked(plane->waiting, NULL);
    }
    free(plane->reports);
    free(plane->workers);
    uv_loop_close(&plane->loop);
}

bool plane_run(const struct program *program, int control_fd, unsigned num_workers,
               struct proxy_sandbox *sandbox, struct err *err)
{
    struct plane plane = {.program = program, .num_workers = num_workers};
    plane.workers = must_alloc(num_workers, sizeof *plane.workers);
    plane.reports = must_alloc(num_workers, sizeof *plane.reports);
    int error = uv_loop_init(&plane.loop);
    if (error != 0) {
        return err_set(err, "no event loop: %s", uv_strerror(error));
    }
    if (!begin(&plane, control_fd, sandbox, err)) {
        return false;
    }
    uv_run(&plane.loop, UV_RUN_DEFAULT);
    end(&plane);
    return true;
}
