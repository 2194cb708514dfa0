// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <openssl/asn1.h>
#include <openssl/digest.h>
#include <openssl/nid.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/mint_ext.h"
#include "tests/support/bad_cert.h"
#include "tests/unit/certs/fixture.h"

Test(verify, a_good_leaf_proves_its_id, .timeout = 20)
{
    struct world w;
    world_init(&w);
    X509 *leaf = fixture_leaf(&w.root, ID, NULL);
    struct verified_peer peer;
    struct err err = {0};
    cr_assert_eq(fixture_verify(&peer, w.bundles, NOW, &err, leaf, NULL, NULL), VERIFY_OK, "%s",
                 err.text);
    cr_expect_str_eq(peer.id, ID);
    cr_expect_eq(peer.id_len, strlen(ID));
    cr_expect_eq(peer.domain_len, strlen(DOMAIN));
    cr_expect_eq(peer.not_after, NOW + HOUR);
    const struct trust_bundle *bundle = trust_bundles_find(w.bundles, DOMAIN, strlen(DOMAIN));
    cr_expect_eq(memcmp(peer.bundle_digest, trust_bundle_digest(bundle), 32), 0);
    X509_free(leaf);
    world_cleanup(&w);
}

Test(verify, a_leaf_below_an_intermediate_is_good_with_it_and_untrusted_without, .timeout = 20)
{
    struct world w;
    world_init(&w);
    X509 *leaf = fixture_leaf(&w.intermediate, ID, NULL);
    struct verified_peer peer;
    struct err err = {0};
    cr_expect_eq(fixture_verify(&peer, w.bundles, NOW, &err, leaf, w.intermediate.cert, NULL),
                 VERIFY_OK, "%s", err.text);
    cr_expect_eq(
        fixture_verify(&peer, w.bundles, NOW, &err, leaf, w.intermediate.cert, w.root.cert),
        VERIFY_OK, "with the root sent along: %s", err.text);
    enum verify_failure failure = fixture_verify(&peer, w.bundles, NOW, &err, leaf, NULL, NULL);
    expect_failure(VERIFY_UNTRUSTED_CHAIN, failure, err, "issuer", "missing intermediate");
    X509_free(leaf);
    world_cleanup(&w);
}

static const char *const one_uri[] = {ID};
static const char *const two_uris[] = {ID, "spiffe://prod.example/ns/shop/sa/admin"};
static const char *const spiffe_and_other[] = {ID, "https://prod.example/"};
static const char *const with_nul[] = {"spiffe://prod.example/admin\0.evil"};
static const size_t with_nul_len[] = {33};
static const char *const bare_domain[] = {"spiffe://prod.example"};
static const char *const upper_domain[] = {"spiffe://PROD.example/a"};
static const char *const https[] = {"https://prod.example/a"};
static const char *const slash_end[] = {"spiffe://prod.example/a/"};
static const char *const percent[] = {"spiffe://prod.example/%61"};
static const char *const other_domain[] = {"spiffe://other.example/a"};

struct leaf_row {
    const char *name;
    struct bad_leaf bad;
    enum verify_failure failure;
    const char *words;
};

#define URIS(list) .has_uris = true, .uris = list, .num_uris = sizeof list / sizeof list[0]

