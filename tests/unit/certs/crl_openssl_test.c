// SPDX-License-Identifier: Apache-2.0
//
// What `openssl verify -crl_check_all` says of a leaf below an intermediate, with CRLs of both CAs,
// and what we say: the same, but where the row says why not.
#include <criterion/criterion.h>
#include <openssl/asn1.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/mint_ext.h"
#include "tests/support/bad_cert.h"
#include "tests/unit/certs/fixture.h"
#include "tests/unit/support/temp.h"

enum who { NOBODY, LEAF, MIDDLE };

// One list, as its CA would not always make it.
struct list {
    enum who revokes;
    int reason;       // -1: none
    int critical_nid; // a critical extension; 0: none
    bool is_stale;
    bool is_early;
    bool is_forged; // by another key
};

enum { BY_RELEASE = 2 }; // newer releases of OpenSSL say what we say

struct row {
    const char *name;
    struct list root, middle;
    bool we_take;
    int openssl_takes; // true, false, or BY_RELEASE
    const char *why;   // they differ
};

#define PLAIN                                                                                      \
    {                                                                                              \
        NOBODY, -1, 0, false, false, false                                                         \
    }

static const struct row rows[] = {
    {"nothing is revoked", PLAIN, PLAIN, true, true, NULL},
    {"the leaf, by the intermediate",
     PLAIN,
     {LEAF, -1, 0, false, false, false},
     false,
     false,
     NULL},
    {"the leaf's number, by the root", {LEAF, -1, 0, false, false, false}, PLAIN, true, true, NULL},
    {"the intermediate, by the root",
     {MIDDLE, -1, 0, false, false, false},
     PLAIN,
     false,
     false,
     NULL},
    {"keyCompromise", PLAIN, {LEAF, 1, 0, false, false, false}, false, false, NULL},
    {"certificateHold", PLAIN, {LEAF, 6, 0, false, false, false}, false, false, NULL},
    {"removeFromCRL",
     PLAIN,
     {LEAF, 8, 0, false, false, false},
     false,
     true,
     "it means something in a delta CRL only; OpenSSL takes the entry for none"},
    {"the intermediate's is stale", PLAIN, {NOBODY, -1, 0, true, false, false}, false, false, NULL},
    {"the root's is stale", {NOBODY, -1, 0, true, false, false}, PLAIN, false, false, NULL},
    {"the intermediate's is early",
     PLAIN,
     {NOBODY, -1, 0, false, true, false},
     true,
     false,
     "a clock is wrong; what the list revokes counts at once, and refuses nobody else"},
    {"the intermediate's is forged",
     PLAIN,
     {NOBODY, -1, 0, false, false, true},
     false,
     false,
     NULL},
    {"the root's is forged", {NOBODY, -1, 0, false, false, true}, PLAIN, false, false, NULL},
    {"a delta",
     PLAIN,
     {NOBODY, -1, NID_delta_crl, false, false, false},
     false,
     BY_RELEASE,
     "OpenSSL 3.0 takes one for a complete list unless it is told to look for deltas; 3.5 doesn't"},
    {"indirect",
     PLAIN,
     {NOBODY, -1, NID_issuing_distribution_point, false, false, false},
     false,
     false,
     NULL},
};

static struct world w;
static X509 *leaf;
static struct err err;

static void set_up(void)
{
    temp_set_up();
    world_init(&w);
    leaf = fixture_leaf(&w.intermediate, ID, NULL);
}

static void tear_down(void)
{
    X509_free(leaf);
    world_cleanup(&w);
    temp_tear_down();
}

TestSuite(crl_openssl, .timeout = 60, .init = set_up, .fini = tear_down);

static void add_critical(X509_CRL *crl, int nid)
{
    // A base number for a delta; indirectCRL TRUE for a distribution point.
    const char *value =
        nid == NID_issuing_distribution_point ? "\x30\x03\x84\x01\xff" : "\x02\x01\x01";
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    cr_assert(ASN1_OCTET_STRING_set(data, (const uint8_t *)value, (int)strlen(value)));
    X509_EXTENSION *extension = X509_EXTENSION_create_by_NID(NULL, nid, 1, data);
    cr_assert(X509_CRL_add_ext(crl, extension, -1));
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(data);
}

