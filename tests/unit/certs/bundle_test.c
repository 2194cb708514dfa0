// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <openssl/asn1.h>
#include <openssl/nid.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/mint_ext.h"
#include "tests/support/bad_cert.h"
#include "tests/unit/certs/fixture.h"

static struct mint_ca root;
static struct mint_ca other;

static void set_up(void)
{
    fixture_root(&root, DOMAIN);
    fixture_root(&other, DOMAIN);
}

static void tear_down(void)
{
    mint_ca_cleanup(&root);
    mint_ca_cleanup(&other);
}

TestSuite(bundle, .init = set_up, .fini = tear_down, .timeout = 20);

// Expects a refusal that names `where` and says `words`, and frees the message.
static void expect_refused(Tabard__V1__TrustBundle *bundle, const char *where, const char *words,
                           const char *row)
{
    struct err err = {0};
    struct trust_bundles *bundles = trust_bundles_new(&bundle, 1, NOW, &err);
    cr_expect_null(bundles, "%s: taken", row);
    cr_expect_str_eq(err.where, where, "%s: %s", row, err.text);
    cr_expect(strstr(err.text, words) != NULL, "%s: \"%s\" lacks \"%s\"", row, err.text, words);
    trust_bundles_free(bundles);
    fixture_bundle_free(bundle);
}

static Tabard__V1__TrustBundle *with_root(X509 *cert)
{
    Tabard__V1__TrustBundle *bundle = fixture_bundle(DOMAIN);
    fixture_add_root(bundle, cert);
    return bundle;
}

Test(bundle, what_is_good_is_found_by_its_exact_name)
{
    static const char *const names[] = {DOMAIN, "a.example", "b.example", "prod.example2", "z"};
    Tabard__V1__TrustBundle *messages[5];
    struct mint_ca cas[5];
    for (size_t i = 0; i < 5; i++) {
        fixture_root(&cas[i], names[i]);
        messages[i] = fixture_bundle(names[i]);
        fixture_add_root(messages[i], cas[i].cert);
    }
    struct err err = {0};
    struct trust_bundles *bundles = trust_bundles_new(messages, 5, NOW, &err);
    cr_assert_not_null(bundles, "%s %s", err.where, err.text);
    for (size_t i = 0; i < 5; i++) {
        cr_expect_not_null(trust_bundles_find(bundles, names[i], strlen(names[i])), "%s", names[i]);
        for (size_t j = 0; j < i; j++) {
            const struct trust_bundle *a = trust_bundles_find(bundles, names[i], strlen(names[i]));
            const struct trust_bundle *b = trust_bundles_find(bundles, names[j], strlen(names[j]));
            cr_expect_neq(memcmp(trust_bundle_digest(a), trust_bundle_digest(b), 32), 0);
        }
    }
    cr_expect_null(trust_bundles_find(bundles, "prod.exampl", 11));
    cr_expect_null(trust_bundles_find(bundles, "prod.example\0", 13));
    cr_expect_null(trust_bundles_find(bundles, "", 0));
    cr_expect_null(trust_bundles_find(NULL, DOMAIN, strlen(DOMAIN)));
    trust_bundles_free(bundles);
    bundles = trust_bundles_new(NULL, 0, NOW, &err);
    cr_expect_not_null(bundles, "none at all: %s", err.text);
    cr_expect_null(trust_bundles_find(bundles, DOMAIN, strlen(DOMAIN)));
    trust_bundles_free(bundles);
    for (size_t i = 0; i < 5; i++) {
        fixture_bundle_free(messages[i]);
        mint_ca_cleanup(&cas[i]);
    }
}

static void digest_of(uint8_t out[32], Tabard__V1__TrustBundle *bundle)
{
    struct trust_bundles *bundles = fixture_bundles(bundle);
    memcpy(out, trust_bundle_digest(trust_bundles_find(bundles, DOMAIN, strlen(DOMAIN))), 32);
    trust_bundles_free(bundles);
    fixture_bundle_free(bundle);
}

