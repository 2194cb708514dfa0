// SPDX-License-Identifier: Apache-2.0
//
// CRLs of CAs below the roots: whose they are, and what becomes of those that can't be used.
#include <criterion/criterion.h>
#include <openssl/asn1.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "certs/ca/mint_ext.h"
#include "tests/support/bad_cert.h"
#include "tests/unit/certs/fixture.h"

static struct world w;
static struct err err;

static void set_up(void)
{
    world_init(&w);
}

static void tear_down(void)
{
    world_cleanup(&w);
}

TestSuite(crl_issuer, .timeout = 20, .init = set_up, .fini = tear_down);

static enum verify_failure verify_with(X509_CRL *crl, time_t now, X509 *leaf, X509 *above)
{
    struct trust_bundles *bundles = fixture_trust(w.root.cert, NULL, crl, NULL);
    struct verified_peer peer;
    err = (struct err){{0}, {0}};
    enum verify_failure failure = fixture_verify(&peer, bundles, now, &err, leaf, above, NULL);
    // What the first look found out about the key holds for the second.
    cr_expect_eq(fixture_verify(&peer, bundles, now, NULL, leaf, above, NULL), failure);
    trust_bundles_free(bundles);
    return failure;
}

// Makes a copy of a CA with another key, and the subject key identifier of that key or the old one.
static void other_key(struct mint_ca *out, const struct mint_ca *ca, bool has_new_id)
{
    out->cert = X509_dup(ca->cert);
    out->key = mint_key_new(MINT_KEY_P256, &err);
    cr_assert(X509_set_pubkey(out->cert, out->key));
    if (has_new_id) {
        for (int nid = NID_subject_key_identifier; nid != 0;
             nid = nid == NID_subject_key_identifier ? NID_authority_key_identifier : 0) {
            X509_EXTENSION_free(
                X509_delete_ext(out->cert, X509_get_ext_by_NID(out->cert, nid, -1)));
        }
        cr_assert(mint_add_key_ids(out->cert, w.root.cert));
    }
    cr_assert(mint_sign_cert(out->cert, w.root.key));
}

