// SPDX-License-Identifier: Apache-2.0
//
// A worker: one thread, one loop, its own listeners, connections, counters and signing socket.
// Made and joined by the main thread; between the two only the mailbox below is shared. Bounded by
// its share of the limits. It builds no snapshot and talks to the agent about signatures only.
#ifndef TABARD_PROXY_WORKER_H
#define TABARD_PROXY_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/log.h"
#include "proxy/conn/conn.h"
#include "proxy/generation.h"
#include "proxy/link/link.h"
#include "proxy/listen.h"
#include "tabard/v1/dataplane.pb-c.h"

// What the main thread asks of a worker about its connections; answered by on_event.
struct worker_report {
    size_t num_connections_max;
    Tabard__V1__Connection **connections; // owned, malloc; NULL until the worker has answered
    size_t num;
};

struct worker_listener;

struct worker {
    struct conn_env env;
    uv_loop_t loop;
    pthread_t thread;
    unsigned index;
    unsigned num_workers;
    struct link link;
    uv_async_t wake;
    uv_timer_t drain_timer;
    struct worker_listener *listeners; // owned
    bool is_draining;
    struct log_limit accept_log;

    // The mailbox: written by one thread, taken by the other.
    _Atomic(struct generation *) incoming;   // owned by whoever exchanges it out
    _Atomic(struct worker_report *) request; // borrowed from the main thread until answered
    atomic_int drain_seconds;                // -1: not asked
    atomic_uint_fast64_t adopted_generation;
    _Atomic(struct worker_report *) answer;
    atomic_bool is_done; // the loop has ended

    uv_async_t *on_event; // borrowed: wakes the main thread after each of the above changes
};

// worker_start makes the loop and the thread; it serves nothing before its first generation.
// `sign_fd` is taken over. false sets err, and the process must end.
bool worker_start(struct worker *worker, unsigned index, unsigned num_workers, int sign_fd,
                  uv_async_t *on_event, struct err *err);

// worker_adopt puts a snapshot, of which it counts a reference, in force for the connections of one
// of num_workers workers: the worker's share of the limits, then every known peer is checked
// again, then every live connection. A worker calls it for each generation, between events.
void worker_adopt(struct conn_env *env, struct snapshot *snapshot, unsigned num_workers);

// worker_publish hands over a counted reference to a generation. One at a time: adopted_generation
// says when it is in force.
void worker_publish(struct worker *worker, struct generation *generation);

// worker_inspect asks for the connections; the answer comes in worker->answer.
void worker_inspect(struct worker *worker, struct worker_report *report);

// worker_drain stops accepting now and ends what is left after `seconds`; the thread then ends.
void worker_drain(struct worker *worker, int seconds);

// worker_join waits for the thread, after is_done, and frees what it held.
void worker_join(struct worker *worker);

#endif
