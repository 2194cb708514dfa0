// SPDX-License-Identifier: Apache-2.0
#include "proxy/snapshot.h"

#include <openssl/pool.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb_text.h"

static void snapshot_free(struct snapshot *snapshot)
{
    context_pair_cleanup(&snapshot->contexts);
    trust_bundles_free(snapshot->bundles);
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

// Proves our own chain against our own bundle, as a peer would.
static bool identity_check(struct snapshot *snapshot, const Tabard__V1__Identity *identity,
                           time_t now, struct err *err)
{
    CRYPTO_BUFFER *chain[VERIFY_CHAIN_MAX];
    size_t num = 0;
    bool ok = false;
    if (identity->n_chain > VERIFY_CHAIN_MAX) {
        return err_set_at(err, "identity.chain", "%zu certificates are more than %d",
                          identity->n_chain, VERIFY_CHAIN_MAX);
    }
    for (; num < identity->n_chain; num++) {
        chain[num] = CRYPTO_BUFFER_new(identity->chain[num].data, identity->chain[num].len, NULL);
        if (chain[num] == NULL) {
            err_set(err, "out of memory for the identity's chain");
            goto out;
        }
    }
    ok = verify_peer(&snapshot->self, (const CRYPTO_BUFFER *const *)chain, num, snapshot->bundles,
                     now, err) == VERIFY_OK;
    if (!ok) {
        err_prefix(err, "our own certificate would not be accepted by a peer");
        err_prefix_where(err, "identity.chain");
        goto out;
    }
    ok = spiffe_workload_parse(&snapshot->self_id, snapshot->self.id, snapshot->self.id_len, err);
out:
    while (num > 0) {
        CRYPTO_BUFFER_free(chain[--num]);
    }
    return ok;
}

struct snapshot *snapshot_new(const Tabard__V1__Snapshot *message,
                              const struct context_hooks *hooks, time_t now, struct err *err)
{
    const Tabard__V1__Identity *identity = message->identity;
    char where[160];
    if (pb_text_has_unknown(&message->base, where)) {
        err_set_at(err, where, "holds something this version does not understand");
        return NULL;
    }
    if (identity == NULL || identity->key_id.len != 32) {
        err_set_at(err, "identity", "is missing, or its key_id is not 32 bytes");
        return NULL;
    }
    struct snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL) {
        err_set(err, "out of memory for a snapshot");
        return NULL;
    }
    atomic_init(&snapshot->num_refs, 1);
    snapshot->generation = message->generation;
    memcpy(snapshot->key_id, identity->key_id.data, sizeof snapshot->key_id);
    snapshot->bundles =
        trust_bundles_new(message->trust_bundles, message->n_trust_bundles, now, err);
    if (snapshot->bundles != NULL && identity_check(snapshot, identity, now, err) &&
        context_pair_init(&snapshot->contexts, identity, hooks, err) &&
        (snapshot->policies = policy_index_new(message->policies, message->n_policies, err)) !=
            NULL &&
        (snapshot->routes = route_index_new(message, err)) != NULL) {
        return snapshot;
    }
    snapshot_free(snapshot);
    return NULL;
}
