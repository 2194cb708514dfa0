// SPDX-License-Identifier: Apache-2.0
//
// A worker: one thread with a loop, listeners, connections, counters and a signing socket of its
// own. The main thread calls worker_init, worker_start, then worker_publish, worker_inspect and
// worker_drain as the agent asks, and worker_join once is_done says that the loop has ended; the
// two threads share the mailbox below and nothing else. A worker serves its share of the limits,
// builds no snapshot, and asks the agent for nothing but signatures.
#ifndef TABARD_PROXY_WORKER_H
#define TABARD_PROXY_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "proxy/acceptor.h"
#include "proxy/conn/conn.h"
#include "proxy/generation.h"
#include "proxy/heap.h"
#include "proxy/link/link.h"
#include "proxy/proxy_sandbox.h"
#include "tabard/v1/dataplane.pb-c.h"

// A question about a worker's connections: the main thread says what it wants, and the worker
// fills in the rest, which the main thread owns then.
struct worker_report {
    size_t num_connections_max;
    bool wants_denials;
    Tabard__V1__Connection **connections; // NULL until answered
    size_t num;
    Tabard__V1__Denial **denials; // NULL until answered, or not wanted
    size_t num_denials;
};

struct worker {
    struct conn_env env;
    uv_loop_t loop;
    pthread_t thread;
    unsigned index;
    unsigned num_workers;
    struct link link;
    uv_async_t wake;
    uv_timer_t drain_timer;
    struct heap heap;
    uv_idle_t turn; // active while somebody may go on in the loop's next turn
    struct acceptor acceptor;
    bool is_outbound_drained; // its listeners are closed, too

    // The mailbox: one thread writes, the other takes.
    _Atomic(struct generation *) incoming;   // owned by whoever exchanges it out
    _Atomic(struct worker_report *) request; // borrowed from the main thread until answered
    atomic_uint_fast64_t ping;               // asked for; answered when pong is the same
    atomic_uint_fast64_t pong;
    atomic_int drain_seconds;       // -1: not asked
    atomic_bool drains_outbound;    // asked
    atomic_bool has_closed_inbound; // it accepts no inbound connections any more
    atomic_uint_fast64_t adopted_generation;
    _Atomic(struct worker_report *) answer;
    atomic_bool is_done; // the loop has ended

    struct proxy_sandbox *sandbox; // borrowed until the thread has entered it; NULL: none
    uv_async_t *on_event; // borrowed: wakes the main thread after each of the above changes
};

// worker_init makes the loop and opens what the worker needs. `sign_fd` is taken over. false sets
// err, and the process must end.
bool worker_init(struct worker *worker, unsigned index, unsigned num_workers, int sign_fd,
                 uv_async_t *on_event, struct err *err);

// worker_start makes the thread, which enters the sandbox (borrowed; NULL: none) first of all. It
// serves nothing before its first generation. false sets err, and the process must end.
bool worker_start(struct worker *worker, struct proxy_sandbox *sandbox, struct err *err);

// worker_room returns what the process has room for beside its workers and a snapshot's listeners.
// Any thread, for the environment of any of num_workers workers.
struct room worker_room(const struct conn_env *env, const struct snapshot *snapshot,
                        unsigned num_workers);

// worker_adopt puts a snapshot, which it counts, in force for the connections of one of num_workers
// workers: the limits become the worker's share, every known peer is checked again, and then every
// live connection. A worker calls it for each generation, between events.
void worker_adopt(struct conn_env *env, struct snapshot *snapshot, unsigned num_workers);

// worker_publish hands over a counted reference to a generation. One at a time: adopted_generation
// says when it is in force.
void worker_publish(struct worker *worker, struct generation *generation);

// worker_inspect asks for the connections. One question at a time: it is over when the report
// stands in worker->answer, which the main thread then empties.
void worker_inspect(struct worker *worker, struct worker_report *report);

// worker_ping asks for a sign of life, which is a turn of the worker's loop: worker->pong becomes
// `id` then.
void worker_ping(struct worker *worker, uint64_t id);

// worker_drain makes the worker accept no more inbound connections, and end after `seconds` all
// that are still open; one whose peer then takes no notice is cut a second later. A later call
// changes the time. Until worker_drain_outbound the service may still call others, since it may
// need them for what it has yet to finish. The main thread calls that once worker_is_quiet says of
// each worker that nothing is open any more. The thread ends with its last connection.
void worker_drain(struct worker *worker, int seconds);
void worker_drain_outbound(struct worker *worker);

// worker_is_quiet says whether a worker that drains has no connection in either direction.
bool worker_is_quiet(const struct worker *worker);

// worker_join waits for the thread, whose loop has ended, and frees what it held.
void worker_join(struct worker *worker);

#endif