static const struct leaf_row leaf_rows[] = {
    {"nothing wrong", {0}, VERIFY_OK, ""},
    {"its uri given by hand", {URIS(one_uri)}, VERIFY_OK, ""},
    {"no basicConstraints", {.no_basic_constraints = true}, VERIFY_OK, ""},
    {"no extendedKeyUsage", {.has_purpose = true}, VERIFY_OK, ""},
    {"no SAN", {.no_san = true}, VERIFY_NO_URI_SAN, "no URI"},
    {"only a DNS SAN", {.has_uris = true}, VERIFY_NO_URI_SAN, "no URI"},
    {"two SPIFFE ids", {URIS(two_uris)}, VERIFY_MANY_URI_SANS, "2 URI"},
    {"a SPIFFE id and another URI", {URIS(spiffe_and_other)}, VERIFY_MANY_URI_SANS, "2 URI"},
    {"an embedded NUL",
     {URIS(with_nul), .uri_lens = with_nul_len},
     VERIFY_BAD_SPIFFE_ID,
     "byte 28 is 0x00"},
    {"no path", {URIS(bare_domain)}, VERIFY_BAD_SPIFFE_ID, "trust domain"},
    {"upper case domain", {URIS(upper_domain)}, VERIFY_BAD_SPIFFE_ID, "byte 10 is 'P'"},
    {"another scheme", {URIS(https)}, VERIFY_BAD_SPIFFE_ID, "spiffe://"},
    {"a slash at the end", {URIS(slash_end)}, VERIFY_BAD_SPIFFE_ID, "end with '/'"},
    {"percent", {URIS(percent)}, VERIFY_BAD_SPIFFE_ID, "'%'"},
    {"a CA", {.is_ca = true}, VERIFY_LEAF_IS_CA, "is a CA"},
    {"a CA that may sign",
     {.is_ca = true, .has_uses = true, .uses = MINT_USE_CERT_SIGN | MINT_USE_DIGITAL_SIGNATURE},
     VERIFY_LEAF_IS_CA,
     "is a CA"},
    {"no keyUsage", {.has_uses = true}, VERIFY_LEAF_KEY_USAGE, "no keyUsage"},
    {"keyUsage not critical", {.uses_not_critical = true}, VERIFY_LEAF_KEY_USAGE, "not critical"},
    {"no digitalSignature",
     {.has_uses = true, .uses = 1u << 2},
     VERIFY_LEAF_KEY_USAGE,
     "lacks digitalSignature"},
    {"keyCertSign",
     {.has_uses = true, .uses = MINT_USE_DIGITAL_SIGNATURE | MINT_USE_CERT_SIGN},
     VERIFY_LEAF_KEY_USAGE,
     "keyCertSign or cRLSign"},
    {"cRLSign",
     {.has_uses = true, .uses = MINT_USE_DIGITAL_SIGNATURE | MINT_USE_CRL_SIGN},
     VERIFY_LEAF_KEY_USAGE,
     "keyCertSign or cRLSign"},
    {"only clientAuth",
     {.has_purpose = true, .purpose_nid = NID_client_auth},
     VERIFY_LEAF_KEY_USAGE,
     "serverAuth and clientAuth"},
    {"only serverAuth",
     {.has_purpose = true, .purpose_nid = NID_server_auth},
     VERIFY_LEAF_KEY_USAGE,
     "serverAuth and clientAuth"},
    {"anyExtendedKeyUsage",
     {.has_purpose = true, .purpose_nid = NID_anyExtendedKeyUsage},
     VERIFY_LEAF_KEY_USAGE,
     "serverAuth and clientAuth"},
    {"an unknown trust domain", {URIS(other_domain)}, VERIFY_UNKNOWN_TRUST_DOMAIN, "other.example"},
    {"an unknown critical extension",
     {.has_unknown_critical = true},
     VERIFY_UNTRUSTED_CHAIN,
     "critical"},
    {"valid for this second alone",
     {.has_times = true, .not_before = NOW, .not_after = NOW},
     VERIFY_OK,
     ""},
    {"expired",
     {.has_times = true, .not_before = NOW - DAY, .not_after = NOW - 1},
     VERIFY_EXPIRED,
     "the leaf"},
    {"not yet valid",
     {.has_times = true, .not_before = NOW + 60, .not_after = NOW + DAY},
     VERIFY_NOT_YET_VALID,
     "the leaf"},
};

