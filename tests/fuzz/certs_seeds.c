// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/certs_seeds.h"

#include <openssl/bytestring.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/mint.h"
#include "certs/ca/mint_ext.h"
#include "tests/support/bad_cert.h"

#define NOW CERTS_FUZZ_NOW
#define DAY 86400

// The intermediate requires a policy, which the leaf has, and permits the trust domain's URIs and a
// range of addresses.
#define POLICIES                                                                                   \
    "\5\5\x30\x03\x80\x01\x00"              /* policyConstraints */                                \
    "\2\10\x30\x06\x30\x04\x06\x02\x2a\x03" /* certificatePolicies */                              \
    "\1\40\x30\x1e\xa0\x1c"                 /* nameConstraints */                                  \
    "\x30\x0e\x86\x0cprod.example"                                                                 \
    "\x30\x0a\x87\x08\12\0\0\0\xff\0\0\0"                                                          \
    "\x82\10\x30\x06\x30\x04\x06\x02\x2a\x03" /* the leaf's policies */

// nameConstraints of URIs alone: permitted and excluded ones, of the DNS and of SPIFFE.
#define PERMITTED "\1\24\x30\x12\xa0\x10\x30\x0e\x86\x0cPROD.example"
#define DOMAINS   "\1\30\x30\x16\xa0\x14\x30\x0a\x86\x08.example\x30\x06\x86\x04.b_c"
#define EXCLUDED                                                                                   \
    "\1\31\x30\x17\xa1\x15\x30\x08\x86\x06"                                                        \
    "bad_td\x30\x09\x86\x07"                                                                       \
    "1.2.3.4"
#define BOTH                                                                                       \
    "\1\40\x30\x1e\xa0\x0c\x30\x0a\x86\x08.example"                                                \
    "\xa1\x0e\x30\x0c\x86\x0a"                                                                     \
    "bad_td.abc"

#define TEXT(text) (text), sizeof(text) - 1
#define SIGNED     NULL, 0

const struct certs_seed certs_seeds[] = {
    {"id", CERTS_FUZZ_ID, CERTS_FUZZ_ED25519, TEXT(CERTS_FUZZ_ID_TEXT)},
    {"pem_cert", CERTS_FUZZ_PEM_CERT, CERTS_FUZZ_ED25519, SIGNED},
    {"pem_crl", CERTS_FUZZ_PEM_CRL, CERTS_FUZZ_ED25519, SIGNED},
    {"root", CERTS_FUZZ_ROOT, CERTS_FUZZ_ED25519, SIGNED},
    {"root_ml_dsa_44", CERTS_FUZZ_ROOT, CERTS_FUZZ_ML_DSA_44, SIGNED},
    {"root_ml_dsa_65", CERTS_FUZZ_ROOT, CERTS_FUZZ_ML_DSA_65, SIGNED},
    {"crl", CERTS_FUZZ_CRL, CERTS_FUZZ_ED25519, SIGNED},
    {"crl_ml_dsa_44", CERTS_FUZZ_CRL, CERTS_FUZZ_ML_DSA_44, SIGNED},
    {"crl_ml_dsa_65", CERTS_FUZZ_CRL, CERTS_FUZZ_ML_DSA_65, SIGNED},
    {"chain", CERTS_FUZZ_CHAIN, CERTS_FUZZ_ED25519, SIGNED},
    {"chain_ml_dsa_44", CERTS_FUZZ_CHAIN, CERTS_FUZZ_ML_DSA_44, SIGNED},
    {"chain_ml_dsa_65", CERTS_FUZZ_CHAIN, CERTS_FUZZ_ML_DSA_65, SIGNED},
    {"csr", CERTS_FUZZ_CSR, CERTS_FUZZ_ED25519, SIGNED},
    {"csr_ml_dsa_44", CERTS_FUZZ_CSR, CERTS_FUZZ_ML_DSA_44, SIGNED},
    {"csr_ml_dsa_65", CERTS_FUZZ_CSR, CERTS_FUZZ_ML_DSA_65, SIGNED},
    {"key_pem", CERTS_FUZZ_KEY_PEM, CERTS_FUZZ_ED25519, SIGNED},
    {"key_pem_ml_dsa_44", CERTS_FUZZ_KEY_PEM, CERTS_FUZZ_ML_DSA_44, SIGNED},
    {"key_pem_ml_dsa_65", CERTS_FUZZ_KEY_PEM, CERTS_FUZZ_ML_DSA_65, SIGNED},
    {"rules_policies", CERTS_FUZZ_RULES, CERTS_FUZZ_ED25519, TEXT(POLICIES)},
    {"rules_uri_permitted", CERTS_FUZZ_RULES, CERTS_FUZZ_ED25519, TEXT(PERMITTED)},
    {"rules_uri_domains", CERTS_FUZZ_RULES, CERTS_FUZZ_ED25519, TEXT(DOMAINS)},
    {"rules_uri_excluded", CERTS_FUZZ_RULES, CERTS_FUZZ_ED25519, TEXT(EXCLUDED)},
    {"rules_uri_both", CERTS_FUZZ_RULES, CERTS_FUZZ_ED25519, TEXT(BOTH)},
    {"uri_host", CERTS_FUZZ_URI, CERTS_FUZZ_ED25519, TEXT("\7Prod_eUspiffe://prod_eu/x")},
    {"uri_domain", CERTS_FUZZ_URI, CERTS_FUZZ_ED25519, TEXT("\4.0.1spiffe://10.0.0.1")},
    {"uri_https", CERTS_FUZZ_URI, CERTS_FUZZ_ED25519, TEXT("\4.b-chTTps://a.0x.b-c?x#/y")},
};
const size_t certs_seeds_num = sizeof certs_seeds / sizeof certs_seeds[0];

