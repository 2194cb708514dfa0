// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <openssl/asn1.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret/secret.h"
#include "certs/ca/mint_ext.h"
#include "tests/support/bad_cert.h"
#include "tests/unit/certs/fixture.h"

static struct mint_ca root;

static void set_up(void)
{
    fixture_root(&root, DOMAIN);
}

static void tear_down(void)
{
    mint_ca_cleanup(&root);
}

TestSuite(mint, .init = set_up, .fini = tear_down, .timeout = 20);

Test(mint, every_kind_of_ca_and_leaf_verifies)
{
    struct err err = {0};
    for (int ca_kind = 0; ca_kind < 2; ca_kind++) {
        for (int leaf_kind = 0; leaf_kind < 2; leaf_kind++) {
            struct mint_ca ca;
            cr_assert(
                mint_root_init(&ca, (enum mint_key_kind)ca_kind, DOMAIN, NOW, NOW + DAY, &err));
            EVP_PKEY *key = mint_key_new((enum mint_key_kind)leaf_kind, &err);
            static const char *const names[] = {"web.local", "web.shop.svc"};
            const struct mint_leaf leaf = {.spiffe_id = ID,
                                           .dns_names = names,
                                           .num_dns_names = 2,
                                           .not_before = NOW - 60,
                                           .not_after = NOW + HOUR};
            X509 *cert = mint_leaf_new(&ca, key, &leaf, &err);
            cr_assert_not_null(cert, "%s", err.text);
            Tabard__V1__TrustBundle *message = fixture_bundle(DOMAIN);
            fixture_add_root(message, ca.cert);
            struct trust_bundles *bundles = fixture_bundles(message);
            struct verified_peer peer;
            cr_expect_eq(fixture_verify(&peer, bundles, NOW, &err, cert, NULL, NULL), VERIFY_OK,
                         "ca %d leaf %d: %s", ca_kind, leaf_kind, err.text);
            cr_expect_str_eq(peer.id, ID);
            trust_bundles_free(bundles);
            fixture_bundle_free(message);
            X509_free(cert);
            EVP_PKEY_free(key);
            mint_ca_cleanup(&ca);
        }
    }
}

Test(mint, serial_numbers_are_positive_long_and_never_the_same)
{
    char seen[50][MINT_SERIAL_TEXT_MAX];
    for (size_t i = 0; i < 50; i++) {
        X509 *leaf = fixture_leaf(&root, ID, NULL);
        const ASN1_INTEGER *serial = X509_get0_serialNumber(leaf);
        cr_expect_eq(ASN1_STRING_type(serial), V_ASN1_INTEGER);
        cr_expect_eq(ASN1_STRING_length(serial), 16);
        cr_expect_lt(ASN1_STRING_get0_data(serial)[0], 0x80);
        mint_serial_text(serial, seen[i]);
        for (size_t j = 0; j < i; j++) {
            cr_expect_str_neq(seen[i], seen[j]);
        }
        X509_free(leaf);
    }
}

