// SPDX-License-Identifier: Apache-2.0
#include "proxy/generation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/now.h"
#include "proxy/carry/socket.h"
#include "proxy/conn/handshake.h"

// Whether calls to the service can come from where the routes say.
static bool check_source(const struct route_index *routes, struct err *err)
{
    return !route_service_source(routes)->is_caller || socket_may_be_transparent() ||
           err_set_at(err, "settings.service_source.mode",
                      "CALLER takes CAP_NET_RAW in the proxy (IP_TRANSPARENT: %s): start "
                      "tabard-agent with it or as root, and with --caller-addresses",
                      strerror(errno));
}

static bool has_new_key(const Tabard__V1__Snapshot *message, const struct snapshot *previous)
{
    const Tabard__V1__Identity *identity = message->identity;
    return identity != NULL && identity->key_id.len == CONTRACT_KEY_ID_LEN &&
           (previous == NULL ||
            memcmp(identity->key_id.data, previous->trust->key_id, CONTRACT_KEY_ID_LEN) != 0);
}

// Makes a snapshot by the date that is believed. A new certificate may agree with it; or one that
// is over by it with the wall clock, which was set back. Nothing else that is over says so: a CRL
// that is stale by the date is no news.
static struct snapshot *make_snapshot(const Tabard__V1__Snapshot *message,
                                      const struct snapshot *previous, struct err *err)
{
    int64_t date_s = now_date_s();
    int64_t wall_s = now_unix_ms() / 1000;
    bool is_new = has_new_key(message, previous);
    struct snapshot *snapshot = snapshot_new(message, previous, &handshake_hooks, date_s, err);
    if (snapshot != NULL && is_new) {
        now_confirm(snapshot->trust->self.not_before);
    }
    if (snapshot != NULL || date_s <= wall_s || !is_new) {
        return snapshot;
    }
    snapshot = snapshot_new(message, previous, &handshake_hooks, wall_s, NULL);
    if (snapshot != NULL && snapshot->trust->self.not_after >= date_s) {
        snapshot_unref(snapshot);
        return NULL;
    }
    if (snapshot != NULL) {
        now_believe_wall();
    }
    return snapshot;
}

struct generation *generation_new(const Tabard__V1__Snapshot *message,
                                  const struct generation *current, unsigned num_workers,
                                  struct err *err)
{
    struct generation *generation = must_alloc(1, sizeof *generation);
    atomic_init(&generation->num_refs, 1);
    generation->snapshot = make_snapshot(message, current != NULL ? current->snapshot : NULL, err);
    if (generation->snapshot != NULL && check_source(generation->snapshot->routes, err) &&
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
