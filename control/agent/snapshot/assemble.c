// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot/assemble.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "certs/bundle.h"
#include "certs/cert.h"
#include "certs/chain.h"
#include "certs/path/verify.h"
#include "control/agent/proxy/keyring.h"
#include "control/agent/snapshot/credentials.h"
#include "proto/contract.h"
#include "proxy/rules/policy.h"
#include "proxy/rules/route.h"

// One block for the snapshot, for the identity in it, which borrows everything from its part but
// the key_id, and for the settings, if another part than theirs speaks for them, too.
struct joined {
    Tabard__V1__Snapshot snapshot; // first: assembly_cleanup frees the block by it
    Tabard__V1__Identity identity;
    Tabard__V1__Settings settings;
    uint8_t key_id[CONTRACT_KEY_ID_LEN];
};

static void join(struct assembly *out, const struct slots *slots)
{
    struct joined *joined = must_alloc(1, sizeof *joined);
    out->snapshot = &joined->snapshot;
    tabard__v1__snapshot__init(out->snapshot);
    slots_copy(&out->slots, slots);
    for (unsigned i = 0; i < SNAPSHOT_NUM_PARTS; i++) {
        if (slots->parts[i] != NULL) {
            snapshot_join(out->snapshot, (enum snapshot_part)i, slots->parts[i]->message);
        }
    }
    if (slots->parts[SNAPSHOT_RULES] != NULL) {
        snapshot_join_settings(out->snapshot, &joined->settings,
                               slots->parts[SNAPSHOT_RULES]->message);
    }
    if (out->snapshot->identity != NULL) {
        joined->identity = *out->snapshot->identity;
        joined->identity.key_id =
            (ProtobufCBinaryData){.len = sizeof joined->key_id, .data = joined->key_id};
        out->snapshot->identity = &joined->identity;
    }
}

// Notes when the first CRL of a bundle ends, and whose CRLs nobody known has signed.
static void note_crls(struct assembly *out, const Tabard__V1__TrustBundle *bundle,
                      const struct trust_bundle *read)
{
    struct assembly_crl *crl = &out->crls[out->num_crls];
    char issuer[TRUST_ISSUER_TEXT];
    while (trust_bundle_unproved(read, crl->num_unproved, issuer) != NULL) {
        crl->num_unproved++;
    }
    trust_bundle_unproved(read, 0, crl->unproved);
    for (size_t i = 0; i < bundle->n_crls; i++) {
        const uint8_t *der = bundle->crls[i].data;
        X509_CRL *parsed = d2i_X509_CRL(NULL, &der, (long)bundle->crls[i].len);
        time_t next = 0;
        if (parsed != NULL && cert_time_read(&next, X509_CRL_get0_nextUpdate(parsed)) &&
            (crl->next_update == 0 || next < crl->next_update)) {
            crl->next_update = next;
        }
        X509_CRL_free(parsed);
    }
    if (crl->next_update != 0) {
        snprintf(crl->trust_domain, sizeof crl->trust_domain, "%s", bundle->trust_domain);
        out->num_crls++;
    }
    ERR_clear_error();
}

// The CAs of our own chain, whose CRLs can be proved at once. Those that can't be read are left to
// the check of the chain.
static size_t own_authorities(X509 *out[CHAIN_CERTS_MAX], const Tabard__V1__Identity *identity)
{
    size_t num = 0;
    for (size_t i = 1; identity != NULL && i < identity->n_chain && num < CHAIN_CERTS_MAX; i++) {
        const uint8_t *der = identity->chain[i].data;
        out[num] = d2i_X509(NULL, &der, (long)identity->chain[i].len);
        num += out[num] != NULL;
    }
    ERR_clear_error();
    return num;
}

static struct trust_bundles *read_bundles(const Tabard__V1__Snapshot *snapshot, time_t now,
                                          struct err *err)
{
    X509 *authorities[CHAIN_CERTS_MAX];
    const struct trust_load load = {.authorities = authorities,
                                    .num_authorities =
                                        own_authorities(authorities, snapshot->identity)};
    struct trust_bundles *bundles =
        trust_bundles_read(snapshot->trust_bundles, snapshot->n_trust_bundles, &load, now, err);
    for (size_t i = 0; i < load.num_authorities; i++) {
        X509_free(authorities[i]);
    }
    return bundles;
}