Test(mint, a_leaf_that_should_not_be_is_refused)
{
    static const char *const good[] = {"a.b-c.d", "x_1"};
    static const char *const dots[] = {"a..b"};
    static const char *const hyphen[] = {"-a.b"};
    static const char *const wild[] = {"*.b"};
    static const char *const empty[] = {""};
    static const char *const end_dot[] = {"a."};
    static const char *const long_label[] = {
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b"};
    const struct {
        const char *name;
        struct mint_leaf leaf;
        const char *words; // NULL: taken
    } rows[] = {
        {"good", {ID, good, 2, NOW, NOW + HOUR}, NULL},
        {"as long as the CA", {ID, NULL, 0, NOW, NOW + 30 * DAY}, NULL},
        {"longer than the CA", {ID, NULL, 0, NOW, NOW + 30 * DAY + 1}, "outlive its CA by 1 s"},
        {"backwards", {ID, NULL, 0, NOW, NOW}, "end before it begins"},
        {"no path", {"spiffe://prod.example", NULL, 0, NOW, NOW + 1}, "has a path"},
        {"no id", {"", NULL, 0, NOW, NOW + 1}, "empty"},
        {"another domain", {"spiffe://other.example/a", NULL, 0, NOW, NOW + 1}, "signs only for"},
        {"a domain that begins alike",
         {"spiffe://prod.example2/a", NULL, 0, NOW, NOW + 1},
         "signs only for"},
        {"a domain that ends early",
         {"spiffe://prod.exampl/a", NULL, 0, NOW, NOW + 1},
         "signs only for"},
        {"two dots", {ID, dots, 1, NOW, NOW + 1}, "not a DNS name"},
        {"a hyphen first", {ID, hyphen, 1, NOW, NOW + 1}, "not a DNS name"},
        {"a wildcard", {ID, wild, 1, NOW, NOW + 1}, "not a DNS name"},
        {"an empty name", {ID, empty, 1, NOW, NOW + 1}, "not a DNS name"},
        {"a dot last", {ID, end_dot, 1, NOW, NOW + 1}, "not a DNS name"},
        {"a long label", {ID, long_label, 1, NOW, NOW + 1}, "not a DNS name"},
        {"too many names", {ID, good, MINT_DNS_NAMES_MAX + 1, NOW, NOW + 1}, "65 DNS names"},
    };
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {0};
        X509 *cert = mint_leaf_new(&root, key, &rows[i].leaf, &err);
        cr_expect_eq(cert != NULL, rows[i].words == NULL, "%s: %s", rows[i].name, err.text);
        cr_expect(rows[i].words == NULL || strstr(err.text, rows[i].words) != NULL, "%s: %s",
                  rows[i].name, err.text);
        X509_free(cert);
    }
    EVP_PKEY_free(key);
    struct err err = {0};
    EVP_PKEY *weak = bad_key_rsa(1024);
    cr_expect_null(mint_leaf_new(&root, weak, &rows[0].leaf, &err));
    cr_expect(strstr(err.text, "RSA 1024") != NULL, "%s", err.text);
    EVP_PKEY_free(weak);
}

Test(mint, a_ca_that_should_not_be_is_refused)
{
    struct mint_ca ca;
    struct err err = {0};
    cr_expect_not(mint_root_init(&ca, MINT_KEY_P256, "spiffe://a", NOW, NOW + DAY, &err));
    cr_expect(strstr(err.text, "bare name") != NULL, "%s", err.text);
    cr_expect_not(mint_root_init(&ca, MINT_KEY_P256, "", NOW, NOW + DAY, &err));
    cr_expect_not(mint_root_init(&ca, MINT_KEY_P256, DOMAIN, NOW, NOW - DAY, &err));
    cr_expect_not(mint_intermediate_init(&ca, &root, MINT_KEY_P256, NOW, NOW + 31 * DAY, &err));
    cr_expect(strstr(err.text, "outlive its CA") != NULL, "%s", err.text);
    cr_expect_null(ca.cert);
    cr_expect_null(ca.key);
    // A trust domain of the greatest length has no place in a common name, and is fine without.
    char name[256];
    memset(name, 'a', 255);
    name[255] = '\0';
    cr_expect(mint_root_init(&ca, MINT_KEY_P256, name, NOW, NOW + DAY, &err), "%s", err.text);
    char *found = mint_ca_trust_domain(ca.cert, &err);
    cr_expect_str_eq(found, name);
    free(found);
    mint_ca_cleanup(&ca);
}

Test(mint, an_intermediate_signs_leaves_and_no_further_ca)
{
    struct mint_ca middle, low;
    struct err err = {0};
    fixture_intermediate(&middle, &root);
    cr_assert(mint_intermediate_init(&low, &middle, MINT_KEY_P256, NOW, NOW + DAY, &err));
    X509 *leaf = fixture_leaf(&low, ID, NULL);
    Tabard__V1__TrustBundle *message = fixture_bundle(DOMAIN);
    fixture_add_root(message, root.cert);
    struct trust_bundles *bundles = fixture_bundles(message);
    struct verified_peer peer;
    cr_expect_eq(fixture_verify(&peer, bundles, NOW, &err, leaf, low.cert, middle.cert),
                 VERIFY_UNTRUSTED_CHAIN);
    cr_expect(strstr(err.text, "path length") != NULL, "%s", err.text);
    trust_bundles_free(bundles);
    fixture_bundle_free(message);
    X509_free(leaf);
    mint_ca_cleanup(&low);
    mint_ca_cleanup(&middle);
}