Test(verify, each_flaw_of_a_leaf_has_its_own_name, .timeout = 30)
{
    struct world w;
    world_init(&w);
    struct err err = {0};
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    for (size_t i = 0; i < sizeof leaf_rows / sizeof leaf_rows[0]; i++) {
        const struct leaf_row *row = &leaf_rows[i];
        X509 *leaf = bad_leaf_new(&w.root, key, ID, NOW, &row->bad);
        struct verified_peer peer;
        memset(&peer, 0xaa, sizeof peer);
        struct err row_err = {0};
        enum verify_failure failure =
            fixture_verify(&peer, w.bundles, NOW, &row_err, leaf, NULL, NULL);
        expect_failure(row->failure, failure, row_err, row->words, row->name);
        if (row->failure != VERIFY_OK) {
            cr_expect_eq(peer.id_len, 0xaaaaaaaaaaaaaaaa, "%s: *out was touched", row->name);
        }
        X509_free(leaf);
    }
    EVP_PKEY_free(key);
    world_cleanup(&w);
}

struct key_row {
    const char *name;
    int rsa_bits;
    int curve_nid;
    enum verify_failure failure;
};

Test(verify, only_strong_keys_prove_anything, .timeout = 60)
{
    static const struct key_row rows[] = {
        {"RSA 1024", 1024, 0, VERIFY_WEAK_KEY},
        {"RSA 2048", 2048, 0, VERIFY_OK},
        {"ECDSA P-224", 0, NID_secp224r1, VERIFY_WEAK_KEY},
        {"ECDSA P-256", 0, NID_X9_62_prime256v1, VERIFY_OK},
        {"ECDSA P-384", 0, NID_secp384r1, VERIFY_OK},
        {"ECDSA P-521", 0, NID_secp521r1, VERIFY_WEAK_KEY},
    };
    struct world w;
    world_init(&w);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct key_row *row = &rows[i];
        EVP_PKEY *key =
            row->rsa_bits != 0 ? bad_key_rsa(row->rsa_bits) : bad_key_ec(row->curve_nid);
        struct verified_peer peer;
        struct err err = {0};
        X509 *leaf = bad_leaf_new(&w.root, key, ID, NOW, &(struct bad_leaf){0});
        enum verify_failure failure = fixture_verify(&peer, w.bundles, NOW, &err, leaf, NULL, NULL);
        expect_failure(row->failure, failure, err, row->failure == VERIFY_OK ? "" : row->name,
                       row->name);
        X509_free(leaf);
        // The same key one step up: in an intermediate, which owns it then.
        struct mint_ca ca;
        bad_ca_init(&ca, &w.root,
                    &(struct bad_ca){.key = key,
                                     .uri = "spiffe://" DOMAIN,
                                     .uses = MINT_USE_CERT_SIGN,
                                     .not_before = NOW - DAY,
                                     .not_after = NOW + DAY});
        X509 *below = fixture_leaf(&ca, ID, NULL);
        failure = fixture_verify(&peer, w.bundles, NOW, &err, below, ca.cert, NULL);
        expect_failure(row->failure, failure, err,
                       row->failure == VERIFY_OK ? "" : "certificate 1 of the chain", row->name);
        X509_free(below);
        mint_ca_cleanup(&ca);
    }
    world_cleanup(&w);
}

