// SPDX-License-Identifier: Apache-2.0
//
// What is counted: one set for each worker, written by it alone and read by the main thread.
// Owned by a worker; one writer, any readers (relaxed atomics: no figure depends on another); fixed
// size. It prints nothing; see stats_families for the names.
#ifndef TABARD_PROXY_CONN_STATS_H
#define TABARD_PROXY_CONN_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

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
    _Atomic uint64_t handshakes_in_flight;
    _Atomic uint64_t buffer_bytes;
    _Atomic uint64_t plaintext_connections;
    _Atomic uint64_t audit_would_allow;
    _Atomic uint64_t audit_would_deny;
    _Atomic uint64_t chains_checked;
    _Atomic uint64_t chains_cached;
    _Atomic uint64_t accept_errors;
};

// stats_add changes a figure of the calling worker's own set. Not an atomic read-modify-write:
// there is one writer.
static inline void stats_add(_Atomic uint64_t *figure, uint64_t more)
{
    atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + more,
                          memory_order_relaxed);
}

static inline void stats_set(_Atomic uint64_t *figure, uint64_t value)
{
    atomic_store_explicit(figure, value, memory_order_relaxed);
}

// stats_families sums the workers' sets into Prometheus families, appended to `result` (malloc'd as
// protobuf-c frees them). false: out of memory.
bool stats_families(Tabard__V1__InspectResult *result, struct stats *const *sets, size_t num_sets);

#endif