static X509_CRL *make(const struct list *list, const struct mint_ca *ca)
{
    X509 *listed[] = {list->revokes == LEAF ? leaf : w.intermediate.cert};
    X509_CRL *crl = fixture_crl(ca, listed, list->revokes == NOBODY ? 0 : 1,
                                list->is_early ? NOW + HOUR : NOW - DAY,
                                list->is_stale ? NOW - HOUR : NOW + DAY);
    if (list->reason >= 0) {
        ASN1_ENUMERATED *value = ASN1_ENUMERATED_new();
        cr_assert(ASN1_ENUMERATED_set(value, list->reason));
        X509_REVOKED *entry = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), 0);
        cr_assert_eq(X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, value, 0, X509V3_ADD_DEFAULT),
                     1);
        ASN1_ENUMERATED_free(value);
    }
    if (list->critical_nid != 0) {
        add_critical(crl, list->critical_nid);
    }
    EVP_PKEY *other = mint_key_new(MINT_KEY_P256, &err);
    EVP_PKEY *key = list->is_forged ? other : ca->key;
    cr_assert(X509_CRL_sign(crl, key, mint_digest_of(key)) > 0);
    EVP_PKEY_free(other);
    return crl;
}

static bool we_take(X509_CRL *root, X509_CRL *middle)
{
    Tabard__V1__TrustBundle *message = fixture_bundle(DOMAIN);
    struct verified_peer peer;
    fixture_add_root(message, w.root.cert);
    fixture_add_crl(message, root);
    fixture_add_crl(message, middle);
    err = (struct err){{0}, {0}};
    struct trust_bundles *bundles = trust_bundles_new(&message, 1, NOW, &err);
    bool ok = bundles != NULL && fixture_verify(&peer, bundles, NOW, &err, leaf,
                                                w.intermediate.cert, NULL) == VERIFY_OK;
    trust_bundles_free(bundles);
    fixture_bundle_free(message);
    return ok;
}

static void put(const char *name, char *one, char *two)
{
    char text[20000];
    snprintf(text, sizeof text, "%s%s", one, two == NULL ? "" : two);
    temp_write(temp_folder, name, text, strlen(text));
    free(one);
    free(two);
}

static bool openssl_takes(X509_CRL *root, X509_CRL *middle)
{
    char command[6 * TEMP_PATH_BYTES + 300];
    put("root.pem", mint_cert_pem(w.root.cert), NULL);
    put("middle.pem", mint_cert_pem(w.intermediate.cert), NULL);
    put("leaf.pem", mint_cert_pem(leaf), NULL);
    put("crls.pem", mint_crl_pem(root), mint_crl_pem(middle));
    snprintf(command, sizeof command,
             "cd %s && openssl verify -crl_check_all -attime %lld -CAfile root.pem -untrusted "
             "middle.pem -CRLfile crls.pem leaf.pem >out 2>&1",
             temp_folder, (long long)NOW);
    return system(command) == 0;
}

Test(crl_openssl, agrees_with_us_on_each_kind_of_list)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        X509_CRL *root = make(&rows[i].root, &w.root);
        X509_CRL *middle = make(&rows[i].middle, &w.intermediate);
        cr_expect_eq(we_take(root, middle), rows[i].we_take, "%s: %s", rows[i].name, err.text);
        bool takes = openssl_takes(root, middle);
        cr_expect(rows[i].openssl_takes == BY_RELEASE || takes == rows[i].openssl_takes, "%s",
                  rows[i].name);
        cr_expect(rows[i].we_take == rows[i].openssl_takes || rows[i].why != NULL);
        X509_CRL_free(root);
        X509_CRL_free(middle);
    }
}