// A request for `uri` and `dns` (each may be NULL), signed by `signer`.
static X509_REQ *request(EVP_PKEY *key, EVP_PKEY *signer, const char *uri, const char *dns)
{
    X509_REQ *csr = X509_REQ_new();
    cr_assert(X509_REQ_set_pubkey(csr, key));
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    const char *const texts[] = {uri, dns};
    for (int i = 0; i < 2; i++) {
        if (texts[i] != NULL) {
            ASN1_IA5STRING *value = ASN1_IA5STRING_new();
            GENERAL_NAME *name = GENERAL_NAME_new();
            cr_assert(ASN1_STRING_set(value, texts[i], (int)strlen(texts[i])));
            GENERAL_NAME_set0_value(name, i == 0 ? GEN_URI : GEN_DNS, value);
            cr_assert(sk_GENERAL_NAME_push(names, name));
        }
    }
    if (uri != NULL || dns != NULL) {
        STACK_OF(X509_EXTENSION) *extensions = NULL;
        cr_assert(X509V3_add1_i2d(&extensions, NID_subject_alt_name, names, 0, 0));
        cr_assert(X509_REQ_add_extensions(csr, extensions));
        sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    }
    GENERAL_NAMES_free(names);
    cr_assert(X509_REQ_sign(csr, signer, mint_digest_of(signer)) > 0);
    return csr;
}

Test(mint, a_request_gets_what_is_granted_and_no_more)
{
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, NULL);
    EVP_PKEY *other = mint_key_new(MINT_KEY_P256, NULL);
    EVP_PKEY *weak = bad_key_rsa(1024);
    static const char *const names[] = {"web.local"};
    const struct mint_leaf leaf = {ID, names, 1, NOW - 60, NOW + HOUR};
    const struct {
        const char *name;
        EVP_PKEY *key, *signer;
        const char *uri, *dns;
        const char *words; // NULL: taken
    } rows[] = {
        {"no names", key, key, NULL, NULL, NULL},
        {"the granted ones", key, key, ID, "web.local", NULL},
        {"one of the granted ones", key, key, NULL, "web.local", NULL},
        {"another id", key, key, "spiffe://prod.example/admin", NULL, "not granted"},
        {"an id that begins alike", key, key, ID "2", NULL, "not granted"},
        {"another DNS name", key, key, ID, "bank.local", "not granted"},
        {"the id as a DNS name", key, key, NULL, ID, "not granted"},
        {"a key it does not hold", key, other, ID, NULL, "signature is wrong"},
        {"a weak key", weak, weak, NULL, NULL, "RSA 1024"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {0};
        EVP_PKEY *found = NULL;
        X509_REQ *csr = request(rows[i].key, rows[i].signer, rows[i].uri, rows[i].dns);
        bool ok = mint_csr_check(&found, csr, &leaf, &err);
        cr_expect_eq(ok, rows[i].words == NULL, "%s: %s", rows[i].name, err.text);
        cr_expect_eq(found != NULL, ok, "%s", rows[i].name);
        cr_expect(ok || strstr(err.text, rows[i].words) != NULL, "%s: %s", rows[i].name, err.text);
        cr_expect(!ok || EVP_PKEY_cmp(found, rows[i].key) == 1, "%s", rows[i].name);
        EVP_PKEY_free(found);
        X509_REQ_free(csr);
    }
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
    EVP_PKEY_free(weak);
}

