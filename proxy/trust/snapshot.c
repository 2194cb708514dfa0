// SPDX-License-Identifier: Apache-2.0
#include "proxy/trust/snapshot.h"

#include <stdlib.h>

#include "base/must.h"

static void snapshot_free(struct snapshot *snapshot)
{
    trust_unref(snapshot->trust);
    policy_index_free(snapshot->policies);
    route_index_free(snapshot->routes);
    free(snapshot);
}

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->num_refs, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_unref(struct snapshot *snapshot)
{
    if (snapshot != NULL &&
        atomic_fetch_sub_explicit(&snapshot->num_refs, 1, memory_order_acq_rel) == 1) {
        snapshot_free(snapshot);
    }
}

struct snapshot *snapshot_new(const Tabard__V1__Snapshot *message, const struct snapshot *previous,
                              const struct context_hooks *hooks, time_t now, struct err *err)
{
    struct snapshot *snapshot = must_alloc(1, sizeof *snapshot);
    atomic_init(&snapshot->num_refs, 1);
    snapshot->generation = message->generation;
    snapshot->trust =
        trust_new(message, previous != NULL ? previous->trust : NULL, hooks, now, err);
    if (snapshot->trust != NULL &&
        (snapshot->policies = policy_index_new(message->policies, message->n_policies, err)) !=
            NULL &&
        (snapshot->routes = route_index_new(message, err)) != NULL) {
        return snapshot;
    }
    snapshot_free(snapshot);
    return NULL;
}
