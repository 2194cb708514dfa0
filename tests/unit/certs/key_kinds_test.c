// SPDX-License-Identifier: Apache-2.0
//
// Every kind of key that the CA makes, as a CA's and as a workload's.
#include <criterion/criterion.h>
#include <openssl/bytestring.h>
#include <openssl/mem.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret/secret.h"
#include "certs/ca/csr.h"
#include "certs/key.h"
#include "tests/unit/certs/fixture.h"

static const struct {
    const char *name; // as key_text has it
    enum mint_key_kind kind;
} kinds[] = {
    {"ECDSA P-256", MINT_KEY_P256},
    {"Ed25519", MINT_KEY_ED25519},
    {"ML-DSA-44", MINT_KEY_ML_DSA_44},
    {"ML-DSA-65", MINT_KEY_ML_DSA_65},
};
#define NUM_KINDS (sizeof kinds / sizeof kinds[0])

static struct err err;

TestSuite(key_kinds, .timeout = 30);

// A signing request of a kind, answered by `ca`.
static X509 *leaf_by_request(const struct mint_ca *ca, enum mint_key_kind kind)
{
    const struct mint_leaf leaf = {
        .spiffe_id = ID, .not_before = NOW - HOUR, .not_after = NOW + HOUR};
    EVP_PKEY *key = NULL;
    EVP_PKEY *proved = NULL;
    uint8_t *der = NULL;
    size_t len = 0;
    cr_assert(csr_new(&key, &der, &len, kind, ID, &err), "%s", err.text);
    const uint8_t *end = der;
    X509_REQ *csr = d2i_X509_REQ(NULL, &end, (long)len);
    cr_assert(csr != NULL && mint_csr_check(&proved, csr, &leaf, &err), "%s", err.text);
    cr_expect_eq(EVP_PKEY_cmp(key, proved), 1);
    X509 *cert = mint_leaf_new(ca, proved, &leaf, &err);
    cr_assert_not_null(cert, "%s", err.text);
    EVP_PKEY_free(key);
    EVP_PKEY_free(proved);
    X509_REQ_free(csr);
    free(der);
    return cert;
}

Test(key_kinds, a_ca_of_each_kind_signs_leaves_and_revokes_them_for_keys_of_each_kind)
{
    for (size_t i = 0; i < NUM_KINDS * NUM_KINDS; i++) {
        char row[64];
        size_t of_ca = i / NUM_KINDS;
        size_t of_leaf = i % NUM_KINDS;
        snprintf(row, sizeof row, "%s under %s", kinds[of_leaf].name, kinds[of_ca].name);
        struct mint_ca root, middle;
        cr_assert(
            mint_root_init(&root, kinds[of_ca].kind, DOMAIN, NOW - DAY, NOW + 30 * DAY, &err));
        cr_assert(mint_intermediate_init(&middle, &root, kinds[of_leaf].kind, NOW - DAY,
                                         NOW + 10 * DAY, &err));
        X509 *leaf = leaf_by_request(&middle, kinds[of_leaf].kind);
        X509_CRL *crl = fixture_crl(&middle, &leaf, 1, NOW - HOUR, NOW + HOUR);
        struct trust_bundles *bundles = fixture_trust(root.cert, NULL, NULL, NULL);
        struct trust_bundles *revoking = fixture_trust(root.cert, NULL, crl, NULL);
        struct verified_peer peer;
        cr_expect_eq(fixture_verify(&peer, bundles, NOW, &err, leaf, middle.cert, NULL), VERIFY_OK,
                     "%s: %s", row, err.text);
        enum verify_failure failure =
            fixture_verify(&peer, revoking, NOW, &err, leaf, middle.cert, NULL);
        expect_failure(VERIFY_REVOKED, failure, err, "revoked", row);
        // A signature of another CA's key, of the same kind.
        struct mint_ca other;
        cr_assert(
            mint_root_init(&other, kinds[of_ca].kind, DOMAIN, NOW - DAY, NOW + 30 * DAY, &err));
        cr_assert(X509_set_issuer_name(middle.cert, X509_get_subject_name(root.cert)));
        cr_assert_gt(X509_sign(middle.cert, other.key,
                               kinds[of_ca].kind == MINT_KEY_P256 ? EVP_sha256() : NULL),
                     0);
        failure = fixture_verify(&peer, bundles, NOW, &err, leaf, middle.cert, NULL);
        expect_failure(VERIFY_UNTRUSTED_CHAIN, failure, err, "not made by the key", row);
        mint_ca_cleanup(&other);
        mint_ca_cleanup(&root);
        mint_ca_cleanup(&middle);
        trust_bundles_free(bundles);
        trust_bundles_free(revoking);
        X509_CRL_free(crl);
        X509_free(leaf);
    }
}