Test(mint, a_serial_number_survives_its_text)
{
    X509 *leaf = fixture_leaf(&root, ID, NULL);
    char text[MINT_SERIAL_TEXT_MAX];
    mint_serial_text(X509_get0_serialNumber(leaf), text);
    ASN1_INTEGER *again = mint_serial_parse(text, NULL);
    cr_assert_not_null(again);
    cr_expect_eq(ASN1_INTEGER_cmp(again, X509_get0_serialNumber(leaf)), 0);
    ASN1_INTEGER_free(again);
    X509_free(leaf);
    // As openssl prints it, and as people write it.
    static const char *const same[] = {"0x0A1B", "0a:1b", "0A:1B", "a1b"};
    for (size_t i = 0; i < 4; i++) {
        ASN1_INTEGER *serial = mint_serial_parse(same[i], NULL);
        cr_assert_not_null(serial, "%s", same[i]);
        cr_expect_eq(ASN1_INTEGER_get(serial), 0xa1b, "%s", same[i]);
        ASN1_INTEGER_free(serial);
    }
    static const char *const bad[] = {
        "", ":", "0x", "12 34", "-1", "g1", "00000000000000000000000000000000000000000"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = {0};
        cr_expect_null(mint_serial_parse(bad[i], &err), "%s", bad[i]);
        cr_expect_str_not_empty(err.text);
    }
}

Test(mint, a_crl_is_read_back_with_its_number_and_its_serials)
{
    X509 *one = fixture_leaf(&root, ID, NULL);
    X509 *two = fixture_leaf(&root, ID, NULL);
    const struct mint_revoked revoked[] = {{X509_get0_serialNumber(one), NOW - 10}};
    struct err err = {0};
    X509_CRL *crl = mint_crl_new(&root, revoked, 1, 0x1234567890, NOW, NOW + DAY, &err);
    cr_assert_not_null(crl, "%s", err.text);
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    char text[MINT_SERIAL_TEXT_MAX];
    cr_expect_str_eq(mint_serial_text(number, text), "1234567890");
    ASN1_INTEGER_free(number);
    X509_REVOKED *entry;
    cr_expect_eq(X509_CRL_get0_by_cert(crl, &entry, one), 1);
    cr_expect_eq(X509_CRL_get0_by_cert(crl, &entry, two), 0);
    cr_expect_eq(X509_CRL_verify(crl, root.key), 1);
    X509_CRL_free(crl);
    X509_free(one);
    X509_free(two);
}

static size_t num_overflows;

static void on_overflow(size_t locked_len)
{
    (void)locked_len;
    num_overflows++;
}

Test(mint, a_large_crl_takes_no_locked_memory_from_keys)
{
    enum { NUM = 20000 };
    struct err err = {0};
    secret_open(on_overflow);
    struct mint_revoked *revoked = calloc(NUM, sizeof *revoked);
    for (size_t i = 0; i < NUM; i++) {
        ASN1_INTEGER *serial = ASN1_INTEGER_new();
        cr_assert_eq(ASN1_INTEGER_set_uint64(serial, UINT64_MAX / 2 - i), 1);
        revoked[i] = (struct mint_revoked){serial, NOW - 10};
    }
    for (int kind = MINT_KEY_P256; kind <= MINT_KEY_ML_DSA_65; kind++) {
        struct mint_ca ca;
        cr_assert(mint_root_init(&ca, (enum mint_key_kind)kind, DOMAIN, NOW, NOW + DAY, &err));
        X509_CRL *crl = mint_crl_new(&ca, revoked, NUM, 1, NOW, NOW + DAY, &err);
        cr_assert_not_null(crl, "%s", err.text);
        cr_expect_eq(num_overflows, 0, "%d", kind);
        cr_expect_eq(X509_CRL_verify(crl, ca.key), 1);
        X509_CRL_free(crl);
        mint_ca_cleanup(&ca);
    }
    for (size_t i = 0; i < NUM; i++) {
        ASN1_INTEGER_free((ASN1_INTEGER *)(uintptr_t)revoked[i].serial);
    }
    free(revoked);
}
