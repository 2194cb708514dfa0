// SPDX-License-Identifier: Apache-2.0
#include "proxy/generation.h"

#include <stdlib.h>
#include <time.h>

#include "base/must.h"
#include "proxy/conn/handshake.h"

struct generation *generation_new(const Tabard__V1__Snapshot *message,
                                  const struct generation *current, unsigned num_workers,
                                  struct err *err)
{
    struct generation *generation = must_alloc(1, sizeof *generation);
    atomic_init(&generation->num_refs, 1);
    generation->snapshot = snapshot_new(message, current != NULL ? current->snapshot : NULL,
                                        &handshake_hooks, time(NULL), err);
    if (generation->snapshot != NULL &&
        listen_plan_init(&generation->plan, generation->snapshot->routes,
                         current != NULL ? &current->plan : NULL, num_workers, err)) {
        return generation;
    }
    generation_unref(generation);
    return NULL;
}

struct generation *generation_ref(struct generation *generation)
{
    atomic_fetch_add_explicit(&generation->num_refs, 1, memory_order_relaxed);
    return generation;
}

void generation_unref(struct generation *generation)
{
    if (generation != NULL &&
        atomic_fetch_sub_explicit(&generation->num_refs, 1, memory_order_acq_rel) == 1) {
        listen_plan_cleanup(&generation->plan);
        snapshot_unref(generation->snapshot);
        free(generation);
    }
}
