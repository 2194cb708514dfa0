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
#include "certs/key.h"
#include "certs/path/verify.h"
#include "control/agent/proxy/keyring.h"
#include "control/agent/snapshot/credentials.h"
#include "proto/contract.h"
#include "proxy/rules/policy.h"
#include "proxy/rules/route.h"

// One block for the snapshot, for the identity in it and its fallback, which borrow everything from
// their part but the key_id, and for the settings, if another part than theirs speaks for them,
// too.
struct joined {
    Tabard__V1__Snapshot snapshot; // first: assembly_cleanup frees the block by it
    Tabard__V1__Identity identity;
    Tabard__V1__Settings settings;
    Tabard__V1__Identity fallback;
    uint8_t key_id[CONTRACT_KEY_ID_LEN];
    uint8_t fallback_key_id[CONTRACT_KEY_ID_LEN];
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
        const ProtobufCMessage *rules = slots->parts[SNAPSHOT_RULES]->message;
        const Tabard__V1__Settings *own = out->snapshot->settings;
        out->enforcement_by = snapshot_setting_by("enforcement", own, rules);
        out->key_exchange_by = snapshot_setting_by("key_exchange", own, rules);
        snapshot_join_settings(out->snapshot, &joined->settings, rules);
    }
    if (out->snapshot->identity != NULL) {
        joined->identity = *out->snapshot->identity;
        joined->identity.key_id =
            (ProtobufCBinaryData){.len = sizeof joined->key_id, .data = joined->key_id};
        out->snapshot->identity = &joined->identity;
    }
    if (out->snapshot->identity != NULL && joined->identity.fallback != NULL) {
        joined->fallback = *joined->identity.fallback;
        joined->fallback.key_id = (ProtobufCBinaryData){.len = sizeof joined->fallback_key_id,
                                                        .data = joined->fallback_key_id};
        joined->identity.fallback = &joined->fallback;
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

// Adds the CAs of a chain of ours, whose CRLs can be proved at once. Those that can't be read are
// left to the check of the chain.
static size_t own_authorities(X509 *out[2 * CHAIN_CERTS_MAX], size_t num,
                              const Tabard__V1__Identity *identity)
{
    for (size_t i = 1; i < identity->n_chain && num < 2 * CHAIN_CERTS_MAX; i++) {
        const uint8_t *der = identity->chain[i].data;
        out[num] = d2i_X509(NULL, &der, (long)identity->chain[i].len);
        num += out[num] != NULL;
    }
    ERR_clear_error();
    return identity->fallback == NULL ? num : own_authorities(out, num, identity->fallback);
}

static struct trust_bundles *read_bundles(const Tabard__V1__Snapshot *snapshot, time_t now,
                                          struct err *err)
{
    X509 *authorities[2 * CHAIN_CERTS_MAX];
    const struct trust_load load = {
        .authorities = authorities,
        .num_authorities =
            snapshot->identity == NULL ? 0 : own_authorities(authorities, 0, snapshot->identity)};
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

// Refuses a certificate that was issued for another key than ours. The key is counted once more in
// *out_key.
static bool check_leaf(struct assembly *out, Tabard__V1__Identity *identity, EVP_PKEY *key,
                       EVP_PKEY **out_key, struct err *err)
{
    EVP_PKEY *leaf_key = NULL;
    time_t not_before = 0;
    bool ok = false;
    if (identity->n_chain == 0) {
        return err_set_at(err, "chain", "no certificate is in it");
    }
    if (!credentials_leaf_read(identity, &leaf_key, &not_before, err)) {
        err_prefix_where(err, "chain[0]");
    } else if (EVP_PKEY_cmp(leaf_key, key) != 1) {
        err_set_at(err, "key_id", "the certificate was issued for another key");
    } else {
        EVP_PKEY_up_ref(key);
        *out_key = key;
        out->not_before = not_before > out->not_before ? not_before : out->not_before;
        invariant(keyring_key_id(identity->key_id.data, key));
        ok = true;
    }
    EVP_PKEY_free(leaf_key);
    return ok;
}

// A fallback with the same kind of key would never be shown.
static bool check_fallback_leaf(struct assembly *out, EVP_PKEY *key, struct err *err)
{
    char text[KEY_TEXT_MAX];
    char other[KEY_TEXT_MAX];
    if (!check_leaf(out, out->snapshot->identity->fallback, key, &out->fallback_key, err)) {
        return false;
    }
    return strcmp(key_text(key, text), key_text(out->key, other)) != 0 ||
           err_set_at(err, "chain", "its key is %s, as that of the other certificate is", text);
}

// Refuses a chain that a peer with the same bundles would refuse. Fills *out_id.
static enum verify_failure check_chain(struct assembly *out, const Tabard__V1__Identity *identity,
                                       char out_id[SPIFFE_ID_LEN_MAX + 1],
                                       const struct trust_bundles *bundles, time_t now,
                                       struct err *err)
{
    struct verified_peer *peer = must_alloc(1, sizeof *peer);
    enum verify_failure failure = credentials_chain_verify(peer, identity, bundles, now, err);
    if (failure == VERIFY_OK) {
        memcpy(out_id, peer->id, sizeof peer->id);
        if (out->not_after == 0 || peer->not_after < out->not_after) {
            out->not_after = peer->not_after;
        }
    } else {
        err_prefix_where(err, "chain");
    }
    free(peer);
    return failure;
}

// Says whether a chain that is refused for this may have been good before, and be good again: by
// the time and by the CRLs.
static bool is_of_its_time(enum verify_failure failure)
{
    return failure == VERIFY_EXPIRED || failure == VERIFY_NOT_YET_VALID ||
           failure == VERIFY_REVOKED || failure == VERIFY_CRL_STALE ||
           failure == VERIFY_CRL_UNUSABLE;
}

// A fallback that peers refuse by now is left out, so that it holds up nothing: no policy, and not
// the CRL that revokes it.
static bool check_fallback_chain(struct assembly *out, const struct trust_bundles *bundles,
                                 time_t now, struct err *err)
{
    char id[SPIFFE_ID_LEN_MAX + 1];
    Tabard__V1__Identity *identity = out->snapshot->identity;
    struct err why = {{0}, {0}};
    enum verify_failure failure = check_chain(out, identity->fallback, id, bundles, now, &why);
    if (is_of_its_time(failure)) {
        out->left_out = why;
        err_prefix_where(&out->left_out, "identity.fallback");
        identity->fallback = NULL;
        EVP_PKEY_free(out->fallback_key);
        out->fallback_key = NULL;
        return true;
    }
    if (failure != VERIFY_OK) {
        return err_set_at(err, why.where, "%s", why.text);
    }
    return strcmp(id, out->spiffe_id) == 0 ||
           err_set_at(err, "chain", "it is of %s, and the other certificate of %s", id,
                      out->spiffe_id);
}

// Checks the identity, and its chains if there are bundles.
static bool check_identity(struct assembly *out, const struct part *part,
                           const struct trust_bundles *bundles, time_t now, struct err *err)
{
    Tabard__V1__Identity *identity = out->snapshot->identity;
    if (!check_leaf(out, identity, part->key, &out->key, err)) {
        return err_prefix_where(err, "identity");
    }
    enum verify_failure failure =
        bundles == NULL ? VERIFY_OK : check_chain(out, identity, out->spiffe_id, bundles, now, err);
    if (failure != VERIFY_OK) {
        out->is_certificate_refused =
            failure == VERIFY_REVOKED || failure == VERIFY_UNTRUSTED_CHAIN;
        return err_prefix_where(err, "identity");
    }
    if (identity->fallback != NULL &&
        (!check_fallback_leaf(out, part->fallback_key, err) ||
         (bundles != NULL && !check_fallback_chain(out, bundles, now, err)))) {
        return err_prefix_where(err, "identity.fallback");
    }
    return true;
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
    bool ok = identity == NULL || check_identity(out, identity, bundles, now, err);
    trust_bundles_free(bundles);
    return ok;
}

static bool is_key(const EVP_PKEY *key, const EVP_PKEY *other)
{
    return key == NULL || other == NULL ? key == other : EVP_PKEY_cmp(key, other) == 1;
}

// Takes over what was found out about the identity and the bundles, if they are those in force.
static bool take_trust(struct assembly *out, const struct assembly *in_force, time_t now)
{
    if (in_force == NULL || now < in_force->not_before || now > in_force->not_after ||
        !is_key(out->slots.parts[SNAPSHOT_IDENTITY]->key, in_force->key) ||
        !is_key(out->slots.parts[SNAPSHOT_IDENTITY]->fallback_key, in_force->fallback_key) ||
        memcmp(out->trust_digest, in_force->trust_digest, sizeof out->trust_digest) != 0) {
        return false;
    }
    EVP_PKEY_up_ref(in_force->key);
    out->key = in_force->key;
    invariant(keyring_key_id(out->snapshot->identity->key_id.data, out->key));
    if (in_force->fallback_key != NULL) {
        EVP_PKEY_up_ref(in_force->fallback_key);
        out->fallback_key = in_force->fallback_key;
        invariant(
            keyring_key_id(out->snapshot->identity->fallback->key_id.data, out->fallback_key));
    }
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
    Tabard__V1__Identity fallback = TABARD__V1__IDENTITY__INIT;
    identity.key_id = (ProtobufCBinaryData){.len = 0}; // comes with the check
    if (identity.fallback != NULL) {
        fallback = *identity.fallback;
        fallback.key_id = (ProtobufCBinaryData){.len = 0};
        identity.fallback = &fallback;
    }
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
    EVP_PKEY_free(assembly->fallback_key);
    free(assembly->crls);
    *assembly = (struct assembly){0};
}

void assembly_warn(const struct assembly *what)
{
    char quoted[2 * TRUST_ISSUER_TEXT];
    if (what->left_out.text[0] != '\0') {
        char text[sizeof(struct err) + 2];
        char line[2 * sizeof text];
        log_error("msg=\"the fallback certificate is left out, since peers refuse it\" error=%s",
                  log_quote(line, sizeof line, err_text(&what->left_out, text, sizeof text)));
    }
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