Test(verify, old_digests_prove_nothing, .timeout = 60)
{
    struct world w;
    world_init(&w);
    struct mint_ca rsa;
    bad_ca_init(&rsa, NULL,
                &(struct bad_ca){.key = bad_key_rsa(2048),
                                 .uri = "spiffe://" DOMAIN,
                                 .uses = MINT_USE_CERT_SIGN,
                                 .not_before = NOW - DAY,
                                 .not_after = NOW + DAY});
    struct trust_bundles *bundles = fixture_trust(rsa.cert, NULL, NULL, NULL);
    struct err err = {0};
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    static const struct {
        const char *name;
        const EVP_MD *(*digest)(void);
        enum verify_failure failure;
    } rows[] = {
        {"SHA1", EVP_sha1, VERIFY_WEAK_KEY},
        {"SHA256", EVP_sha256, VERIFY_OK},
        {"SHA384", EVP_sha384, VERIFY_OK},
        {"SHA512", EVP_sha512, VERIFY_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct bad_leaf bad = {.digest = rows[i].digest()};
        X509 *leaf = bad_leaf_new(&rsa, key, ID, NOW, &bad);
        struct verified_peer peer;
        enum verify_failure failure = fixture_verify(&peer, bundles, NOW, &err, leaf, NULL, NULL);
        expect_failure(rows[i].failure, failure, err, i == 0 ? "SHA1" : "", rows[i].name);
        X509_free(leaf);
    }
    EVP_PKEY_free(key);
    trust_bundles_free(bundles);
    mint_ca_cleanup(&rsa);
    world_cleanup(&w);
}

struct authority_row {
    const char *name;
    const char *uri;
    unsigned uses;
    bool is_not_ca;
    bool has_unknown_issuer;
    time_t not_before;
    time_t not_after;
    enum verify_failure failure;
    const char *words;
};

static const struct authority_row authority_rows[] = {
    {"a good one", "spiffe://prod.example", MINT_USE_CERT_SIGN, false, false, NOW - DAY, NOW + DAY,
     VERIFY_OK, ""},
    {"an id with a path", "spiffe://prod.example/ca", MINT_USE_CERT_SIGN, false, false, NOW - DAY,
     NOW + DAY, VERIFY_UNTRUSTED_CHAIN, "has a path"},
    {"the id of another trust domain", "spiffe://other.example", MINT_USE_CERT_SIGN, false, false,
     NOW - DAY, NOW + DAY, VERIFY_UNTRUSTED_CHAIN, "not of the trust domain"},
    {"such an id in upper case", "SPIFFE://other.example", MINT_USE_CERT_SIGN, false, false,
     NOW - DAY, NOW + DAY, VERIFY_UNTRUSTED_CHAIN, "its SPIFFE id"},
    {"an id without its slashes", "spiffe:other.example", MINT_USE_CERT_SIGN, false, false,
     NOW - DAY, NOW + DAY, VERIFY_UNTRUSTED_CHAIN, "its SPIFFE id"},
    {"a URI of another kind", "https://other.example", MINT_USE_CERT_SIGN, false, false, NOW - DAY,
     NOW + DAY, VERIFY_OK, ""},
    {"no keyUsage", "spiffe://prod.example", 0, false, false, NOW - DAY, NOW + DAY,
     VERIFY_UNTRUSTED_CHAIN, "keyCertSign"},
    {"a keyUsage without keyCertSign", "spiffe://prod.example", MINT_USE_CRL_SIGN, false, false,
     NOW - DAY, NOW + DAY, VERIFY_UNTRUSTED_CHAIN, ""},
    {"not a CA", "spiffe://prod.example", MINT_USE_CERT_SIGN, true, false, NOW - DAY, NOW + DAY,
     VERIFY_UNTRUSTED_CHAIN, ""},
    {"expired", "spiffe://prod.example", MINT_USE_CERT_SIGN, false, false, NOW - DAY, NOW - 1,
     VERIFY_EXPIRED, "certificate 1 of the chain"},
    {"not yet valid", "spiffe://prod.example", MINT_USE_CERT_SIGN, false, false, NOW + 60,
     NOW + DAY, VERIFY_NOT_YET_VALID, "certificate 1 of the chain"},
    {"signed by a root that nobody knows", "spiffe://prod.example", MINT_USE_CERT_SIGN, false, true,
     NOW - DAY, NOW + DAY, VERIFY_UNTRUSTED_CHAIN, "issuer"},
};

Test(verify, each_flaw_of_an_intermediate_has_its_own_name, .timeout = 30)
{
    struct world w;
    world_init(&w);
    struct mint_ca stranger;
    fixture_root(&stranger, DOMAIN);
    struct err err = {0};
    for (size_t i = 0; i < sizeof authority_rows / sizeof authority_rows[0]; i++) {
        const struct authority_row *row = &authority_rows[i];
        struct mint_ca ca;
        bad_ca_init(&ca, row->has_unknown_issuer ? &stranger : &w.root,
                    &(struct bad_ca){.key = mint_key_new(MINT_KEY_P256, &err),
                                     .uri = row->uri,
                                     .uses = row->uses,
                                     .is_not_ca = row->is_not_ca,
                                     .not_before = row->not_before,
                                     .not_after = row->not_after});
        EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
        X509 *leaf = bad_leaf_new(&ca, key, ID, NOW, &(struct bad_leaf){0});
        struct verified_peer peer;
        struct err row_err = {0};
        enum verify_failure failure =
            fixture_verify(&peer, w.bundles, NOW, &row_err, leaf, ca.cert, NULL);
        expect_failure(row->failure, failure, row_err, row->words, row->name);
        X509_free(leaf);
        EVP_PKEY_free(key);
        mint_ca_cleanup(&ca);
    }
    mint_ca_cleanup(&stranger);
    world_cleanup(&w);
}

Test(verify, a_root_of_one_trust_domain_proves_nobody_of_another, .timeout = 20)
{
    struct mint_ca prod, other;
    fixture_root(&prod, DOMAIN);
    fixture_root(&other, "other.example");
    Tabard__V1__TrustBundle *messages[] = {fixture_bundle(DOMAIN), fixture_bundle("other.example")};
    fixture_add_root(messages[0], prod.cert);
    fixture_add_root(messages[1], other.cert);
    struct err err = {0};
    struct trust_bundles *bundles = trust_bundles_new(messages, 2, NOW, &err);
    cr_assert_not_null(bundles);
    // The other domain's CA claims an id of ours. Both roots are trusted, each for its own.
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    X509 *forged = bad_leaf_new(&other, key, ID, NOW, &(struct bad_leaf){0});
    X509 *honest =
        bad_leaf_new(&other, key, "spiffe://other.example/x", NOW, &(struct bad_leaf){0});
    struct verified_peer peer;
    enum verify_failure failure =
        fixture_verify(&peer, bundles, NOW, &err, forged, other.cert, NULL);
    expect_failure(VERIFY_UNTRUSTED_CHAIN, failure, err, "", "forged");
    failure = fixture_verify(&peer, bundles, NOW, &err, honest, NULL, NULL);
    expect_failure(VERIFY_OK, failure, err, "", "honest");
    X509_free(forged);
    X509_free(honest);
    EVP_PKEY_free(key);
    trust_bundles_free(bundles);
    fixture_bundle_free(messages[0]);
    fixture_bundle_free(messages[1]);
    mint_ca_cleanup(&prod);
    mint_ca_cleanup(&other);
}

Test(verify, a_self_signed_leaf_proves_nobody, .timeout = 20)
{
    struct world w;
    world_init(&w);
    struct err err = {0};
    struct verified_peer peer;
    struct mint_ca self = {.cert = w.root.cert, .key = mint_key_new(MINT_KEY_P256, &err)};
    // Issuer and subject are the same (empty) name, and the key signs itself.
    X509 *leaf = bad_leaf_new(&self, self.key, ID, NOW, &(struct bad_leaf){0});
    X509_NAME *empty = X509_NAME_new();
    X509_set_issuer_name(leaf, empty);
    X509_NAME_free(empty);
    cr_assert(mint_sign_cert(leaf, self.key));
    enum verify_failure failure = fixture_verify(&peer, w.bundles, NOW, &err, leaf, NULL, NULL);
    expect_failure(VERIFY_UNTRUSTED_CHAIN, failure, err, "", "self-signed");
    // The root itself, presented as a leaf, is a CA.
    failure = fixture_verify(&peer, w.bundles, NOW, &err, w.root.cert, NULL, NULL);
    expect_failure(VERIFY_BAD_SPIFFE_ID, failure, err, "", "the root as a leaf");
    EVP_PKEY_free(self.key);
    X509_free(leaf);
    world_cleanup(&w);
}

Test(verify, a_renewed_root_is_found_beside_the_expired_one, .timeout = 20)
{
    struct err err = {0};
    struct mint_ca old;
    bad_ca_init(&old, NULL,
                &(struct bad_ca){.key = mint_key_new(MINT_KEY_P256, &err),
                                 .uri = "spiffe://" DOMAIN,
                                 .uses = MINT_USE_CERT_SIGN,
                                 .not_before = NOW - 9 * DAY,
                                 .not_after = NOW - DAY});
    // Same name, same key, new times.
    X509 *renewed = X509_dup(old.cert);
    cr_assert_not_null(ASN1_TIME_set(X509_getm_notAfter(renewed), NOW + 9 * DAY));
    cr_assert(mint_sign_cert(renewed, old.key));
    Tabard__V1__TrustBundle *message = fixture_bundle(DOMAIN);
    fixture_add_root(message, old.cert);
    struct trust_bundles *before = fixture_bundles(message);
    fixture_add_root(message, renewed);
    struct trust_bundles *after = fixture_bundles(message);
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    X509 *leaf = bad_leaf_new(&old, key, ID, NOW, &(struct bad_leaf){0});
    struct verified_peer peer;
    enum verify_failure failure = fixture_verify(&peer, before, NOW, &err, leaf, NULL, NULL);
    expect_failure(VERIFY_EXPIRED, failure, err, "certificate 1 of the chain",
                   "the old root alone");
    failure = fixture_verify(&peer, after, NOW, &err, leaf, NULL, NULL);
    expect_failure(VERIFY_OK, failure, err, "", "the renewed root beside it");
    X509_free(leaf);
    EVP_PKEY_free(key);
    trust_bundles_free(before);
    trust_bundles_free(after);
    fixture_bundle_free(message);
    X509_free(renewed);
    mint_ca_cleanup(&old);
}

Test(verify, the_chain_ends_with_its_first_certificate_to_expire, .timeout = 20)
{
    struct world w;
    world_init(&w);
    struct err err = {0};
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    const struct bad_leaf bad = {
        .has_times = true, .not_before = NOW - HOUR, .not_after = NOW + 20 * DAY};
    X509 *leaf = bad_leaf_new(&w.intermediate, key, ID, NOW, &bad);
    struct verified_peer peer;
    cr_assert_eq(fixture_verify(&peer, w.bundles, NOW, &err, leaf, w.intermediate.cert, NULL),
                 VERIFY_OK);
    cr_expect_eq(peer.not_after, NOW + 10 * DAY, "the intermediate ends first");
    X509_free(leaf);
    EVP_PKEY_free(key);
    world_cleanup(&w);
}

Test(verify, an_earlier_moment_judges_as_it_did_then, .timeout = 20)
{
    struct world w;
    world_init(&w);
    X509 *leaf = fixture_leaf(&w.root, ID, NULL);
    struct verified_peer peer;
    struct err err = {0};
    static const struct {
        time_t now;
        enum verify_failure failure;
    } rows[] = {{NOW - 61, VERIFY_NOT_YET_VALID},
                {NOW - 59, VERIFY_OK},
                {NOW + HOUR - 1, VERIFY_OK},
                {NOW + HOUR + 1, VERIFY_EXPIRED},
                {NOW + 60 * DAY, VERIFY_EXPIRED}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum verify_failure failure =
            fixture_verify(&peer, w.bundles, rows[i].now, &err, leaf, NULL, NULL);
        cr_expect_str_eq(verify_failure_text(failure), verify_failure_text(rows[i].failure),
                         "row %zu: %s", i, err.text);
    }
    X509_free(leaf);
    world_cleanup(&w);
}

struct worker {
    const struct trust_bundles *bundles;
    CRYPTO_BUFFER *chain[2];
    size_t num_ok;
};

static void *on_worker(void *arg)
{
    struct worker *worker = arg;
    for (int i = 0; i < 200; i++) {
        struct verified_peer peer;
        worker->num_ok +=
            verify_peer(&peer, worker->chain, 2, worker->bundles, NOW, NULL) == VERIFY_OK;
    }
    return NULL;
}

// Run under ThreadSanitizer this says that a bundle may be read by every worker at once.
Test(verify, workers_share_a_bundle, .timeout = 60)
{
    struct world w;
    world_init(&w);
    X509 *leaf = fixture_leaf(&w.intermediate, ID, NULL);
    X509_CRL *crl = fixture_crl(&w.root, NULL, 0, NOW - HOUR, NOW + HOUR);
    struct trust_bundles *bundles = fixture_trust(w.root.cert, NULL, crl, NULL);
    X509 *certs[] = {leaf, w.intermediate.cert};
    struct worker workers[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        workers[i] = (struct worker){.bundles = bundles};
        for (size_t j = 0; j < 2; j++) {
            uint8_t *der;
            size_t len;
            cr_assert(mint_cert_der(&der, &len, certs[j]));
            workers[i].chain[j] = CRYPTO_BUFFER_new(der, len, NULL);
            free(der);
        }
    }
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, on_worker, &workers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(workers[i].num_ok, 200);
        CRYPTO_BUFFER_free(workers[i].chain[0]);
        CRYPTO_BUFFER_free(workers[i].chain[1]);
    }
    trust_bundles_free(bundles);
    X509_CRL_free(crl);
    X509_free(leaf);
    world_cleanup(&w);
}

