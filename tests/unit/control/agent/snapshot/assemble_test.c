// SPDX-License-Identifier: Apache-2.0
//
// Slots that several sources filled, made into one snapshot. What one mesh.yaml comes to is in
// mesh_test.
#include "control/agent/snapshot/assemble.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb/pb_copy.h"
#include "control/agent/proxy/keyring.h"
#include "proto/contract.h"
#include "tabard/v1/policy_agent.pb-c.h"
#include "tests/unit/control/agent/folder.h"

// The world of folder.h as messages, to be spoilt before they become parts.
struct world {
    struct folder folder;
    Tabard__V1__Snapshot identity;
    Tabard__V1__Identity own;
    ProtobufCBinaryData chain[2];
    Tabard__V1__State state;
    Tabard__V1__TrustBundle bundle;
    Tabard__V1__TrustBundle *bundles[1];
    ProtobufCBinaryData root;
    Tabard__V1__Policy policy;
    Tabard__V1__Policy *policies[1];
    Tabard__V1__Policy__Rule rule;
    Tabard__V1__Policy__Rule *rules[1];
    char *principals[1];
    Tabard__V1__MeshConfig local;
    Tabard__V1__Settings settings;
};

static void world_init(struct world *world)
{
    *world = (struct world){.identity = TABARD__V1__SNAPSHOT__INIT,
                            .own = TABARD__V1__IDENTITY__INIT,
                            .state = TABARD__V1__STATE__INIT,
                            .bundle = TABARD__V1__TRUST_BUNDLE__INIT,
                            .policy = TABARD__V1__POLICY__INIT,
                            .rule = TABARD__V1__POLICY__RULE__INIT,
                            .local = TABARD__V1__MESH_CONFIG__INIT,
                            .settings = TABARD__V1__SETTINGS__INIT};
    folder_init(&world->folder);
    X509 *leaf = folder_leaf(&world->folder, world->folder.key);
    cr_assert(mint_cert_der(&world->chain[0].data, &world->chain[0].len, leaf));
    cr_assert(mint_cert_der(&world->chain[1].data, &world->chain[1].len,
                            world->folder.intermediate.cert));
    X509_free(leaf);
    world->own.n_chain = 2;
    world->own.chain = world->chain;
    world->identity.identity = &world->own;
    cr_assert(mint_cert_der(&world->root.data, &world->root.len, world->folder.root.cert));
    world->bundle.trust_domain = (char *)FOLDER_DOMAIN;
    world->bundle.n_roots = 1;
    world->bundle.roots = &world->root;
    world->bundles[0] = &world->bundle;
    world->state.n_trust_bundles = 1;
    world->state.trust_bundles = world->bundles;
    world->principals[0] = (char *)FOLDER_ID;
    world->rule.n_principals = 1;
    world->rule.principals = world->principals;
    world->rules[0] = &world->rule;
    world->policy.name = (char *)"p";
    world->policy.action = TABARD__V1__POLICY__ACTION__ALLOW;
    world->policy.mode = TABARD__V1__POLICY__MODE__ENFORCE;
    world->policy.n_rules = 1;
    world->policy.rules = world->rules;
    world->policies[0] = &world->policy;
    world->state.n_policies = 1;
    world->state.policies = world->policies;
    world->settings.drain_seconds = 7;
    world->local.settings = &world->settings;
}

static void world_cleanup(struct world *world)
{
    free(world->root.data);
    free(world->chain[0].data);
    free(world->chain[1].data);
    folder_cleanup(&world->folder);
}

static void fill(struct slots *slots, enum snapshot_part which, const ProtobufCMessage *message,
                 EVP_PKEY *key)
{
    if (key != NULL) {
        EVP_PKEY_up_ref(key);
    }
    struct part *part = part_new(pb_copy(message), key);
    slots_fill(slots, which, part);
    part_unref(part);
}

static struct slots slots_of(const struct world *world, EVP_PKEY *key)
{
    struct slots slots = {{NULL}};
    fill(&slots, SNAPSHOT_IDENTITY, &world->identity.base, key);
    fill(&slots, SNAPSHOT_BUNDLES, &world->state.base, NULL);
    fill(&slots, SNAPSHOT_RULES, &world->state.base, NULL);
    fill(&slots, SNAPSHOT_LOCAL, &world->local.base, NULL);
    return slots;
}

