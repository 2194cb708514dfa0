// SPDX-License-Identifier: Apache-2.0
//
// What a worker counts. Each worker owns one set and is the only one to write it, with stats_add
// and stats_set; the main thread reads all of them for stats_report. Figures are relaxed atomics:
// none depends on another. To add one: a field here and its family in stats.c.
#ifndef TABARD_PROXY_LINK_STATS_H
#define TABARD_PROXY_LINK_STATS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/program/program.h"
#include "proxy/rules/reason.h"
#include "tabard/v1/dataplane.pb-c.h"

enum direction { DIRECTION_INBOUND, DIRECTION_OUTBOUND, NUM_DIRECTIONS };
const char *direction_text(enum direction direction);

struct stats {
    _Atomic uint64_t opened[NUM_DIRECTIONS];
    _Atomic uint64_t open[NUM_DIRECTIONS];
    _Atomic uint64_t closed[NUM_DIRECTIONS][NUM_REASONS];
    _Atomic uint64_t bytes_up[NUM_DIRECTIONS];
    _Atomic uint64_t bytes_down[NUM_DIRECTIONS];
    _Atomic uint64_t hellos_awaited;
    _Atomic uint64_t handshakes_waiting[NUM_DIRECTIONS];
    _Atomic uint64_t handshakes_in_flight[NUM_DIRECTIONS];
    _Atomic uint64_t handshakes_post_quantum[NUM_DIRECTIONS];
    _Atomic uint64_t handshakes_classical[NUM_DIRECTIONS];
    _Atomic uint64_t accept_pauses[NUM_DIRECTIONS];
    _Atomic uint64_t buffer_bytes;
    _Atomic uint64_t buffer_waits;
    _Atomic uint64_t plaintext_connections;
    _Atomic uint64_t audit_would_allow;
    _Atomic uint64_t audit_would_deny;
    _Atomic uint64_t would_deny_policy;
    _Atomic uint64_t would_deny_plaintext;
    _Atomic uint64_t would_deny_unlisted;
    _Atomic uint64_t denials_dropped;
    _Atomic uint64_t chains_checked;
    _Atomic uint64_t chains_cached;
    _Atomic uint64_t accept_errors;
};

// stats_add and stats_set change a figure of the calling worker's own set. There is one writer, so
// adding need not be one atomic step.
static inline void stats_add(_Atomic uint64_t *figure, uint64_t more)
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

static inline void stats_set(_Atomic uint64_t *figure, uint64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

// stats_report sums the workers' sets and writes them into a result that holds neither: as metrics,
// beside those of the process, and as the number of open connections. protobuf-c frees what it
// allocates.
void stats_report(Tabard__V1__InspectResult *result, const struct program *program,
                  struct stats *const *sets, size_t num_sets);

#endif
