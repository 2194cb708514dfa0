// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot/assemble_policy.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb_copy.h"
#include "certs/bundle.h"
#include "certs/verify.h"
#include "control/agent/snapshot/assemble_parts.h"
#include "control/agent/snapshot/credentials.h"
#include "control/agent/proxy/keyring.h"
#include "proxy/rules/snapshot_join.h"

// A copy of all parts as one message. Only the parts' pointers are in the message that is packed.
static bool join(struct assembled *out, const struct assemble_policy *from,
                 const Tabard__V1__Identity *identity, struct err *err)
{
    Tabard__V1__Snapshot parts = TABARD__V1__SNAPSHOT__INIT;
    parts.identity = (Tabard__V1__Identity *)identity;
    snapshot_join(&parts, SNAPSHOT_BUNDLES, &from->state->base);
    snapshot_join(&parts, SNAPSHOT_RULES, &from->state->base);
    snapshot_join(&parts, SNAPSHOT_LOCAL, &from->local->snapshot->base);
    size_t len = tabard__v1__snapshot__get_packed_size(&parts);
    if (len > ASSEMBLED_BYTES_MAX) {
        return err_set(err, "the whole is %zu bytes packed, over the limit of %u", len,
                       ASSEMBLED_BYTES_MAX);
    }
    out->snapshot = pb_copy(&parts.base);
    return true;
}

static bool check_bundles(struct assembled *out, struct trust_bundles **bundles, time_t now,
                          struct err *err)
{
    const Tabard__V1__Snapshot *snapshot = out->snapshot;
    if (snapshot->n_trust_bundles == 0) {
        return err_set_at(err, "trust_bundles",
                          "missing: at least that of the sidecar's own trust domain is needed");
    }
    *bundles = trust_bundles_new(snapshot->trust_bundles, snapshot->n_trust_bundles, now, err);
    out->crls = calloc(snapshot->n_trust_bundles, sizeof *out->crls);
    if (*bundles == NULL || out->crls == NULL) {
        return *bundles == NULL ? false : err_set(err, "out of memory");
    }
    for (size_t i = 0; i < snapshot->n_trust_bundles; i++) {
        assembled_note_crls(out, snapshot->trust_bundles[i]);
    }
    return true;
}

static bool check_identity(struct assembled *out, const struct assemble_policy *from,
                           const struct trust_bundles *bundles, time_t now, struct err *err)
{
    Tabard__V1__Identity *identity = out->snapshot->identity;
    EVP_PKEY *leaf_key = NULL;
    struct verified_peer *peer = calloc(1, sizeof *peer);
    uint8_t *key_id = malloc(CONTRACT_KEY_ID_LEN);
    bool ok = false;
    if (peer == NULL || key_id == NULL) {
        err_set(err, "out of memory");
        goto out;
    }
    if (identity->n_chain == 0) {
        err_set_at(err, "certificate.chain", "no certificate is in it");
        goto out;
    }
    if (!credentials_leaf_read(identity, &leaf_key, &out->not_before, err)) {
        err_prefix_where(err, "certificate.chain[0]");
        goto out;
    }
    EVP_PKEY *key = from->issued != NULL ? from->issued_key : from->local->key;
    if (EVP_PKEY_cmp(leaf_key, key) != 1) {
        err_set_at(err, "certificate.chain[0]",
                   "issued for another key than the one that was "
                   "sent in the certificate_request");
        goto out;
    }
    if (!credentials_chain_verify(peer, identity, bundles, now, err)) {
        err_prefix_where(err, "certificate.chain");
        goto out;
    }
    memcpy(out->spiffe_id, peer->id, sizeof out->spiffe_id);
    out->not_after = peer->not_after;
    EVP_PKEY_up_ref(key);
    out->key = key;
    ok = keyring_key_id(key_id, key) || err_set(err, "out of memory");
    free(identity->key_id.data);
    identity->key_id = (ProtobufCBinaryData){.len = CONTRACT_KEY_ID_LEN, .data = key_id};
    key_id = NULL;
out:
    EVP_PKEY_free(leaf_key);
    free(peer);
    free(key_id);
    return ok;
}

bool assemble_policy(struct assembled *out, const struct assemble_policy *from, time_t now,
                     struct err *err)
{
    *out = (struct assembled){0};
    struct trust_bundles *bundles = NULL;
    const Tabard__V1__Identity *identity =
        from->issued != NULL ? from->issued : from->local->snapshot->identity;
    bool ok = identity != NULL || err_set(err, "there is no certificate for this sidecar yet: "
                                               "it has to come with the state or before it");
    ok = ok && join(out, from, identity, err) && check_bundles(out, &bundles, now, err) &&
         check_identity(out, from, bundles, now, err) && assembled_check_rules(out, err) &&
         assembled_digest(out, err);
    trust_bundles_free(bundles);
    if (!ok) {
        assembled_cleanup(out);
    }
    return ok;
}
