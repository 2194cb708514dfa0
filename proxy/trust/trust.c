// SPDX-License-Identifier: Apache-2.0
#include "proxy/trust/trust.h"

#include <openssl/pool.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pb/pb_copy.h"

static void trust_free(struct trust *trust)
{
    context_pair_cleanup(&trust->contexts);
    trust_bundles_free(trust->bundles);
    free(trust);
}

void trust_unref(struct trust *trust)
{
    if (trust != NULL &&
        atomic_fetch_sub_explicit(&trust->num_refs, 1, memory_order_acq_rel) == 1) {
        trust_free(trust);
    }
}

// Proves our own chain against our own bundle, as a peer would.
static bool identity_check(struct trust *trust, const Tabard__V1__Identity *identity, time_t now,
                           struct err *err)
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
    ok = verify_peer(&trust->self, (const CRYPTO_BUFFER *const *)chain, num, trust->bundles, now,
                     err) == VERIFY_OK;
    if (!ok) {
        err_prefix(err, "our own certificate would not be accepted by a peer");
        err_prefix_where(err, "identity.chain");
        goto out;
    }
    ok = spiffe_workload_parse(&trust->self_id, trust->self.id, trust->self.id_len, err);
out:
    while (num > 0) {
        CRYPTO_BUFFER_free(chain[--num]);
    }
    return ok;
}

// SHA-256 over the identity and the trust bundles, as they were sent.
static void source_digest(uint8_t out[32], const Tabard__V1__Snapshot *message)
{
    Tabard__V1__Snapshot part = TABARD__V1__SNAPSHOT__INIT;
    part.identity = message->identity;
    part.trust_bundles = message->trust_bundles;
    part.n_trust_bundles = message->n_trust_bundles;
    size_t len = 0;
    uint8_t *bytes = pb_copy_packed(&part.base, &len);
    SHA256(bytes, len, out);
    free(bytes);
}

static time_t checked_until(const struct trust *trust, const Tabard__V1__Snapshot *message)
{
    time_t until = trust->self.not_after;
    for (size_t i = 0; i < message->n_trust_bundles; i++) {
        const char *domain = message->trust_bundles[i]->trust_domain;
        time_t next_update =
            trust_bundle_next_update(trust_bundles_find(trust->bundles, domain, strlen(domain)));
        if (next_update < until) {
            until = next_update;
        }
    }
    return until;
}

struct trust *trust_new(const Tabard__V1__Snapshot *message, struct trust *previous,
                        const struct context_hooks *hooks, time_t now, struct err *err)
{
    const Tabard__V1__Identity *identity = message->identity;
    if (identity == NULL || identity->key_id.len != CONTRACT_KEY_ID_LEN) {
        err_set_at(err, "identity", "is missing, or its key_id is not %d bytes",
                   CONTRACT_KEY_ID_LEN);
        return NULL;
    }
    uint8_t digest[32];
    source_digest(digest, message);
    if (previous != NULL && memcmp(digest, previous->source_digest, sizeof digest) == 0 &&
        now >= previous->checked_from && now <= previous->checked_until) {
        atomic_fetch_add_explicit(&previous->num_refs, 1, memory_order_relaxed);
        return previous;
    }
    struct trust *trust = must_alloc(1, sizeof *trust);
    atomic_init(&trust->num_refs, 1);
    memcpy(trust->source_digest, digest, sizeof trust->source_digest);
    memcpy(trust->key_id, identity->key_id.data, sizeof trust->key_id);
    trust->bundles = trust_bundles_new(message->trust_bundles, message->n_trust_bundles, now, err);
    if (trust->bundles == NULL || !identity_check(trust, identity, now, err) ||
        !context_pair_init(&trust->contexts, identity, hooks, err)) {
        trust_free(trust);
        return NULL;
    }
    trust->checked_from = now;
    trust->checked_until = checked_until(trust, message);
    return trust;
}
