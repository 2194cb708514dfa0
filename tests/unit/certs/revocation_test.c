// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <openssl/asn1.h>
#include <string.h>

#include "certs/ca/mint_ext.h"
#include "tests/support/bad_cert.h"
#include "tests/unit/certs/fixture.h"

Test(revocation, revocation_reaches_leaf_and_intermediate_until_the_list_is_stale, .timeout = 20)
{
    struct world w;
    world_init(&w);
    X509 *good = fixture_leaf(&w.root, ID, NULL);
    X509 *revoked = fixture_leaf(&w.root, ID, NULL);
    X509 *below = fixture_leaf(&w.intermediate, ID, NULL);
    X509 *list[] = {revoked, w.intermediate.cert};
    X509_CRL *crl = fixture_crl(&w.root, list, 2, NOW - HOUR, NOW + 60);
    X509_CRL *fresh = fixture_crl(&w.root, NULL, 0, NOW - HOUR, NOW + DAY);
    struct trust_bundles *one = fixture_trust(w.root.cert, NULL, crl, NULL);
    struct trust_bundles *both = fixture_trust(w.root.cert, NULL, crl, fresh);
    // A fresh list beside the stale one is enough, and what the stale one says still counts.
    const struct {
        const char *name;
        const struct trust_bundles *bundles;
        X509 *leaf, *issuer;
        time_t now;
        enum verify_failure failure;
        const char *words;
    } rows[] = {
        {"good", one, good, NULL, NOW, VERIFY_OK, ""},
        {"revoked leaf", one, revoked, NULL, NOW, VERIFY_REVOKED, "the leaf"},
        {"revoked intermediate", one, below, w.intermediate.cert, NOW, VERIFY_REVOKED,
         "certificate 1"},
        {"at its nextUpdate", one, good, NULL, NOW + 60, VERIFY_OK, ""},
        {"one second later", one, good, NULL, NOW + 61, VERIFY_CRL_STALE, "nextUpdate"},
        {"revoked stays revoked", one, revoked, NULL, NOW + 61, VERIFY_REVOKED, "the leaf"},
        {"a fresh list beside", both, good, NULL, NOW + 61, VERIFY_OK, ""},
        {"revoked in any list", both, revoked, NULL, NOW + 61, VERIFY_REVOKED, "the leaf"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct verified_peer peer;
        struct err err = {0};
        enum verify_failure failure = fixture_verify(&peer, rows[i].bundles, rows[i].now, &err,
                                                     rows[i].leaf, rows[i].issuer, NULL);
        expect_failure(rows[i].failure, failure, err, rows[i].words, rows[i].name);
    }
    trust_bundles_free(both);
    trust_bundles_free(one);
    X509_CRL_free(fresh);
    X509_CRL_free(crl);
    X509_free(good);
    X509_free(revoked);
    X509_free(below);
    world_cleanup(&w);
}

// Where clocks differ, a list may come before its time: what it says counts all the same.
Test(revocation, a_list_made_ahead_of_our_clock_revokes_at_once, .timeout = 20)
{
    struct world w;
    world_init(&w);
    X509 *good = fixture_leaf(&w.root, ID, NULL);
    X509 *revoked = fixture_leaf(&w.root, ID, NULL);
    X509_CRL *crl = fixture_crl(&w.root, &revoked, 1, NOW + 90, NOW + DAY);
    struct trust_bundles *bundles = fixture_trust(w.root.cert, NULL, crl, NULL);
    struct verified_peer peer;
    struct err err = {0};
    enum verify_failure failure = fixture_verify(&peer, bundles, NOW, &err, revoked, NULL, NULL);
    expect_failure(VERIFY_REVOKED, failure, err, "the leaf", "listed");
    failure = fixture_verify(&peer, bundles, NOW, &err, good, NULL, NULL);
    expect_failure(VERIFY_OK, failure, err, "", "not listed");
    trust_bundles_free(bundles);
    X509_CRL_free(crl);
    X509_free(good);
    X509_free(revoked);
    world_cleanup(&w);
}

Test(revocation, another_root_with_the_same_serial_is_not_revoked, .timeout = 20)
{
    struct mint_ca one, two;
    fixture_root(&one, DOMAIN);
    fixture_root(&two, DOMAIN);
    X509 *leaf = fixture_leaf(&one, ID, NULL);
    X509 *list[] = {leaf};
    X509_CRL *crl = fixture_crl(&two, list, 1, NOW - HOUR, NOW + DAY);
    struct trust_bundles *bundles = fixture_trust(one.cert, two.cert, crl, NULL);
    struct verified_peer peer;
    struct err err = {0};
    enum verify_failure failure = fixture_verify(&peer, bundles, NOW, &err, leaf, NULL, NULL);
    expect_failure(VERIFY_OK, failure, err, "", "a CRL of another issuer");
    trust_bundles_free(bundles);
    X509_CRL_free(crl);
    X509_free(leaf);
    mint_ca_cleanup(&one);
    mint_ca_cleanup(&two);
}

Test(revocation, every_entry_of_a_crl_is_found_in_whatever_order_it_stands, .timeout = 20)
{
    struct world w;
    world_init(&w);
    enum { NUM = 9 };
    X509 *leaves[NUM];
    X509_CRL *crl = fixture_crl(&w.root, NULL, 0, NOW - HOUR, NOW + HOUR);
    struct err err = {0};
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    // bad_leaf_new counts its serials up, so pushing the leaves backwards makes a list that nobody
    // sorted.
    for (size_t i = 0; i < NUM; i++) {
        leaves[i] = bad_leaf_new(&w.root, key, ID, NOW, &(struct bad_leaf){0});
    }
    for (size_t i = NUM; i-- > 0;) {
        X509_REVOKED *entry = X509_REVOKED_new();
        ASN1_TIME *when = ASN1_TIME_set(NULL, NOW - HOUR);
        cr_assert(X509_REVOKED_set_serialNumber(entry,
                                                (ASN1_INTEGER *)X509_get0_serialNumber(leaves[i])));
        cr_assert(X509_REVOKED_set_revocationDate(entry, when));
        cr_assert(X509_CRL_add0_revoked(crl, entry));
        ASN1_TIME_free(when);
    }
    cr_assert(X509_CRL_sign(crl, w.root.key, mint_digest_of(w.root.key)) > 0);
    struct trust_bundles *bundles = fixture_trust(w.root.cert, NULL, crl, NULL);
    struct verified_peer peer;
    for (size_t i = 0; i < NUM; i++) {
        enum verify_failure failure =
            fixture_verify(&peer, bundles, NOW, &err, leaves[i], NULL, NULL);
        expect_failure(VERIFY_REVOKED, failure, err, "", "one of nine");
        X509_free(leaves[i]);
    }
    EVP_PKEY_free(key);
    trust_bundles_free(bundles);
    X509_CRL_free(crl);
    world_cleanup(&w);
}

// Two roots alike in name or in key, and the CRL of the second: neither half of an issuer's
// identity is enough alone.
Test(revocation, a_crl_counts_only_with_its_issuers_name_and_key, .timeout = 20)
{
    struct err err = {0};
    for (int is_same_name = 0; is_same_name <= 1; is_same_name++) {
        struct mint_ca one, two = {0};
        fixture_root(&one, DOMAIN);
        two.cert = X509_dup(one.cert);
        if (is_same_name == 1) {
            two.key = mint_key_new(MINT_KEY_P256, &err);
            cr_assert(X509_set_pubkey(two.cert, two.key));
        } else {
            X509_NAME *name = X509_NAME_new();
            cr_assert(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"two",
                                                 -1, -1, 0));
            cr_assert(X509_set_subject_name(two.cert, name));
            cr_assert(X509_set_issuer_name(two.cert, name));
            X509_NAME_free(name);
            EVP_PKEY_up_ref(one.key);
            two.key = one.key;
        }
        cr_assert(mint_sign_cert(two.cert, two.key));
        X509 *leaf = fixture_leaf(&one, ID, NULL);
        X509_CRL *crl = fixture_crl(&two, &leaf, 1, NOW - HOUR, NOW + HOUR);
        struct trust_bundles *bundles = fixture_trust(one.cert, two.cert, crl, NULL);
        struct verified_peer peer;
        enum verify_failure failure = fixture_verify(&peer, bundles, NOW, &err, leaf, NULL, NULL);
        expect_failure(VERIFY_OK, failure, err, "",
                       is_same_name ? "same name, other key" : "same key, other name");
        trust_bundles_free(bundles);
        X509_CRL_free(crl);
        X509_free(leaf);
        mint_ca_cleanup(&one);
        mint_ca_cleanup(&two);
    }
}