Test(assemble, slots_of_different_messages_make_one_snapshot, .timeout = 20)
{
    struct world world;
    struct assembly out;
    struct assembly again;
    struct err err = {{0}, {0}};
    uint8_t id[CONTRACT_KEY_ID_LEN];
    world_init(&world);
    struct slots slots = slots_of(&world, world.folder.key);
    cr_assert(assemble(&out, &slots, world.folder.now, &err), "%s", err.text);
    cr_assert(assemble(&again, &slots, world.folder.now, &err), "%s", err.text);
    slots_cleanup(&slots); // the assemblies go on holding what they are made of
    cr_expect_str_eq(out.spiffe_id, FOLDER_ID);
    cr_expect_eq(out.snapshot->n_policies, 1);
    cr_expect_eq(out.snapshot->n_trust_bundles, 1);
    cr_expect_eq(out.drain_seconds, 7);
    cr_assert(keyring_key_id(id, world.folder.key));
    cr_expect_eq(out.snapshot->identity->key_id.len, sizeof id);
    cr_expect_eq(memcmp(out.snapshot->identity->key_id.data, id, sizeof id), 0);
    cr_expect_eq(memcmp(out.digest, again.digest, sizeof out.digest), 0);
    assembly_cleanup(&out);
    assembly_cleanup(&again);
    world_cleanup(&world);
}

Test(assemble, a_policy_agent_may_say_what_becomes_of_what_policy_denies, .timeout = 20)
{
    struct world world;
    struct assembly enforcing, observing, own;
    struct err err = {{0}, {0}};
    world_init(&world);
    struct slots slots = slots_of(&world, world.folder.key);
    cr_assert(assemble(&enforcing, &slots, world.folder.now, &err), "%s", err.text);
    slots_cleanup(&slots);
    cr_expect_eq(enforcing.snapshot->settings->enforcement, 0);
    world.state.enforcement = TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE;
    slots = slots_of(&world, world.folder.key);
    cr_assert(assemble(&observing, &slots, world.folder.now, &err), "%s", err.text);
    slots_cleanup(&slots);
    cr_expect_eq(observing.snapshot->settings->enforcement,
                 TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE);
    cr_expect_eq(observing.drain_seconds, 7);
    cr_expect_neq(memcmp(enforcing.digest, observing.digest, sizeof enforcing.digest), 0);
    world.settings.enforcement = TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCE;
    slots = slots_of(&world, world.folder.key);
    cr_assert(assemble(&own, &slots, world.folder.now, &err), "%s", err.text);
    slots_cleanup(&slots);
    cr_expect_eq(own.snapshot->settings->enforcement, TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCE);
    assembly_cleanup(&enforcing);
    assembly_cleanup(&observing);
    assembly_cleanup(&own);
    world_cleanup(&world);
}

Test(assemble, a_crl_that_went_stale_in_force_holds_up_no_other_change, .timeout = 20)
{
    struct world world;
    struct assembly before, after;
    struct err err = {{0}, {0}};
    ProtobufCBinaryData der;
    world_init(&world);
    const time_t now = world.folder.now;
    X509_CRL *crl = mint_crl_new(&world.folder.root, NULL, 0, 1, now - 60, now + 60, &err);
    cr_assert(mint_crl_der(&der.data, &der.len, crl));
    world.bundle.n_crls = 1;
    world.bundle.crls = &der;
    struct slots slots = slots_of(&world, world.folder.key);
    cr_assert(assemble(&before, &slots, now, &err), "%s", err.text);
    slots_cleanup(&slots);
    world.policy.action = TABARD__V1__POLICY__ACTION__DENY;
    slots = slots_of(&world, world.folder.key);
    cr_expect_not(assemble(&after, &slots, now + 61, &err));
    cr_expect_not_null(strstr(err.text, "stale"), "%s", err.text);
    cr_assert(assemble_over(&after, &slots, &before, now + 61, &err), "%s", err.text);
    cr_expect_eq(after.snapshot->policies[0]->action, TABARD__V1__POLICY__ACTION__DENY);
    cr_expect_str_eq(after.spiffe_id, before.spiffe_id);
    cr_expect_eq(after.not_after, before.not_after);
    cr_expect_eq(after.num_crls, 1);
    assembly_cleanup(&after);
    // Another list of roots is another trust, which is checked.
    slots_cleanup(&slots);
    ProtobufCBinaryData roots[] = {world.root, world.root};
    world.bundle.n_roots = 2;
    world.bundle.roots = roots;
    slots = slots_of(&world, world.folder.key);
    cr_expect_not(assemble_over(&after, &slots, &before, now + 61, &err));
    // And so is an expired certificate.
    cr_expect_not(assemble_over(&after, &slots, &before, before.not_after + 1, &err));
    slots_cleanup(&slots);
    assembly_cleanup(&before);
    X509_CRL_free(crl);
    free(der.data);
    world_cleanup(&world);
}

