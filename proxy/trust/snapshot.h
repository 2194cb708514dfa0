// SPDX-License-Identifier: Apache-2.0
//
// The configuration of one generation (trust, policies and routes), built whole or not at all, and
// never changed. Counted across threads: each worker holds the one in force, a handshake the one it
// began with, and the last to let go frees it.
#ifndef TABARD_PROXY_TRUST_SNAPSHOT_H
#define TABARD_PROXY_TRUST_SNAPSHOT_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "proxy/rules/policy.h"
#include "proxy/rules/route.h"
#include "proxy/trust/trust.h"
#include "tabard/v1/mesh.pb-c.h"

struct snapshot {
    atomic_uint num_refs;
    uint64_t generation;
    struct trust *trust;           // counted
    struct policy_index *policies; // owned
    struct route_index *routes;    // owned
};

// snapshot_new builds a snapshot from what the agent sent, and checks all of it again, because the
// proxy trusts no message more than it must. It shares the trust of `previous` (NULL is fine) where
// trust_new says so. NULL sets err.
struct snapshot *snapshot_new(const Tabard__V1__Snapshot *message, const struct snapshot *previous,
                              const struct context_hooks *hooks, time_t now, struct err *err);

struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot); // NULL is fine

#endif