Test(bundle, the_digest_follows_the_contents_and_not_their_order)
{
    uint8_t one[32], both[32], reversed[32], with_crl[32];
    X509_CRL *crl = fixture_crl(&root, NULL, 0, NOW - HOUR, NOW + HOUR);
    digest_of(one, with_root(root.cert));
    Tabard__V1__TrustBundle *bundle = with_root(root.cert);
    fixture_add_root(bundle, other.cert);
    digest_of(both, bundle);
    bundle = with_root(other.cert);
    fixture_add_root(bundle, root.cert);
    digest_of(reversed, bundle);
    bundle = with_root(root.cert);
    fixture_add_crl(bundle, crl);
    digest_of(with_crl, bundle);
    cr_expect_eq(memcmp(both, reversed, 32), 0);
    cr_expect_neq(memcmp(one, both, 32), 0);
    cr_expect_neq(memcmp(one, with_crl, 32), 0);
    X509_CRL_free(crl);
}

Test(bundle, the_digest_of_the_same_roots_under_another_name_is_another)
{
    struct mint_ca plain;
    bad_ca_init(&plain, NULL,
                &(struct bad_ca){.key = mint_key_new(MINT_KEY_P256, NULL),
                                 .uses = MINT_USE_CERT_SIGN,
                                 .not_before = NOW - DAY,
                                 .not_after = NOW + DAY});
    Tabard__V1__TrustBundle *messages[] = {fixture_bundle("a.example"),
                                           fixture_bundle("b.example")};
    fixture_add_root(messages[0], plain.cert);
    fixture_add_root(messages[1], plain.cert);
    struct trust_bundles *bundles = trust_bundles_new(messages, 2, NOW, NULL);
    cr_assert_not_null(bundles);
    cr_expect_neq(memcmp(trust_bundle_digest(trust_bundles_find(bundles, "a.example", 9)),
                         trust_bundle_digest(trust_bundles_find(bundles, "b.example", 9)), 32),
                  0);
    trust_bundles_free(bundles);
    fixture_bundle_free(messages[0]);
    fixture_bundle_free(messages[1]);
    mint_ca_cleanup(&plain);
}

Test(bundle, a_bad_or_repeated_trust_domain_is_refused)
{
    Tabard__V1__TrustBundle *bundle = fixture_bundle("spiffe://prod.example");
    expect_refused(bundle, "trust_bundles[0].trust_domain", "bare name \"prod.example\"", "an id");
    bundle = fixture_bundle("");
    expect_refused(bundle, "trust_bundles[0].trust_domain", "empty", "empty");
    Tabard__V1__TrustBundle *two[] = {with_root(root.cert), with_root(other.cert)};
    struct err err = {0};
    cr_expect_null(trust_bundles_new(two, 2, NOW, &err));
    cr_expect_str_eq(err.where, "trust_bundles[1].trust_domain");
    cr_expect(strstr(err.text, "trust_bundles[0]") != NULL, "%s", err.text);
    fixture_bundle_free(two[0]);
    fixture_bundle_free(two[1]);
    cr_expect_null(trust_bundles_new(NULL, TRUST_BUNDLES_MAX + 1, NOW, &err));
    cr_expect_str_eq(err.where, "trust_bundles");
}

Test(bundle, roots_that_are_missing_too_many_or_no_der_are_refused)
{
    uint8_t *der;
    size_t len;
    cr_assert(mint_cert_der(&der, &len, root.cert));
    expect_refused(fixture_bundle(DOMAIN), "trust_bundles[0].roots", "0 certificates", "none");
    Tabard__V1__TrustBundle *bundle = fixture_bundle(DOMAIN);
    for (int i = 0; i < TRUST_BUNDLE_ROOTS_MAX + 1; i++) {
        fixture_add_root(bundle, root.cert);
    }
    expect_refused(bundle, "trust_bundles[0].roots", "65 certificates", "65");
    bundle = with_root(root.cert);
    fixture_add_root_der(bundle, "garbage", 7);
    expect_refused(bundle, "trust_bundles[0].roots[1]", "not a DER certificate", "garbage");
    bundle = with_root(root.cert);
    fixture_add_root_der(bundle, der, 0);
    expect_refused(bundle, "trust_bundles[0].roots[1]", "not a DER certificate", "empty");
    bundle = with_root(root.cert);
    fixture_add_root_der(bundle, der, len - 1);
    expect_refused(bundle, "trust_bundles[0].roots[1]", "not a DER certificate", "cut");
    uint8_t *longer = calloc(1, 70000);
    memcpy(longer, der, len);
    bundle = fixture_bundle(DOMAIN);
    fixture_add_root_der(bundle, longer, len + 2);
    expect_refused(bundle, "trust_bundles[0].roots[0]", "2 bytes follow", "bytes after it");
    bundle = fixture_bundle(DOMAIN);
    fixture_add_root_der(bundle, longer, 70000);
    expect_refused(bundle, "trust_bundles[0].roots[0]", "70000 bytes", "too big");
    free(longer);
    free(der);
}