Test(verify, a_bundle_may_hold_a_certificate_that_another_ca_signed, .timeout = 20)
{
    struct world w;
    world_init(&w);
    struct trust_bundles *bundles = fixture_trust(w.intermediate.cert, NULL, NULL, NULL);
    X509 *leaf = fixture_leaf(&w.intermediate, ID, NULL);
    X509 *beside = fixture_leaf(&w.root, ID, NULL);
    struct verified_peer peer;
    struct err err = {0};
    enum verify_failure failure = fixture_verify(&peer, bundles, NOW, &err, leaf, NULL, NULL);
    expect_failure(VERIFY_OK, failure, err, "", "below it");
    failure = fixture_verify(&peer, bundles, NOW, &err, leaf, w.intermediate.cert, w.root.cert);
    expect_failure(VERIFY_OK, failure, err, "", "with the whole chain sent along");
    failure = fixture_verify(&peer, bundles, NOW, &err, beside, w.root.cert, NULL);
    expect_failure(VERIFY_UNTRUSTED_CHAIN, failure, err, "", "below the one that signed it");
    X509_free(leaf);
    X509_free(beside);
    trust_bundles_free(bundles);
    world_cleanup(&w);
}

Test(verify, a_weak_key_is_named_before_any_root_is_asked, .timeout = 20)
{
    struct world w;
    world_init(&w);
    EVP_PKEY *key = bad_key_ec(NID_secp224r1);
    X509 *leaf = bad_leaf_new(&w.root, key, "spiffe://other.example/a", NOW, &(struct bad_leaf){0});
    struct verified_peer peer;
    struct err err = {0};
    enum verify_failure failure = fixture_verify(&peer, w.bundles, NOW, &err, leaf, NULL, NULL);
    expect_failure(VERIFY_WEAK_KEY, failure, err, "P-224", "weak and of an unknown trust domain");
    X509_free(leaf);
    EVP_PKEY_free(key);
    world_cleanup(&w);
}

