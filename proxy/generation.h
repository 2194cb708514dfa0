// SPDX-License-Identifier: Apache-2.0
//
// A snapshot and the sockets that it listens on, put in force on every worker or on none. The main
// thread makes one for each Snapshot and publishes it; each worker takes its own descriptors out of
// the plan. Counted across threads, freed by the last.
#ifndef TABARD_PROXY_GENERATION_H
#define TABARD_PROXY_GENERATION_H

#include <stdatomic.h>

#include "base/err.h"
#include "proxy/listen.h"
#include "proxy/trust/snapshot.h"

struct generation {
    atomic_uint num_refs;
    struct snapshot *snapshot; // counted
    struct listen_plan plan;   // owned
};

// generation_new checks and builds what the agent sent, and opens the sockets that are not open in
// `current`, the generation in force (NULL: none). NULL sets err, and nothing has changed.
struct generation *generation_new(const Tabard__V1__Snapshot *message,
                                  const struct generation *current, unsigned num_workers,
                                  struct err *err);

struct generation *generation_ref(struct generation *generation);
void generation_unref(struct generation *generation); // NULL is fine

#endif