Test(crl_issuer, an_intermediates_crl_revokes_and_goes_stale_as_a_roots_does)
{
    X509 *good = fixture_leaf(&w.intermediate, ID, NULL);
    X509 *revoked = fixture_leaf(&w.intermediate, ID, NULL);
    X509 *of_root = fixture_leaf(&w.root, ID, NULL);
    X509_CRL *crl = fixture_crl(&w.intermediate, &revoked, 1, NOW - HOUR, NOW + 60);
    const struct {
        const char *name;
        X509 *leaf, *above;
        time_t now;
        enum verify_failure failure;
        const char *words;
    } rows[] = {
        {"good", good, w.intermediate.cert, NOW, VERIFY_OK, ""},
        {"revoked", revoked, w.intermediate.cert, NOW, VERIFY_REVOKED, "the leaf: revoked"},
        {"stale", good, w.intermediate.cert, NOW + 61, VERIFY_CRL_STALE, "nextUpdate"},
        {"revoked, and stale", revoked, w.intermediate.cert, NOW + 61, VERIFY_REVOKED, ""},
        {"of another issuer", of_root, NULL, NOW + 61, VERIFY_OK, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum verify_failure failure = verify_with(crl, rows[i].now, rows[i].leaf, rows[i].above);
        expect_failure(rows[i].failure, failure, err, rows[i].words, rows[i].name);
    }
    X509_CRL_free(crl);
    X509_free(good);
    X509_free(revoked);
    X509_free(of_root);
}

Test(crl_issuer, a_crl_that_only_seems_to_be_the_issuers_refuses_what_it_might_revoke)
{
    struct mint_ca twin, namesake, mute;
    other_key(&twin, &w.intermediate, false);
    other_key(&namesake, &w.intermediate, true);
    bad_ca_init(&mute, &w.root,
                &(struct bad_ca){.key = mint_key_new(MINT_KEY_P256, NULL),
                                 .uses = MINT_USE_CERT_SIGN,
                                 .not_before = NOW - DAY,
                                 .not_after = NOW + DAY});
    X509 *leaf = fixture_leaf(&w.intermediate, ID, NULL);
    X509 *of_namesake = fixture_leaf(&namesake, ID, NULL);
    const struct bad_leaf nothing = {.is_ca = false};
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, NULL);
    X509 *of_mute = bad_leaf_new(&mute, key, ID, NOW, &nothing);
    // Two CAs of one name are told apart by their key identifiers. Where these are the same, or not
    // given, nothing says that the CRL isn't the issuer's, so nothing that it signed passes.
    const struct {
        const char *name;
        const struct mint_ca *signer;
        X509 *leaf;
        const struct mint_ca *above;
        enum verify_failure failure;
        const char *words;
    } rows[] = {
        {"another key under the same id", &twin, leaf, &w.intermediate, VERIFY_CRL_UNUSABLE,
         "not signed by its issuer's key"},
        {"a namesake's", &namesake, leaf, &w.intermediate, VERIFY_OK, ""},
        {"the namesake's own", &namesake, of_namesake, &namesake, VERIFY_REVOKED, ""},
        {"the issuer's, for the namesake", &w.intermediate, of_namesake, &namesake, VERIFY_OK, ""},
        {"of an issuer that may not sign CRLs", &mute, of_mute, &mute, VERIFY_CRL_UNUSABLE,
         "cRLSign"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        X509 *listed = rows[i].leaf == of_mute ? leaf : rows[i].leaf;
        X509_CRL *crl = fixture_crl(rows[i].signer, &listed, 1, NOW - HOUR, NOW + HOUR);
        enum verify_failure failure = verify_with(crl, NOW, rows[i].leaf, rows[i].above->cert);
        expect_failure(rows[i].failure, failure, err, rows[i].words, rows[i].name);
        X509_CRL_free(crl);
    }
    // The issuer's own CRL beside the doubtful one decides.
    X509_CRL *doubtful = fixture_crl(&twin, NULL, 0, NOW - HOUR, NOW + HOUR);
    X509_CRL *own = fixture_crl(&w.intermediate, NULL, 0, NOW - HOUR, NOW + HOUR);
    struct trust_bundles *bundles = fixture_trust(w.root.cert, NULL, doubtful, own);
    struct verified_peer peer;
    enum verify_failure failure =
        fixture_verify(&peer, bundles, NOW, &err, leaf, w.intermediate.cert, NULL);
    expect_failure(VERIFY_OK, failure, err, "", "both");
    trust_bundles_free(bundles);
    X509_CRL_free(doubtful);
    X509_CRL_free(own);
    X509_free(leaf);
    X509_free(of_namesake);
    X509_free(of_mute);
    EVP_PKEY_free(key);
    mint_ca_cleanup(&twin);
    mint_ca_cleanup(&namesake);
    mint_ca_cleanup(&mute);
}

// A certificate of the same CA with another key identifier must not lead past its CRL.
Test(crl_issuer, another_key_identifier_of_the_same_key_does_not_hide_a_revocation)
{
    X509 *leaf = fixture_leaf(&w.intermediate, ID, NULL);
    X509_CRL *crl = fixture_crl(&w.intermediate, &leaf, 1, NOW - HOUR, NOW + HOUR);
    X509 *again = X509_dup(w.intermediate.cert);
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    cr_assert(ASN1_OCTET_STRING_set(id, (const uint8_t *)"another", 7));
    cr_assert_eq(X509_add1_ext_i2d(again, NID_subject_key_identifier, id, 0, X509V3_ADD_REPLACE),
                 1);
    cr_assert(mint_sign_cert(again, w.root.key));
    // The leaf's authorityKeyIdentifier names the old id, so this chain is built by name alone.
    X509_EXTENSION_free(
        X509_delete_ext(leaf, X509_get_ext_by_NID(leaf, NID_authority_key_identifier, -1)));
    cr_assert(mint_sign_cert(leaf, w.intermediate.key));
    enum verify_failure failure = verify_with(crl, NOW, leaf, again);
    expect_failure(VERIFY_REVOKED, failure, err, "", "another id");
    ASN1_OCTET_STRING_free(id);
    X509_free(again);
    X509_free(leaf);
    X509_CRL_free(crl);
}

Test(crl_issuer, a_crl_of_an_unknown_issuer_is_kept_and_named)
{
    struct mint_ca foreign;
    char buf[TRUST_ISSUER_TEXT];
    fixture_root(&foreign, DOMAIN);
    X509_CRL *unknown = fixture_crl(&foreign, NULL, 0, NOW - HOUR, NOW + HOUR);
    X509_CRL *known = fixture_crl(&w.root, NULL, 0, NOW - HOUR, NOW + HOUR);
    struct trust_bundles *bundles = fixture_trust(w.root.cert, NULL, known, unknown);
    const struct trust_bundle *bundle = trust_bundles_find(bundles, DOMAIN, strlen(DOMAIN));
    cr_assert_not_null(trust_bundle_unproved(bundle, 0, buf));
    char name[TRUST_ISSUER_TEXT];
    X509_NAME_oneline(X509_get_subject_name(foreign.cert), name, sizeof name);
    cr_expect_str_eq(buf, name);
    cr_expect_null(trust_bundle_unproved(bundle, 1, buf));
    trust_bundles_free(bundles);
    X509_CRL_free(known);
    X509_CRL_free(unknown);
    mint_ca_cleanup(&foreign);
}

static struct trust_bundles *read_with(X509_CRL *crl, const struct trust_load *load, time_t now)
{
    Tabard__V1__TrustBundle *message = fixture_bundle(DOMAIN);
    fixture_add_root(message, w.root.cert);
    if (crl != NULL) {
        fixture_add_crl(message, crl);
    }
    err = (struct err){{0}, {0}};
    struct trust_bundles *bundles = trust_bundles_read(&message, 1, load, now, &err);
    fixture_bundle_free(message);
    return bundles;
}

Test(crl_issuer, the_crl_of_a_known_authority_is_proved_at_once)
{
    struct mint_ca twin;
    other_key(&twin, &w.intermediate, false);
    X509_CRL *own = fixture_crl(&w.intermediate, NULL, 0, NOW - HOUR, NOW + HOUR);
    X509_CRL *forged = fixture_crl(&twin, NULL, 0, NOW - HOUR, NOW + HOUR);
    const struct trust_load load = {.authorities = &w.intermediate.cert, .num_authorities = 1};
    struct trust_bundles *bundles = read_with(own, &load, NOW);
    cr_assert_not_null(bundles, "%s", err.text);
    char buf[TRUST_ISSUER_TEXT];
    cr_expect_null(
        trust_bundle_unproved(trust_bundles_find(bundles, DOMAIN, strlen(DOMAIN)), 0, buf));
    trust_bundles_free(bundles);
    cr_expect_null(read_with(forged, &load, NOW));
    cr_expect_not_null(strstr(err.text, "its signature was made by no"), "%s", err.text);
    X509_CRL_free(own);
    X509_CRL_free(forged);
    mint_ca_cleanup(&twin);
}

Test(crl_issuer, an_older_crl_does_not_take_the_place_of_a_newer_one)
{
    static const struct {
        const char *name;
        unsigned number, number_before; // 0: none
        int age, age_before;            // seconds before NOW
        bool is_taken;
    } rows[] = {
        {"a higher number", 3, 2, 100, 200, true},
        {"the same", 2, 2, 100, 100, true},
        {"a lower number", 2, 3, 100, 100, false},
        {"a lower number, later", 2, 3, 100, 200, false},
        {"a longer number", 256, 255, 100, 100, true},
        {"a higher number, of an earlier time", 3, 2, 200, 100, true},
        {"the same number, of an earlier time", 2, 2, 200, 100, false},
        {"without numbers, earlier", 0, 0, 200, 100, false},
        {"without numbers, later", 0, 0, 100, 200, true},
        {"one number only, earlier", 0, 5, 200, 100, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int is_below = 0; is_below <= 1; is_below++) {
            const struct mint_ca *ca = is_below ? &w.intermediate : &w.root;
            const unsigned numbers[] = {rows[i].number_before, rows[i].number};
            const int ages[] = {rows[i].age_before, rows[i].age};
            X509_CRL *crls[2];
            for (int j = 0; j < 2; j++) {
                crls[j] = mint_crl_new(ca, NULL, 0, numbers[j], NOW - ages[j], NOW + HOUR, NULL);
                if (numbers[j] == 0) {
                    X509_EXTENSION_free(X509_CRL_delete_ext(
                        crls[j], X509_CRL_get_ext_by_NID(crls[j], NID_crl_number, -1)));
                    cr_assert(X509_CRL_sign(crls[j], ca->key, mint_digest_of(ca->key)) > 0);
                }
            }
            struct trust_bundles *before = read_with(crls[0], &(struct trust_load){0}, NOW);
            const struct trust_load load = {.in_force = before};
            struct trust_bundles *after = read_with(crls[1], &load, NOW);
            cr_expect_eq(after != NULL, rows[i].is_taken, "%s: %s", rows[i].name, err.text);
            cr_expect(after != NULL || strstr(err.text, "older than the CRL") != NULL, "%s",
                      err.text);
            trust_bundles_free(before);
            trust_bundles_free(after);
            X509_CRL_free(crls[0]);
            X509_CRL_free(crls[1]);
        }
    }
}

Test(crl_issuer, what_is_withdrawn_is_named)
{
    char buf[TRUST_ISSUER_TEXT];
    X509_CRL *crl = fixture_crl(&w.root, NULL, 0, NOW - HOUR, NOW + HOUR);
    struct trust_bundles *before = read_with(crl, &(struct trust_load){0}, NOW);
    struct trust_bundles *after = read_with(NULL, &(struct trust_load){.in_force = before}, NOW);
    cr_assert_not_null(after, "%s", err.text);
    cr_expect_not_null(trust_bundles_withdrawn(after, before, 0, buf));
    cr_expect_null(trust_bundles_withdrawn(after, before, 1, buf));
    cr_expect_null(trust_bundles_withdrawn(before, before, 0, buf));
    cr_expect_null(trust_bundles_withdrawn(before, NULL, 0, buf));
    trust_bundles_free(before);
    trust_bundles_free(after);
    X509_CRL_free(crl);
}

Test(crl_issuer, a_stale_crl_is_read_where_that_is_wanted_and_fails_its_issuers_certificates)
{
    X509 *leaf = fixture_leaf(&w.root, ID, NULL);
    X509_CRL *crl = fixture_crl(&w.root, NULL, 0, NOW - DAY, NOW - 1);
    cr_expect_null(read_with(crl, &(struct trust_load){0}, NOW));
    struct trust_bundles *bundles = read_with(crl, &(struct trust_load){.takes_stale = true}, NOW);
    cr_assert_not_null(bundles, "%s", err.text);
    struct verified_peer peer;
    cr_expect_eq(fixture_verify(&peer, bundles, NOW, &err, leaf, NULL, NULL), VERIFY_CRL_STALE);
    trust_bundles_free(bundles);
    X509_CRL_free(crl);
    X509_free(leaf);
}

// Each reason that an entry may give (RFC 5280, section 5.3.1).
Test(crl_issuer, an_entry_revokes_whatever_its_reason_is)
{
    X509 *leaf = fixture_leaf(&w.root, ID, NULL);
    for (int reason = 0; reason <= 10; reason++) {
        X509_CRL *crl = fixture_crl(&w.root, &leaf, 1, NOW - HOUR, NOW + HOUR);
        X509_REVOKED *entry = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), 0);
        ASN1_ENUMERATED *value = ASN1_ENUMERATED_new();
        cr_assert(ASN1_ENUMERATED_set(value, reason));
        cr_assert_eq(X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, value, 0, X509V3_ADD_DEFAULT),
                     1);
        cr_assert(X509_CRL_sign(crl, w.root.key, mint_digest_of(w.root.key)) > 0);
        if (reason == CRL_REASON_REMOVE_FROM_CRL) {
            cr_expect_null(read_with(crl, &(struct trust_load){0}, NOW));
            cr_expect_not_null(strstr(err.text, "removeFromCRL"), "%s", err.text);
        } else {
            cr_expect_eq(verify_with(crl, NOW, leaf, NULL), VERIFY_REVOKED, "reason %d", reason);
        }
        ASN1_ENUMERATED_free(value);
        X509_CRL_free(crl);
    }
    X509_free(leaf);
}