static struct trust_bundles *check_bundles(struct assembly *out, time_t now, struct err *err)
{
    const Tabard__V1__Snapshot *snapshot = out->snapshot;
    if (snapshot->n_trust_bundles == 0) {
        err_set_at(err, "trust_bundles",
                   "missing: at least that of the sidecar's own trust domain is needed");
        return NULL;
    }
    struct trust_bundles *bundles = read_bundles(snapshot, now, err);
    if (bundles != NULL) {
        out->crls = must_alloc(snapshot->n_trust_bundles, sizeof *out->crls);
        for (size_t i = 0; i < snapshot->n_trust_bundles; i++) {
            const Tabard__V1__TrustBundle *bundle = snapshot->trust_bundles[i];
            note_crls(
                out, bundle,
                trust_bundles_find(bundles, bundle->trust_domain, strlen(bundle->trust_domain)));
        }
    }
    return bundles;
}

// Refuses a certificate that was issued for another key than ours.
static bool check_leaf(struct assembly *out, EVP_PKEY *key, struct err *err)
{
    Tabard__V1__Identity *identity = out->snapshot->identity;
    EVP_PKEY *leaf_key = NULL;
    bool ok = false;
    if (identity->n_chain == 0) {
        return err_set_at(err, "identity.chain", "no certificate is in it");
    }
    if (!credentials_leaf_read(identity, &leaf_key, &out->not_before, err)) {
        err_prefix_where(err, "identity.chain[0]");
    } else if (EVP_PKEY_cmp(leaf_key, key) != 1) {
        err_set_at(err, "identity.key_id", "the certificate was issued for another key");
    } else {
        EVP_PKEY_up_ref(key);
        out->key = key;
        invariant(keyring_key_id(identity->key_id.data, key));
        ok = true;
    }
    EVP_PKEY_free(leaf_key);
    return ok;
}

// Refuses a chain that a peer with the same bundles would refuse.
static bool check_chain(struct assembly *out, const struct trust_bundles *bundles, time_t now,
                        struct err *err)
{
    struct verified_peer *peer = must_alloc(1, sizeof *peer);
    enum verify_failure failure =
        credentials_chain_verify(peer, out->snapshot->identity, bundles, now, err);
    if (failure == VERIFY_OK) {
        memcpy(out->spiffe_id, peer->id, sizeof out->spiffe_id);
        out->not_after = peer->not_after;
    } else {
        out->is_certificate_refused =
            failure == VERIFY_REVOKED || failure == VERIFY_UNTRUSTED_CHAIN;
        err_prefix_where(err, "identity.chain");
    }
    free(peer);
    return failure == VERIFY_OK;
}

// Refuses policies and routes that the proxy would refuse, and notes what the agent needs of the
// settings.
static bool check_rules(struct assembly *out, struct err *err)
{
    const Tabard__V1__Snapshot *snapshot = out->snapshot;
    struct policy_index *policies = policy_index_new(snapshot->policies, snapshot->n_policies, err);
    if (policies == NULL) {
        return false;
    }
    policy_index_free(policies);
    struct route_index *routes = route_index_new(snapshot, err);
    if (routes == NULL) {
        return false;
    }
    out->is_observing = route_is_observing(routes);
    out->drain_seconds = route_limits(routes)->drain_seconds;
    out->drain_delay_seconds = route_limits(routes)->drain_delay_seconds;
    const struct listen_spec *listens = route_listens(routes);
    for (size_t i = 0; i < route_num_listens(routes); i++) {
        if (listens[i].kind == LISTEN_OUTBOUND) {
            out->outbound_port = listens[i].listen.port;
        } else if (listens[i].kind == LISTEN_INBOUND) {
            out->inbound_port = listens[i].listen.port;
        }
    }
    route_index_free(routes);
    return true;
}

// Checks the identity and the bundles, those that are there.
static bool check_trust(struct assembly *out, time_t now, struct err *err)
{
    const struct part *identity = out->slots.parts[SNAPSHOT_IDENTITY];
    struct trust_bundles *bundles = NULL;
    if (out->slots.parts[SNAPSHOT_BUNDLES] != NULL) {
        bundles = check_bundles(out, now, err);
        if (bundles == NULL) {
            return false;
        }
    }
    bool ok = (identity == NULL || check_leaf(out, identity->key, err)) &&
              (identity == NULL || bundles == NULL || check_chain(out, bundles, now, err));
    trust_bundles_free(bundles);
    return ok;
}