Test(verify, nothing_too_much_and_garbage_are_refused_before_any_work, .timeout = 20)
{
    struct world w;
    world_init(&w);
    struct verified_peer peer;
    struct err err = {0};
    enum verify_failure failure = verify_peer(&peer, NULL, 0, w.bundles, NOW, &err);
    expect_failure(VERIFY_NO_CERTIFICATE, failure, err, "no certificate", "nothing");

    uint8_t *der;
    size_t len;
    X509 *leaf = fixture_leaf(&w.root, ID, NULL);
    cr_assert(mint_cert_der(&der, &len, leaf));
    CRYPTO_BUFFER *good = CRYPTO_BUFFER_new(der, len, NULL);
    CRYPTO_BUFFER *many[CHAIN_CERTS_MAX + 1];
    for (size_t i = 0; i < CHAIN_CERTS_MAX + 1; i++) {
        many[i] = good;
    }
    failure = verify_peer(&peer, many, CHAIN_CERTS_MAX + 1, w.bundles, NOW, &err);
    expect_failure(VERIFY_CHAIN_TOO_LONG, failure, err, "11 certificates", "eleven");
    failure = verify_peer(&peer, many, CHAIN_CERTS_MAX, w.bundles, NOW, &err);
    expect_failure(VERIFY_OK, failure, err, "", "ten, nine of them useless");

    // Two that would fill the message to the last byte, and then one byte more.
    size_t room = CHAIN_BYTES_MAX - 4 - (len + 5) - 5;
    uint8_t *big = calloc(1, room + 1);
    CRYPTO_BUFFER *full = CRYPTO_BUFFER_new(big, room, NULL);
    CRYPTO_BUFFER *too_full = CRYPTO_BUFFER_new(big, room + 1, NULL);
    failure = verify_peer(&peer, (CRYPTO_BUFFER *[]){good, full}, 2, w.bundles, NOW, &err);
    expect_failure(VERIFY_CERTIFICATE_UNPARSABLE, failure, err, "certificate 1",
                   "zeros, but no more than fit");
    failure = verify_peer(&peer, (CRYPTO_BUFFER *[]){good, too_full}, 2, w.bundles, NOW, &err);
    expect_failure(VERIFY_CHAIN_TOO_LONG, failure, err, "takes 32769 bytes",
                   "a byte more than fit");
    CRYPTO_BUFFER_free(full);
    CRYPTO_BUFFER_free(too_full);

    CRYPTO_BUFFER *bad[] = {
        CRYPTO_BUFFER_new((const uint8_t *)"garbage", 7, NULL),
        CRYPTO_BUFFER_new(der, len - 1, NULL),
        CRYPTO_BUFFER_new(big, 0, NULL),
    };
    memcpy(big, der, len);
    CRYPTO_BUFFER *trailing = CRYPTO_BUFFER_new(big, len + 1, NULL);
    static const char *const names[] = {"garbage", "cut", "empty"};
    for (size_t i = 0; i < 3; i++) {
        CRYPTO_BUFFER *second[] = {good, bad[i]};
        failure = verify_peer(&peer, second, 2, w.bundles, NOW, &err);
        expect_failure(VERIFY_CERTIFICATE_UNPARSABLE, failure, err,
                       "certificate 1 of the chain: it is not DER X.509", names[i]);
        CRYPTO_BUFFER_free(bad[i]);
    }
    CRYPTO_BUFFER *one[] = {trailing};
    failure = verify_peer(&peer, one, 1, w.bundles, NOW, &err);
    expect_failure(VERIFY_CERTIFICATE_UNPARSABLE, failure, err, "the leaf: 1 bytes follow it",
                   "a byte too many");
    CRYPTO_BUFFER_free(trailing);
    CRYPTO_BUFFER_free(good);
    free(big);
    free(der);
    X509_free(leaf);
    world_cleanup(&w);
}