Test(bundle, a_root_that_may_not_sign_or_is_of_another_domain_is_refused)
{
    static const struct {
        const char *name;
        const char *uri;
        unsigned uses;
        bool is_not_ca;
        const char *words; // NULL: taken
    } rows[] = {
        {"good", "spiffe://prod.example", MINT_USE_CERT_SIGN, false, NULL},
        {"no SPIFFE id", NULL, MINT_USE_CERT_SIGN, false, NULL},
        {"another URI", "https://prod.example/ca", MINT_USE_CERT_SIGN, false, NULL},
        {"not a CA", "spiffe://prod.example", MINT_USE_CERT_SIGN, true, "not a CA"},
        {"no keyUsage", "spiffe://prod.example", 0, false, "keyCertSign"},
        {"cRLSign only", "spiffe://prod.example", MINT_USE_CRL_SIGN, false, "keyCertSign"},
        {"a path", "spiffe://prod.example/ca", MINT_USE_CERT_SIGN, false, "has a path"},
        {"another domain", "spiffe://other.example", MINT_USE_CERT_SIGN, false,
         "not of the trust domain"},
        {"a domain that begins alike", "spiffe://prod.example2", MINT_USE_CERT_SIGN, false,
         "not of the trust domain"},
        {"a domain of the same length", "spiffe://prod.exampla", MINT_USE_CERT_SIGN, false,
         "not of the trust domain"},
        {"a bad id", "spiffe://PROD.example", MINT_USE_CERT_SIGN, false, "byte 10 is 'P'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct mint_ca ca;
        bad_ca_init(&ca, NULL,
                    &(struct bad_ca){.key = mint_key_new(MINT_KEY_P256, NULL),
                                     .uri = rows[i].uri,
                                     .uses = rows[i].uses,
                                     .is_not_ca = rows[i].is_not_ca,
                                     .not_before = NOW - DAY,
                                     .not_after = NOW + DAY});
        Tabard__V1__TrustBundle *bundle = with_root(ca.cert);
        if (rows[i].words == NULL) {
            struct trust_bundles *bundles = fixture_bundles(bundle);
            trust_bundles_free(bundles);
            fixture_bundle_free(bundle);
        } else {
            expect_refused(bundle, "trust_bundles[0].roots[0]", rows[i].words, rows[i].name);
        }
        mint_ca_cleanup(&ca);
    }
}

Test(bundle, every_spiffe_id_of_a_root_counts_wherever_it_stands_among_its_uris)
{
    static const struct {
        const char *uris[2];
        const char *words; // NULL: taken
    } rows[] = {
        {{"https://prod.example/ca", "spiffe://prod.example"}, NULL},
        {{"https://prod.example/ca", "spiffe://other.example"}, "not of the trust domain"},
        {{"spiffe://prod.example", "spiffe://other.example"}, "not of the trust domain"},
        {{"spiffe://other.example", "https://prod.example/ca"}, "not of the trust domain"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        EVP_PKEY *key = mint_key_new(MINT_KEY_P256, NULL);
        const struct bad_leaf spec = {.is_ca = true,
                                      .has_uses = true,
                                      .uses = MINT_USE_CERT_SIGN,
                                      .has_uris = true,
                                      .uris = rows[i].uris,
                                      .num_uris = 2};
        X509 *cert = bad_leaf_new(&root, key, ID, NOW, &spec);
        Tabard__V1__TrustBundle *bundle = with_root(cert);
        if (rows[i].words == NULL) {
            trust_bundles_free(fixture_bundles(bundle));
            fixture_bundle_free(bundle);
        } else {
            expect_refused(bundle, "trust_bundles[0].roots[0]", rows[i].words, rows[i].uris[1]);
        }
        X509_free(cert);
        EVP_PKEY_free(key);
    }
}

Test(bundle, an_expired_root_is_kept)
{
    struct mint_ca ca;
    bad_ca_init(&ca, NULL,
                &(struct bad_ca){.key = mint_key_new(MINT_KEY_P256, NULL),
                                 .uses = MINT_USE_CERT_SIGN,
                                 .not_before = NOW - 2 * DAY,
                                 .not_after = NOW - DAY});
    Tabard__V1__TrustBundle *bundle = with_root(ca.cert);
    trust_bundles_free(fixture_bundles(bundle));
    fixture_bundle_free(bundle);
    mint_ca_cleanup(&ca);
}

static void expect_crl_refused(X509_CRL *crl, const char *words, const char *row)
{
    Tabard__V1__TrustBundle *bundle = with_root(root.cert);
    fixture_add_crl(bundle, crl);
    expect_refused(bundle, "trust_bundles[0].crls[0]", words, row);
    X509_CRL_free(crl);
}

static X509_CRL *sign_crl_again(X509_CRL *crl)
{
    cr_assert(X509_CRL_sign(crl, root.key, mint_digest_of(root.key)) > 0);
    return crl;
}

static X509_CRL *crl_with_extension(int nid, const char *oid, bool is_critical)
{
    // INTEGER 1 for a delta CRL's base number, and harmless elsewhere; indirectCRL TRUE for a
    // distribution point.
    const char *value =
        nid == NID_issuing_distribution_point ? "\x30\x03\x84\x01\xff" : "\x02\x01\x01";
    X509_CRL *crl = fixture_crl(&root, NULL, 0, NOW - HOUR, NOW + HOUR);
    ASN1_OBJECT *object = oid == NULL ? OBJ_dup(OBJ_nid2obj(nid)) : OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    cr_assert(ASN1_OCTET_STRING_set(data, (const uint8_t *)value, (int)strlen(value)));
    X509_EXTENSION *extension =
        X509_EXTENSION_create_by_OBJ(NULL, object, is_critical ? 1 : 0, data);
    cr_assert(X509_CRL_add_ext(crl, extension, 0)); // before all others
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(data);
    ASN1_OBJECT_free(object);
    return sign_crl_again(crl);
}

Test(bundle, a_crl_that_is_stale_or_without_an_end_is_refused)
{
    expect_crl_refused(fixture_crl(&root, NULL, 0, NOW - DAY, NOW - 1), "stale", "stale");
    X509_CRL *endless = X509_CRL_new();
    ASN1_TIME *began = ASN1_TIME_set(NULL, NOW - HOUR);
    cr_assert(X509_CRL_set_version(endless, X509_CRL_VERSION_2));
    cr_assert(X509_CRL_set_issuer_name(endless, X509_get_subject_name(root.cert)));
    cr_assert(X509_CRL_set1_lastUpdate(endless, began));
    ASN1_TIME_free(began);
    expect_crl_refused(sign_crl_again(endless), "no nextUpdate", "endless");
    // At its very end it is still good.
    Tabard__V1__TrustBundle *bundle = with_root(root.cert);
    X509_CRL *last = fixture_crl(&root, NULL, 0, NOW, NOW);
    fixture_add_crl(bundle, last);
    trust_bundles_free(fixture_bundles(bundle));
    fixture_bundle_free(bundle);
    X509_CRL_free(last);
}

Test(bundle, a_crl_with_a_roots_name_that_no_root_signed_is_refused)
{
    // With the root's key identifier, and without any.
    for (int has_id = 0; has_id <= 1; has_id++) {
        X509_CRL *forged = fixture_crl(&root, NULL, 0, NOW - HOUR, NOW + HOUR);
        if (has_id == 0) {
            X509_EXTENSION_free(X509_CRL_delete_ext(
                forged, X509_CRL_get_ext_by_NID(forged, NID_authority_key_identifier, -1)));
        }
        cr_assert(X509_CRL_sign(forged, other.key, mint_digest_of(other.key)) > 0);
        expect_crl_refused(forged, "no root", "forged");
    }
    // A root that may not sign CRLs.
    struct mint_ca certs_only;
    bad_ca_init(&certs_only, NULL,
                &(struct bad_ca){.key = mint_key_new(MINT_KEY_P256, NULL),
                                 .uses = MINT_USE_CERT_SIGN,
                                 .not_before = NOW - DAY,
                                 .not_after = NOW + DAY});
    X509_CRL *crl = fixture_crl(&certs_only, NULL, 0, NOW - HOUR, NOW + HOUR);
    Tabard__V1__TrustBundle *bundle = with_root(certs_only.cert);
    fixture_add_crl(bundle, crl);
    expect_refused(bundle, "trust_bundles[0].crls[0]", "may sign CRLs", "no cRLSign");
    X509_CRL_free(crl);
    mint_ca_cleanup(&certs_only);
}

Test(bundle, a_crl_that_is_not_plain_and_complete_is_refused)
{
    expect_crl_refused(crl_with_extension(NID_delta_crl, NULL, true), "delta", "delta");
    expect_crl_refused(crl_with_extension(NID_delta_crl, NULL, false), "delta",
                       "delta, not critical");
    expect_crl_refused(crl_with_extension(NID_issuing_distribution_point, NULL, true), "indirect",
                       "indirect");
    expect_crl_refused(crl_with_extension(NID_issuing_distribution_point, NULL, false), "indirect",
                       "indirect, not critical");
    expect_crl_refused(crl_with_extension(0, "1.3.6.1.4.1.99999.1", true), "critical extension",
                       "unknown critical");
    Tabard__V1__TrustBundle *bundle = with_root(root.cert);
    X509_CRL *plain = crl_with_extension(0, "1.3.6.1.4.1.99999.1", false);
    fixture_add_crl(bundle, plain);
    trust_bundles_free(fixture_bundles(bundle));
    fixture_bundle_free(bundle);
    X509_CRL_free(plain);
}

Test(bundle, a_crl_with_an_entry_that_is_not_understood_is_refused)
{
    X509 *leaf = fixture_leaf(&root, "spiffe://prod.example/a", NULL);
    X509_CRL *crl = fixture_crl(&root, &leaf, 1, NOW - HOUR, NOW + HOUR);
    X509_REVOKED *entry = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), 0);
    ASN1_OBJECT *object = OBJ_txt2obj("1.3.6.1.4.1.99999.1", 1);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    cr_assert(ASN1_OCTET_STRING_set(data, (const uint8_t *)"\x05", 1));
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, object, 1, data);
    cr_assert(X509_REVOKED_add_ext(entry, extension, -1));
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(data);
    ASN1_OBJECT_free(object);
    expect_crl_refused(sign_crl_again(crl), "entry 0 has a critical extension", "an entry's");
    X509_free(leaf);
}