Test(key_kinds, a_key_is_read_back_as_it_was_written)
{
    for (size_t i = 0; i < NUM_KINDS; i++) {
        char text[KEY_TEXT_MAX];
        EVP_PKEY *key = mint_key_new(kinds[i].kind, &err);
        char *pem = mint_key_pem(key);
        EVP_PKEY *again = key_pem_read(pem, strlen(pem), &err);
        cr_assert_not_null(again, "%s: %s", kinds[i].name, err.text);
        cr_expect_str_eq(key_text(again, text), kinds[i].name);
        cr_expect_eq(EVP_PKEY_cmp(key, again), 1);
        secret_free(pem);
        EVP_PKEY_free(key);
        EVP_PKEY_free(again);
    }
}

// A PKCS#8 key of ML-DSA-44 whose privateKey is `form` (RFC 9881, section 6), as PEM. malloc'd.
static char *ml_dsa_pem(const uint8_t *form, size_t form_len, uint8_t last_of_oid)
{
    const uint8_t oid[] = {0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, last_of_oid};
    CBB cbb, info, algorithm, key;
    uint8_t *der = NULL;
    size_t len = 0;
    cr_assert(CBB_init(&cbb, 8192) && CBB_add_asn1(&cbb, &info, CBS_ASN1_SEQUENCE) &&
              CBB_add_asn1_uint64(&info, 0) && CBB_add_asn1(&info, &algorithm, CBS_ASN1_SEQUENCE) &&
              CBB_add_asn1_element(&algorithm, CBS_ASN1_OBJECT, oid, sizeof oid) &&
              CBB_add_asn1(&info, &key, CBS_ASN1_OCTETSTRING) &&
              CBB_add_bytes(&key, form, form_len) && CBB_finish(&cbb, &der, &len));
    BIO *bio = BIO_new(BIO_s_mem());
    const uint8_t *bytes = NULL;
    size_t num = 0;
    cr_assert(PEM_write_bio(bio, "PRIVATE KEY", "", der, (long)len) > 0 &&
              BIO_mem_contents(bio, &bytes, &num));
    char *pem = calloc(num + 1, 1);
    memcpy(pem, bytes, num);
    BIO_free(bio);
    OPENSSL_free(der);
    return pem;
}

Test(key_kinds, an_ml_dsa_key_is_its_seed_alone)
{
    uint8_t seed[34] = {0x80, 32};
    uint8_t short_seed[33] = {0x80, 31};
    uint8_t expanded[4 + 2560] = {0x04, 0x82, 0x0a, 0x00};
    uint8_t both[4 + 34 + 4 + 2560] = {0x30, 0x82, 0x0a, 0x26, 0x04, 32};
    memcpy(both + 38, expanded, 4);
    const struct {
        const char *name;
        const uint8_t *form;
        size_t len;
        uint8_t last_of_oid;
        const char *words; // NULL: taken
    } rows[] = {
        {"the seed", seed, sizeof seed, 0x11, NULL},
        {"the seed of ML-DSA-65", seed, sizeof seed, 0x12, NULL},
        {"the seed of ML-DSA-87", seed, sizeof seed, 0x13,
         "the key is ML-DSA-87; accepted are ML-DSA-44, ML-DSA-65, Ed25519"},
        {"a short seed", short_seed, sizeof short_seed, 0x11, "no private key that parses"},
        {"the expanded key", expanded, sizeof expanded, 0x11, "isn't written as its seed alone"},
        {"both", both, sizeof both, 0x11, "ml-dsa.output_formats=seed-only"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        err = (struct err){{0}, {0}};
        char *pem = ml_dsa_pem(rows[i].form, rows[i].len, rows[i].last_of_oid);
        EVP_PKEY *key = key_pem_read(pem, strlen(pem), &err);
        cr_expect_eq(key != NULL, rows[i].words == NULL, "%s: %s", rows[i].name, err.text);
        cr_expect(rows[i].words == NULL || strstr(err.text, rows[i].words) != NULL,
                  "%s: \"%s\" lacks \"%s\"", rows[i].name, err.text, rows[i].words);
        EVP_PKEY_free(key);
        free(pem);
    }
}