// A CRL of the intermediate, which signed the leaf, or of the root, which signed the intermediate.
static X509_CRL *crl_of(const struct mint_ca *ca, const ProtobufCBinaryData *revoked, time_t now)
{
    const uint8_t *der = revoked->data;
    X509 *cert = d2i_X509(NULL, &der, (long)revoked->len);
    const struct mint_revoked entry = {.serial = X509_get0_serialNumber(cert), .when = now - 30};
    struct err err = {{0}, {0}};
    X509_CRL *crl = mint_crl_new(ca, &entry, 1, 1, now - 60, now + 60, &err);
    cr_assert_not_null(crl, "%s", err.text);
    X509_free(cert);
    return crl;
}

Test(assemble, says_when_another_certificate_might_be_good, .timeout = 20)
{
    enum flaw { NONE, REVOKED, CA_REVOKED, OTHER_ROOT, EXPIRED, STALE, BAD_POLICY, OTHER_KEY };
    struct world world;
    struct mint_ca other;
    struct err err = {{0}, {0}};
    ProtobufCBinaryData other_root;
    world_init(&world);
    const time_t now = world.folder.now;
    EVP_PKEY *other_key = folder_key(MINT_KEY_P256);
    cr_assert(mint_root_init(&other, MINT_KEY_P256, FOLDER_DOMAIN, now - 60, now + 60, &err));
    cr_assert(mint_cert_der(&other_root.data, &other_root.len, other.cert));
    for (enum flaw flaw = NONE; flaw <= OTHER_KEY; flaw++) {
        struct assembly out;
        ProtobufCBinaryData der = {0};
        const struct mint_ca *issuer =
            flaw == REVOKED ? &world.folder.intermediate : &world.folder.root;
        X509_CRL *crl = crl_of(issuer, &world.chain[flaw == CA_REVOKED], now);
        cr_assert(mint_crl_der(&der.data, &der.len, crl));
        world.bundle.crls = &der;
        world.bundle.n_crls = flaw == REVOKED || flaw == CA_REVOKED || flaw == STALE;
        world.bundle.roots = flaw == OTHER_ROOT ? &other_root : &world.root;
        world.policy.action =
            flaw == BAD_POLICY ? (Tabard__V1__Policy__Action)0 : TABARD__V1__POLICY__ACTION__ALLOW;
        struct slots slots = slots_of(&world, flaw == OTHER_KEY ? other_key : world.folder.key);
        time_t then = now + (flaw == EXPIRED ? 7200 : flaw == STALE ? 61 : 0);
        cr_expect_eq(assemble(&out, &slots, then, &err), flaw == NONE, "row %u: %s", flaw,
                     err.text);
        cr_expect_eq(out.is_certificate_refused,
                     flaw == REVOKED || flaw == CA_REVOKED || flaw == OTHER_ROOT, "row %u: %s",
                     flaw, err.text);
        assembly_cleanup(&out);
        slots_cleanup(&slots);
        X509_CRL_free(crl);
        free(der.data);
    }
    EVP_PKEY_free(other_key);
    mint_ca_cleanup(&other);
    free(other_root.data);
    world_cleanup(&world);
}

Test(assemble, a_part_that_is_not_good_is_refused_by_its_field, .timeout = 20)
{
    static const char *const words[] = {
        "trust_bundles: missing",
        "trust_bundles[0].roots",
        "policies[0].action",
        "policies[0].rules[0].principals[0]",
        "identity.chain: no certificate",
        "identity.key_id: the certificate was issued for another key",
        "identity.chain: ",
        "settings.",
    };
    struct world world;
    EVP_PKEY *other = folder_key(MINT_KEY_P256);
    world_init(&world);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct err err = {{0}, {0}};
        struct assembly out;
        char text[1024];
        world.state.n_trust_bundles = i == 0 ? 0 : 1;
        world.bundle.n_roots = i == 1 ? 0 : 1;
        world.policy.action =
            i == 2 ? (Tabard__V1__Policy__Action)0 : TABARD__V1__POLICY__ACTION__ALLOW;
        world.principals[0] = (char *)(i == 3 ? "spiffe://demo.example/a//b" : FOLDER_ID);
        world.own.n_chain = i == 4 ? 0 : 2;
        world.settings.drain_seconds = i == 7 ? UINT32_MAX : 7;
        struct slots slots = slots_of(&world, i == 5 ? other : world.folder.key);
        time_t now = world.folder.now + (i == 6 ? 7200 : 0); // the leaf has expired by then
        cr_expect_not(assemble(&out, &slots, now, &err), "%s", words[i]);
        cr_expect_null(out.snapshot);
        err_text(&err, text, sizeof text);
        cr_expect(strstr(text, words[i]) != NULL, "\"%s\" lacks \"%s\"", text, words[i]);
        cr_expect_not(assemble_check(&slots, now, NULL), "%s", words[i]);
        slots_cleanup(&slots);
    }
    EVP_PKEY_free(other);
    world_cleanup(&world);
}

