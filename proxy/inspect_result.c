// SPDX-License-Identifier: Apache-2.0
#include "proxy/inspect_result.h"

#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "proto/contract.h"

static void add_limits(Tabard__V1__InspectResult *result, const struct worker *worker,
                       const struct snapshot *snapshot)
{
    struct limits fit = *route_limits(snapshot->routes);
    const struct room room = worker_room(&worker->env, snapshot, worker->num_workers);
    room_fit(&fit, &room);
    Tabard__V1__LimitsInForce *limits = must_alloc(1, sizeof *limits);
    tabard__v1__limits_in_force__init(limits);
    limits->connections = fit.connections;
    limits->identity_connections =
        fit.identity_connections < fit.connections ? fit.identity_connections : fit.connections;
    limits->hellos = fit.hellos;
    limits->handshakes = fit.handshakes;
    limits->buffer_bytes = fit.buffer_bytes;
    limits->memory_bytes = room.memory_bytes == UINT64_MAX ? 0 : room.memory_bytes;
    limits->descriptors = room.descriptors;
    result->limits = limits;
}

static void add_listeners(Tabard__V1__InspectResult *result, const struct listen_plan *plan)
{
    result->listeners = must_alloc(plan->num, sizeof *result->listeners);
    for (size_t i = 0; i < plan->num; i++) {
        const struct listen_socket *sock = &plan->sockets[i];
        Tabard__V1__Listener *listener = must_alloc(1, sizeof *listener);
        char buf[ADDR_TEXT_MAX];
        tabard__v1__listener__init(listener);
        listener->kind = must_strdup(listen_kind_text(sock->spec.kind));
        listener->configured = must_strdup(addr_text(&sock->configured, buf));
        listener->address = must_strdup(addr_text(&sock->bound, buf));
        result->listeners[result->n_listeners++] = listener;
    }
}

// Moves the items of one list of pointers to the end of another, and frees the list.
static void move_all(void *to, size_t *to_num, void *from, size_t num)
{
    if (num > 0) {
        memcpy((char *)to + *to_num * sizeof(void *), from, num * sizeof(void *));
    }
    *to_num += num;
    free(from);
}

// Moves the workers' answers into one list of each kind.
static void add_reports(Tabard__V1__InspectResult *result, struct worker_report *reports,
                        unsigned num_workers)
{
    size_t num = 0;
    size_t num_denials = 0;
    for (unsigned i = 0; i < num_workers; i++) {
        num += reports[i].num;
        num_denials += reports[i].num_denials;
    }
    result->connections = must_alloc(num, sizeof *result->connections);
    result->denials = must_alloc(num_denials, sizeof *result->denials);
    for (unsigned i = 0; i < num_workers; i++) {
        struct worker_report *report = &reports[i];
        move_all(result->connections, &result->n_connections, report->connections, report->num);
        move_all(result->denials, &result->n_denials, report->denials, report->num_denials);
        *report = (struct worker_report){0};
    }
}

Tabard__V1__InspectResult *inspect_result_new(const struct program *program, struct worker *workers,
                                              unsigned num_workers,
                                              const struct generation *current,
                                              struct worker_report *reports)
{
    Tabard__V1__InspectResult *result = must_alloc(1, sizeof *result);
    struct stats *sets[CONTRACT_WORKERS_MAX];
    tabard__v1__inspect_result__init(result);
    for (unsigned i = 0; i < num_workers; i++) {
        sets[i] = &workers[i].env.stats;
    }
    stats_report(result, program, sets, num_workers);
    if (current != NULL) {
        result->generation = current->snapshot->generation;
        add_listeners(result, &current->plan);
        add_limits(result, &workers[0], current->snapshot);
    }
    if (reports != NULL) {
        add_reports(result, reports, num_workers);
    }
    return result;
}