// Takes over what was found out about the identity and the bundles, if they are those in force.
static bool take_trust(struct assembly *out, const struct assembly *in_force, time_t now)
{
    if (in_force == NULL || now < in_force->not_before || now > in_force->not_after ||
        EVP_PKEY_cmp(out->slots.parts[SNAPSHOT_IDENTITY]->key, in_force->key) != 1 ||
        memcmp(out->trust_digest, in_force->trust_digest, sizeof out->trust_digest) != 0) {
        return false;
    }
    EVP_PKEY_up_ref(in_force->key);
    out->key = in_force->key;
    invariant(keyring_key_id(out->snapshot->identity->key_id.data, out->key));
    memcpy(out->spiffe_id, in_force->spiffe_id, sizeof out->spiffe_id);
    out->not_before = in_force->not_before;
    out->not_after = in_force->not_after;
    out->num_crls = in_force->num_crls;
    out->crls = must_copy(in_force->crls, in_force->num_crls * sizeof *in_force->crls);
    return true;
}

static void digest_trust(struct assembly *out)
{
    size_t len = 0;
    Tabard__V1__Identity identity = *out->snapshot->identity;
    Tabard__V1__Snapshot part = TABARD__V1__SNAPSHOT__INIT;
    identity.key_id = (ProtobufCBinaryData){.len = 0}; // comes with the check
    part.identity = &identity;
    part.trust_bundles = out->snapshot->trust_bundles;
    part.n_trust_bundles = out->snapshot->n_trust_bundles;
    uint8_t *packed = pb_copy_packed(&part.base, &len);
    SHA256(packed, len, out->trust_digest);
    free(packed);
}

static bool refuse_empty(const struct slots *slots, struct err *err)
{
    static const char *const missing[SNAPSHOT_NUM_PARTS] = {
        [SNAPSHOT_IDENTITY] = "there is no certificate for this sidecar yet",
        [SNAPSHOT_BUNDLES] = "there are no trust bundles yet",
        [SNAPSHOT_RULES] = "there are no policies and destinations yet",
        [SNAPSHOT_LOCAL] = "there are no ports and settings yet",
    };
    for (size_t i = 0; i < SNAPSHOT_NUM_PARTS; i++) {
        if (slots->parts[i] == NULL) {
            return err_set(err, "%s", missing[i]);
        }
    }
    return true;
}

static bool digest(struct assembly *out, struct err *err)
{
    size_t len = tabard__v1__snapshot__get_packed_size(out->snapshot);
    if (len > ASSEMBLY_BYTES_MAX) {
        return err_set(err, "the whole is %zu bytes packed, over the limit of %u", len,
                       ASSEMBLY_BYTES_MAX);
    }
    uint8_t *packed = pb_copy_packed(&out->snapshot->base, &len);
    SHA256(packed, len, out->digest);
    free(packed);
    return true;
}

bool assemble_over(struct assembly *out, const struct slots *slots, const struct assembly *in_force,
                   time_t now, struct err *err)
{
    *out = (struct assembly){0};
    if (!refuse_empty(slots, err)) {
        return false;
    }
    join(out, slots);
    digest_trust(out);
    bool ok = (take_trust(out, in_force, now) || check_trust(out, now, err)) &&
              check_rules(out, err) && digest(out, err);
    if (!ok) {
        bool is_certificate_refused = out->is_certificate_refused;
        assembly_cleanup(out);
        out->is_certificate_refused = is_certificate_refused;
    }
    return ok;
}

bool assemble(struct assembly *out, const struct slots *slots, time_t now, struct err *err)
{
    return assemble_over(out, slots, NULL, now, err);
}

bool assemble_check(const struct slots *slots, time_t now, struct err *err)
{
    struct assembly assembly = {0};
    join(&assembly, slots);
    bool ok = check_trust(&assembly, now, err) && check_rules(&assembly, err);
    assembly_cleanup(&assembly);
    return ok;
}

void assembly_cleanup(struct assembly *assembly)
{
    free(assembly->snapshot);
    slots_cleanup(&assembly->slots);
    EVP_PKEY_free(assembly->key);
    free(assembly->crls);
    *assembly = (struct assembly){0};
}

void assembly_warn_of_crls(const struct assembly *what)
{
    char quoted[2 * TRUST_ISSUER_TEXT];
    for (size_t i = 0; i < what->num_crls; i++) {
        if (what->crls[i].num_unproved > 0) {
            log_warn("msg=\"a CRL is of no root, nor of our own CA: it counts for chains that show "
                     "its issuer\" "
                     "trust_domain=%s crls=%zu issuer=%s",
                     what->crls[i].trust_domain, what->crls[i].num_unproved,
                     log_quote(quoted, sizeof quoted, what->crls[i].unproved));
        }
    }
}
