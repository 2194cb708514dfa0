// SPDX-License-Identifier: Apache-2.0
#include "proxy/trust/trust.h"

#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "certs/chain.h"

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

// Proves a chain of ours against our own bundle, as a peer would, and adds its key to the text.
static bool check_chain(struct trust *trust, const struct chain *chain, struct verified_peer *out,
                        time_t now, struct err *err)
{
    if (verify_peer(out, chain->certs, chain->num, trust->bundles, now, err) != VERIFY_OK) {
        err_prefix(err, "our own certificate would not be accepted by a peer");
        return err_prefix_where(err, "chain");
    }
    const CRYPTO_BUFFER *leaf = chain->certs[0];
    const uint8_t *der = CRYPTO_BUFFER_data(leaf);
    X509 *cert = d2i_X509(NULL, &der, (long)CRYPTO_BUFFER_len(leaf));
    EVP_PKEY *key = cert == NULL ? NULL : X509_get_pubkey(cert);
    char text[KEY_TEXT_MAX];
    size_t len = strlen(trust->keys);
    snprintf(trust->keys + len, sizeof trust->keys - len, "%s%s", len > 0 ? " or " : "",
             key_text(key, text));
    EVP_PKEY_free(key);
    X509_free(cert);
    return true;
}

// Reads the fallback, if there is one; it must prove the same id. out->num is 0: there is none.
static bool take_fallback(struct trust *trust, struct chain *out,
                          const Tabard__V1__Identity *fallback, time_t now, struct err *err)
{
    struct verified_peer *peer = NULL;
    bool ok = true;
    if (fallback == NULL) {
        return true;
    }
    if (fallback->key_id.len != CONTRACT_KEY_ID_LEN || fallback->fallback != NULL) {
        err_set_at(err, "key_id", "it is not %d bytes, or the fallback has one itself",
                   CONTRACT_KEY_ID_LEN);
        return err_prefix_where(err, "identity.fallback");
    }
    memcpy(trust->fallback_key_id, fallback->key_id.data, sizeof trust->fallback_key_id);
    if (!chain_init(out, fallback->chain, fallback->n_chain, err)) {
        return err_prefix_where(err, "identity.fallback.chain");
    }
    peer = must_alloc(1, sizeof *peer);
    ok = check_chain(trust, out, peer, now, err);
    if (ok && (peer->id_len != trust->self.id_len ||
               memcmp(peer->id, trust->self.id, peer->id_len) != 0)) {
        ok = err_set_at(err, "chain", "it is %s, and the other certificate %s", peer->id,
                        trust->self.id);
    }
    trust->self.not_after =
        peer->not_after < trust->self.not_after ? peer->not_after : trust->self.not_after;
    free(peer);
    return ok || err_prefix_where(err, "identity.fallback");
}

static bool take_identity(struct trust *trust, const Tabard__V1__Identity *identity,
                          const struct context_hooks *hooks, time_t now, struct err *err)
{
    struct chain chain;
    struct chain fallback = {.num = 0};
    if (!chain_init(&chain, identity->chain, identity->n_chain, err)) {
        return err_prefix_where(err, "identity.chain");
    }
    const struct context_options options = {.needs_post_quantum = trust->needs_post_quantum,
                                            .chain = &chain,
                                            .fallback =
                                                identity->fallback == NULL ? NULL : &fallback,
                                            .hooks = *hooks};
    bool ok = (check_chain(trust, &chain, &trust->self, now, err) &&
               spiffe_workload_parse(&trust->self_id, trust->self.id, trust->self.id_len, err)) ||
              err_prefix_where(err, "identity");
    ok = ok && take_fallback(trust, &fallback, identity->fallback, now, err) &&
         (context_pair_init(&trust->contexts, &options, err) || err_prefix_where(err, "identity"));
    chain_cleanup(&chain);
    chain_cleanup(&fallback);
    return ok;
}

static bool needs_post_quantum(const Tabard__V1__Snapshot *message)
{
    return message->settings != NULL &&
           message->settings->key_exchange == TABARD__V1__SETTINGS__KEY_EXCHANGE__POST_QUANTUM;
}

// SHA-256 over what trust is built of: the identity and the trust bundles, as they were sent, and
// the key exchange.
static void source_digest(uint8_t out[32], const Tabard__V1__Snapshot *message)
{
    Tabard__V1__Snapshot part = TABARD__V1__SNAPSHOT__INIT;
    Tabard__V1__Settings settings = TABARD__V1__SETTINGS__INIT;
    if (needs_post_quantum(message)) {
        settings.key_exchange = message->settings->key_exchange;
        part.settings = &settings;
    }
    part.identity = message->identity;
    part.trust_bundles = message->trust_bundles;
    part.n_trust_bundles = message->n_trust_bundles;
    size_t len = 0;
    uint8_t *bytes = pb_copy_packed(&part.base, &len);
    SHA256(bytes, len, out);
    free(bytes);
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
        now >= previous->checked_from && now <= previous->self.not_after) {
        atomic_fetch_add_explicit(&previous->num_refs, 1, memory_order_relaxed);
        return previous;
    }
    struct trust *trust = must_alloc(1, sizeof *trust);
    atomic_init(&trust->num_refs, 1);
    memcpy(trust->source_digest, digest, sizeof trust->source_digest);
    trust->needs_post_quantum = needs_post_quantum(message);
    memcpy(trust->key_id, identity->key_id.data, sizeof trust->key_id);
    const struct trust_load load = {.in_force = previous == NULL ? NULL : previous->bundles};
    trust->bundles =
        trust_bundles_read(message->trust_bundles, message->n_trust_bundles, &load, now, err);
    if (trust->bundles == NULL || !take_identity(trust, identity, hooks, now, err)) {
        trust_free(trust);
        return NULL;
    }
    trust->checked_from = now;
    return trust;
}

void trust_warn_of_withdrawn(const struct trust *trust, const struct trust *before)
{
    char issuer[TRUST_ISSUER_TEXT];
    char quoted[2 * TRUST_ISSUER_TEXT];
    if (trust == before) {
        return;
    }
    for (size_t i = 0; trust_bundles_withdrawn(trust->bundles, before->bundles, i, issuer) != NULL;
         i++) {
        log_warn("msg=\"a CRL is gone: what it revoked is revoked no more\" issuer=%s",
                 log_quote(quoted, sizeof quoted, issuer));
    }
}