Test(assemble, an_empty_slot_is_refused_and_can_be_checked_around, .timeout = 20)
{
    struct world world;
    struct assembly out;
    world_init(&world);
    for (unsigned i = 0; i < SNAPSHOT_NUM_PARTS; i++) {
        struct err err = {{0}, {0}};
        struct slots slots = slots_of(&world, world.folder.key);
        part_unref(slots.parts[i]);
        slots.parts[i] = NULL;
        cr_expect_not(assemble(&out, &slots, world.folder.now, &err));
        cr_expect(strstr(err.text, "yet") != NULL, "%s", err.text);
        cr_expect(assemble_check(&slots, world.folder.now, &err), "%s", err.text);
        slots_cleanup(&slots);
    }
    world_cleanup(&world);
}

Test(assemble, a_fallback_that_is_over_or_revoked_holds_up_no_other_change, .timeout = 20)
{
    struct world world;
    struct assembly before, after;
    struct err err = {{0}, {0}};
    Tabard__V1__Identity fallback = TABARD__V1__IDENTITY__INIT;
    ProtobufCBinaryData chain[2] = {{0}};
    world_init(&world);
    const time_t now = world.folder.now;
    EVP_PKEY *key = folder_key(MINT_KEY_P256);
    const struct mint_leaf names = {
        .spiffe_id = FOLDER_ID, .not_before = now - 60, .not_after = now + 600};
    X509 *leaf = mint_leaf_new(&world.folder.intermediate, key, &names, &err);
    cr_assert_not_null(leaf, "%s", err.text);
    cr_assert(mint_cert_der(&chain[0].data, &chain[0].len, leaf));
    chain[1] = world.chain[1];
    fallback.n_chain = 2;
    fallback.chain = chain;
    world.own.fallback = &fallback;
    struct slots slots = slots_of(&world, world.folder.key);
    slots.parts[SNAPSHOT_IDENTITY]->fallback_key = key; // the part's now
    cr_assert(assemble(&before, &slots, now, &err), "%s", err.text);
    world.policy.action = TABARD__V1__POLICY__ACTION__DENY;
    fill(&slots, SNAPSHOT_RULES, &world.state.base, NULL);
    cr_expect(assemble_over(&after, &slots, &before, now + 601, &err), "%s: %s", err.where,
              err.text);
    cr_expect_null(after.snapshot->identity->fallback);
    cr_expect_null(after.fallback_key);
    cr_expect_str_eq(after.left_out.where, "identity.fallback.chain");
    cr_expect(strstr(after.left_out.text, "expired") != NULL, "%s", after.left_out.text);
    assembly_cleanup(&after);
    X509_CRL *crl = crl_of(&world.folder.intermediate, &chain[0], now);
    ProtobufCBinaryData der = {0};
    cr_assert(mint_crl_der(&der.data, &der.len, crl));
    world.bundle.n_crls = 1;
    world.bundle.crls = &der;
    fill(&slots, SNAPSHOT_BUNDLES, &world.state.base, NULL);
    cr_expect(assemble_over(&after, &slots, &before, now, &err), "%s: %s", err.where, err.text);
    cr_expect_null(after.snapshot->identity->fallback);
    cr_expect(strstr(after.left_out.text, "revoked") != NULL, "%s", after.left_out.text);
    assembly_cleanup(&after);
    assembly_cleanup(&before);
    slots_cleanup(&slots);
    X509_CRL_free(crl);
    free(der.data);
    X509_free(leaf);
    free(chain[0].data);
    world_cleanup(&world);
}