// A leaf below an intermediate, each after its length.
static bool chain_seed(enum certs_fuzz_key kind, uint8_t **out, size_t *out_len)
{
    struct mint_ca middle;
    bad_ca_init(&middle, certs_fuzz_ca(kind),
                &(struct bad_ca){.key = certs_fuzz_key_new(kind, 2),
                                 .uri = "spiffe://prod.example",
                                 .uses = MINT_USE_CERT_SIGN,
                                 .not_before = NOW - DAY,
                                 .not_after = NOW + DAY});
    EVP_PKEY *key = certs_fuzz_key_new(kind, 3);
    X509 *certs[] = {bad_leaf_new(&middle, key, CERTS_FUZZ_ID_TEXT, NOW, &(struct bad_leaf){0}),
                     middle.cert};
    CBB cbb, child;
    bool ok = CBB_init(&cbb, 2048) == 1;
    uint8_t *bytes = NULL;
    for (size_t i = 0; ok && i < 2; i++) {
        uint8_t *der = NULL;
        size_t len = 0;
        ok = mint_cert_der(&der, &len, certs[i]) &&
             CBB_add_u16_length_prefixed(&cbb, &child) == 1 && CBB_add_bytes(&child, der, len) == 1;
        free(der);
    }
    ok = ok && CBB_finish(&cbb, &bytes, out_len) == 1;
    *out = ok ? malloc(*out_len) : NULL;
    if (*out != NULL) {
        memcpy(*out, bytes, *out_len);
    }
    OPENSSL_free(bytes);
    X509_free(certs[0]);
    EVP_PKEY_free(key);
    mint_ca_cleanup(&middle);
    return *out != NULL;
}

static bool csr_seed(enum certs_fuzz_key kind, uint8_t **out, size_t *out_len)
{
    EVP_PKEY *key = certs_fuzz_key_new(kind, 4);
    X509_REQ *csr = X509_REQ_new();
    bool ok = csr != NULL && X509_REQ_set_pubkey(csr, key) == 1 &&
              X509_REQ_sign(csr, key, mint_digest_of(key)) > 0 && mint_csr_der(out, out_len, csr);
    X509_REQ_free(csr);
    EVP_PKEY_free(key);
    return ok;
}

static bool text_seed(char *text, uint8_t **out, size_t *out_len)
{
    *out = (uint8_t *)text;
    *out_len = text == NULL ? 0 : strlen(text);
    return text != NULL;
}

static bool body_of(const struct certs_seed *seed, X509_CRL *crl, uint8_t **out, size_t *out_len)
{
    const struct mint_ca *ca = certs_fuzz_ca(seed->key);
    switch (seed->kind) {
    case CERTS_FUZZ_PEM_CERT:
        return text_seed(mint_cert_pem(ca->cert), out, out_len);
    case CERTS_FUZZ_PEM_CRL:
        return text_seed(mint_crl_pem(crl), out, out_len);
    case CERTS_FUZZ_KEY_PEM:
        return text_seed(mint_key_pem(ca->key), out, out_len);
    case CERTS_FUZZ_ROOT:
        return mint_cert_der(out, out_len, ca->cert);
    case CERTS_FUZZ_CRL:
        return mint_crl_der(out, out_len, crl);
    case CERTS_FUZZ_CHAIN:
        return chain_seed(seed->key, out, out_len);
    case CERTS_FUZZ_CSR:
        return csr_seed(seed->key, out, out_len);
    case CERTS_FUZZ_ID:
    case CERTS_FUZZ_RULES:
    case CERTS_FUZZ_URI:
        *out_len = seed->text_len;
        *out = malloc(seed->text_len);
        return *out != NULL && memcpy(*out, seed->text, seed->text_len) != NULL;
    case CERTS_FUZZ_KINDS:
        break;
    }
    return false;
}

bool certs_seed_make(const struct certs_seed *seed, uint8_t **out, size_t *out_len)
{
    const struct mint_ca *ca = certs_fuzz_ca(seed->key);
    const struct mint_revoked revoked = {X509_get0_serialNumber(ca->cert), NOW - DAY};
    X509_CRL *crl = mint_crl_new(ca, &revoked, 1, 1, NOW - DAY, NOW + DAY, NULL);
    uint8_t *body = NULL;
    size_t len = 0;
    *out = NULL;
    if (crl != NULL && body_of(seed, crl, &body, &len)) {
        *out = malloc(len + 1);
    }
    if (*out != NULL) {
        (*out)[0] = (uint8_t)seed->kind;
        memcpy(*out + 1, body, len);
        *out_len = len + 1;
    }
    free(body);
    X509_CRL_free(crl);
    return *out != NULL;
}