Test(bundle, a_crl_with_a_serial_number_that_no_certificate_may_have_is_refused)
{
    static const uint8_t bytes[21] = {1};
    ASN1_INTEGER *serial = ASN1_INTEGER_new();
    cr_assert(ASN1_STRING_set(serial, bytes, sizeof bytes));
    const struct mint_revoked revoked = {serial, NOW - HOUR};
    X509_CRL *crl = mint_crl_new(&root, &revoked, 1, 1, NOW - HOUR, NOW + HOUR, NULL);
    expect_crl_refused(crl, "more than 20 bytes", "21 bytes");
    ASN1_INTEGER_free(serial);
}

Test(bundle, crls_that_are_too_many_too_big_or_no_der_are_refused)
{
    X509_CRL *crl = fixture_crl(&root, NULL, 0, NOW - HOUR, NOW + HOUR);
    uint8_t *der;
    size_t len;
    cr_assert(mint_crl_der(&der, &len, crl));
    Tabard__V1__TrustBundle *bundle = with_root(root.cert);
    for (int i = 0; i < TRUST_BUNDLE_CRLS_MAX + 1; i++) {
        fixture_add_crl(bundle, crl);
    }
    expect_refused(bundle, "trust_bundles[0].crls", "65 CRLs", "65");
    bundle = with_root(root.cert);
    fixture_add_crl(bundle, crl);
    fixture_add_crl_der(bundle, der, len - 1);
    expect_refused(bundle, "trust_bundles[0].crls[1]", "not a DER CRL", "cut");
    uint8_t *longer = calloc(1, CRL_BYTES_MAX + 1);
    memcpy(longer, der, len);
    bundle = with_root(root.cert);
    fixture_add_crl_der(bundle, longer, len + 3);
    expect_refused(bundle, "trust_bundles[0].crls[0]", "3 bytes follow", "bytes after it");
    bundle = with_root(root.cert);
    fixture_add_crl_der(bundle, longer, CRL_BYTES_MAX + 1);
    expect_refused(bundle, "trust_bundles[0].crls[0]", "more than", "too big");
    der[len - 1] ^= 1; // of the signature
    bundle = with_root(root.cert);
    fixture_add_crl_der(bundle, der, len);
    struct err err = {0};
    cr_expect_null(trust_bundles_new(&bundle, 1, NOW, &err), "a flipped bit");
    cr_expect_str_eq(err.where, "trust_bundles[0].crls[0]");
    fixture_bundle_free(bundle);
    free(longer);
    free(der);
    X509_CRL_free(crl);
}
