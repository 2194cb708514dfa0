// SPDX-License-Identifier: Apache-2.0
//
// What BoringSSL's own search holds of a chain outside the mesh, and what it doesn't:
// docs/certificates.md, "Outside the mesh", says both.
#include "certs/tls/ordinary_chain.h"

#include <criterion/criterion.h>
#include <openssl/digest.h>
#include <openssl/nid.h>
#include <openssl/pool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "certs/ca/mint.h"
#include "tests/support/any_cert.h"
#include "tests/support/bad_cert.h"

#define SAN_API "300d820b6170692e6578616d706c65" // DNS:api.example
#define SAN_IP                                                                                     \
    "301382"                                                                                       \
    "0b6170692e6578616d706c6587040a000001" // and IP:10.0.0.1
#define LIMITS(der)                                                                                \
    {                                                                                              \
        "2.5.29.30", der, true                                                                     \
    }

enum key_kind { KEY_P256, KEY_RSA_1024, KEY_P521 };

static const struct row {
    const char *name;
    enum key_kind ca_key;
    const EVP_MD *(*digest)(void); // of the leaf's signature; NULL: the usual one
    struct any_extension ca;
    struct any_extension leaf; // besides its names
    const char *san;
    const char *words; // NULL: it is proved
} rows[] = {
    {"a good one", KEY_P256, NULL, {0}, {0}, SAN_API, NULL},
    {"a CA of RSA 1024", KEY_RSA_1024, NULL, {0}, {0}, SAN_API, NULL},
    {"a CA of P-521", KEY_P521, NULL, {0}, {0}, SAN_API, NULL},
    {"SHA-1", KEY_P256, EVP_sha1, {0}, {0}, SAN_API, NULL},
    {"an unknown critical extension",
     KEY_P256,
     NULL,
     {0},
     {"1.2.3.4.5", "0500", true},
     SAN_API,
     "unhandled critical extension"},
    {"a name inside of its constraints",
     KEY_P256,
     NULL,
     LIMITS("300da00b30098207"
            "6578616d706c65"),
     {0},
     SAN_API,
     NULL},
    {"a name outside",
     KEY_P256,
     NULL,
     LIMITS("3009a007300582036f7267"),
     {0},
     SAN_API,
     "permitted subtree violation"},
    {"an address inside of an IP range",
     KEY_P256,
     NULL,
     LIMITS("300ea00c300a87080a000000ff000000"),
     {0},
     SAN_IP,
     "unsupported name constraint type"},
    {"an IP range and no address",
     KEY_P256,
     NULL,
     LIMITS("300ea00c300a87080a000000ff000000"),
     {0},
     SAN_API,
     NULL},
    {"a required policy that it lacks",
     KEY_P256,
     NULL,
     {"2.5.29.36", "3003800100", true},
     {0},
     SAN_API,
     "no explicit policy"},
};

static EVP_PKEY *new_key(enum key_kind kind)
{
    struct err err = {0};
    switch (kind) {
    case KEY_RSA_1024:
        return bad_key_rsa(1024);
    case KEY_P521:
        return bad_key_ec(NID_secp521r1);
    case KEY_P256:
        break;
    }
    return mint_key_new(MINT_KEY_P256, &err);
}

static CRYPTO_BUFFER *buffer_of(X509 *cert)
{
    uint8_t *der;
    size_t len;
    cr_assert(mint_cert_der(&der, &len, cert));
    CRYPTO_BUFFER *buffer = CRYPTO_BUFFER_new(der, len, NULL);
    free(der);
    return buffer;
}

// A root, an intermediate with what the row asks of a CA, and a leaf.
static const char *ask(const struct row *row)
{
    struct err err = {0};
    const struct ordinary_peer peer = {.name = "api.example"};
    EVP_PKEY *top_key = new_key(KEY_P256), *ca_key = new_key(row->ca_key), *key = new_key(KEY_P256);
    struct any_cert any = {.subject = "top",
                           .issuer = "top",
                           .key = top_key,
                           .signer = top_key,
                           .not_before = time(NULL) - 7200,
                           .not_after = time(NULL) + 7200};
    X509 *top = any_cert_new(&any);
    any.subject = "ca";
    any.key = ca_key;
    any.extensions[0] = row->ca;
    X509 *ca = any_cert_new(&any);
    any.subject = "api";
    any.issuer = "ca";
    any.key = key;
    any.signer = ca_key;
    any.spiffe_id = "spiffe://prod.example/api"; // no CA
    any.extensions[0] = (struct any_extension){"2.5.29.17", row->san, false};
    any.extensions[1] = row->leaf;
    X509 *leaf = any_cert_new(&any);
    if (row->digest != NULL) {
        leaf = any_cert_sign(leaf, ca_key, row->digest());
    }
    struct der_list roots = {0};
    char *pem = mint_cert_pem(top);
    cr_assert(der_list_from_pem(&roots, "CERTIFICATE", pem, strlen(pem), 1, "ca", &err));
    X509_STORE *store = ordinary_roots(&roots, &err);
    cr_assert_not_null(store, "%s", err.text);
    STACK_OF(CRYPTO_BUFFER) *sent = sk_CRYPTO_BUFFER_new_null();
    cr_assert(sk_CRYPTO_BUFFER_push(sent, buffer_of(leaf)) > 0);
    cr_assert(sk_CRYPTO_BUFFER_push(sent, buffer_of(ca)) > 0);
    uint8_t alert;
    const char *failure = ordinary_chain_verify(store, sent, &peer, &alert);
    sk_CRYPTO_BUFFER_pop_free(sent, CRYPTO_BUFFER_free);
    X509_STORE_free(store);
    der_list_cleanup(&roots);
    free(pem);
    X509_free(top);
    X509_free(ca);
    X509_free(leaf);
    EVP_PKEY_free(top_key);
    EVP_PKEY_free(ca_key);
    EVP_PKEY_free(key);
    return failure;
}

Test(ordinary_chain, it_holds_what_the_library_holds_and_no_floor_for_keys, .timeout = 60)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *failure = ask(&rows[i]);
        const char *words = rows[i].words;
        cr_expect(words == NULL ? failure == NULL : failure != NULL && strstr(failure, words),
                  "%s: %s", rows[i].name, failure == NULL ? "proved" : failure);
    }
}
