// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/certs_fuzz.h"

#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pool.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "certs/bundle.h"
#include "certs/cert.h"
#include "certs/chain.h"
#include "certs/der_list.h"
#include "certs/identity.h"
#include "certs/ca/mint.h"
#include "certs/ca/mint_ext.h"
#include "certs/path/verify.h"
#include "tests/support/any_cert.h"
#include "tests/support/bad_cert.h"

#define NOW    ((time_t)1900000000)
#define DAY    86400
#define DOMAIN "prod.example"
#define ID     "spiffe://prod.example/ns/shop/sa/web"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct mint_ca ca;
static struct trust_bundles *bundles;

// Ed25519 from a fixed seed: key and signatures are the same in every run.
static EVP_PKEY *fixed_key(uint8_t fill)
{
    uint8_t seed[32];
    memset(seed, fill, sizeof seed);
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, sizeof seed);
    invariant(key != NULL);
    return key;
}

static Tabard__V1__TrustBundle bundle_of(ProtobufCBinaryData *root, ProtobufCBinaryData *crl)
{
    Tabard__V1__TrustBundle bundle;
    tabard__v1__trust_bundle__init(&bundle);
    bundle.trust_domain = (char *)DOMAIN;
    bundle.n_roots = 1;
    bundle.roots = root;
    bundle.n_crls = crl == NULL ? 0 : 1;
    bundle.crls = crl;
    return bundle;
}

static void set_up(void)
{
    bad_ca_init(&ca, NULL,
                &(struct bad_ca){.key = fixed_key(1),
                                 .uri = "spiffe://" DOMAIN,
                                 .uses = MINT_USE_CERT_SIGN | MINT_USE_CRL_SIGN,
                                 .not_before = NOW - DAY,
                                 .not_after = NOW + DAY});
    ProtobufCBinaryData root;
    invariant(mint_cert_der(&root.data, &root.len, ca.cert));
    Tabard__V1__TrustBundle bundle = bundle_of(&root, NULL);
    Tabard__V1__TrustBundle *list[] = {&bundle};
    bundles = trust_bundles_new(list, 1, NOW, NULL);
    invariant(bundles != NULL);
    free(root.data);
}

static bool run_id(const uint8_t *data, size_t len)
{
    struct spiffe_id id;
    struct spiffe_pattern pattern;
    const char *text = (const char *)data;
    bool is_id = spiffe_id_parse(&id, text, len, NULL);
    bool is_pattern = spiffe_pattern_parse(&pattern, text, len, NULL);
    // Every id is a pattern, and the id of a workload matches itself.
    invariant(!is_id || is_pattern);
    invariant(!is_id || id.path_len == 0 || spiffe_pattern_matches(&pattern, &id));
    invariant(!is_id || spiffe_trust_domain_check(id.domain, id.domain_len, NULL));
    return is_id;
}

static bool run_pem(const char *label, const uint8_t *data, size_t len)
{
    struct der_list list;
    bool ok = der_list_from_pem(&list, label, (const char *)data, len, 8, "fuzz", NULL);
    invariant(ok == (list.num > 0));
    der_list_cleanup(&list);
    return ok;
}

static bool run_bundle(ProtobufCBinaryData *root, ProtobufCBinaryData *crl)
{
    Tabard__V1__TrustBundle bundle = bundle_of(root, crl);
    Tabard__V1__TrustBundle *list[] = {&bundle};
    struct err err = {0};
    struct trust_bundles *read = trust_bundles_new(list, 1, NOW, &err);
    char issuer[TRUST_ISSUER_TEXT];
    invariant(read != NULL || err.text[0] != '\0');
    // A CRL of nobody who is known yet is kept; it isn't the root's.
    bool ok =
        read != NULL &&
        trust_bundle_unproved(trust_bundles_find(read, DOMAIN, strlen(DOMAIN)), 0, issuer) == NULL;
    trust_bundles_free(read);
    return ok;
}

static bool run_crl(const uint8_t *data, size_t len)
{
    ProtobufCBinaryData root;
    ProtobufCBinaryData crl = {.data = (uint8_t *)data, .len = len};
    invariant(mint_cert_der(&root.data, &root.len, ca.cert));
    bool ok = run_bundle(&root, &crl);
    free(root.data);
    return ok;
}

// Verifies a chain, and holds what is said of it to be true.
static bool verify(const struct chain *chain)
{
    struct verified_peer peer;
    struct err err = {0};
    enum verify_failure failure = verify_peer(&peer, chain->certs, chain->num, bundles, NOW, &err);
    if (failure == VERIFY_OK) {
        struct spiffe_id id;
        invariant(spiffe_workload_parse(&id, peer.id, peer.id_len, NULL));
        invariant(id.domain_len == strlen(DOMAIN) && memcmp(id.domain, DOMAIN, id.domain_len) == 0);
    } else {
        invariant(err.text[0] != '\0');
    }
    invariant(ERR_peek_error() == 0);
    return failure == VERIFY_OK;
}

static bool run_chain(const uint8_t *data, size_t len)
{
    struct chain chain = {.num = 0};
    CBS in, cert;
    CBS_init(&in, data, len);
    while (chain.num <= CHAIN_CERTS_MAX && CBS_get_u16_length_prefixed(&in, &cert)) {
        CRYPTO_BUFFER *buffer = CRYPTO_BUFFER_new(CBS_data(&cert), CBS_len(&cert), NULL);
        invariant(buffer != NULL);
        chain.certs[chain.num++] = buffer;
    }
    bool ok = verify(&chain);
    chain_cleanup(&chain);
    return ok;
}

// The extensions that the rules of a path read. An input is a list of them: a number of this list
// (with 0x80 for the leaf's, else the intermediate's), then the value after its length in a byte.
static const char *const rule_oids[] = {
    "2.5.29.17", // subjectAltName
    "2.5.29.30", // nameConstraints
    "2.5.29.32", // certificatePolicies
    "2.5.29.33", // policyMappings
    "2.5.29.35", // authorityKeyIdentifier
    "2.5.29.36", // policyConstraints
    "2.5.29.37", // extendedKeyUsage
    "2.5.29.54", // inhibitAnyPolicy
};
#define NUM_RULE_OIDS (sizeof rule_oids / sizeof rule_oids[0])
#define RULES_MAX     4 // of one certificate

static X509 *made_of(struct any_cert *any, CBS in, bool is_leaf)
{
    char hex[RULES_MAX][2 * UINT8_MAX + 1];
    size_t num = 0;
    uint8_t number;
    CBS value;
    while (num < RULES_MAX && CBS_get_u8(&in, &number) && CBS_get_u8_length_prefixed(&in, &value)) {
        if (((number & 0x80) != 0) != is_leaf) {
            continue;
        }
        hex[num][0] = '\0';
        for (size_t i = 0; i < CBS_len(&value); i++) {
            snprintf(hex[num] + 2 * i, 3, "%02x", CBS_data(&value)[i]);
        }
        any->extensions[num] = (struct any_extension){rule_oids[(number & 0x7f) % NUM_RULE_OIDS],
                                                      hex[num], (number & 1) != 0};
        num++;
    }
    return any_cert_new(any);
}

static bool run_rules(const uint8_t *data, size_t len)
{
    CBS in;
    CBS_init(&in, data, len);
    EVP_PKEY *key = fixed_key(2);
    char root[CERT_NAME_TEXT_MAX];
    X509_NAME_get_text_by_NID(X509_get_subject_name(ca.cert), NID_commonName, root, sizeof root);
    struct any_cert any = {.subject = "I",
                           .issuer = root,
                           .key = key,
                           .signer = ca.key,
                           .not_before = NOW - DAY,
                           .not_after = NOW + DAY};
    X509 *middle = made_of(&any, in, false);
    any = (struct any_cert){.subject = "web",
                            .issuer = "I",
                            .key = key,
                            .signer = key,
                            .spiffe_id = ID,
                            .not_before = NOW - DAY,
                            .not_after = NOW + DAY};
    X509 *leaf = made_of(&any, in, true);
    X509 *certs[] = {leaf, middle};
    struct chain chain = {.num = 0};
    for (size_t i = 0; i < 2; i++) {
        uint8_t *der = NULL;
        size_t der_len = 0;
        invariant(mint_cert_der(&der, &der_len, certs[i]));
        chain.certs[chain.num++] = CRYPTO_BUFFER_new(der, der_len, NULL);
        free(der);
        X509_free(certs[i]);
    }
    bool ok = verify(&chain);
    chain_cleanup(&chain);
    EVP_PKEY_free(key);
    return ok;
}

static bool run_csr(const uint8_t *data, size_t len)
{
    const uint8_t *end = data;
    const struct mint_leaf leaf = {.spiffe_id = ID};
    X509_REQ *csr = d2i_X509_REQ(NULL, &end, (long)len);
    EVP_PKEY *key = NULL;
    bool ok = csr != NULL && mint_csr_check(&key, csr, &leaf, NULL);
    EVP_PKEY_free(key);
    X509_REQ_free(csr);
    ERR_clear_error();
    return ok;
}

static bool run_kind(enum certs_fuzz_kind kind, const uint8_t *data, size_t len)
{
    ProtobufCBinaryData root = {.data = (uint8_t *)data, .len = len};
    switch (kind) {
    case CERTS_FUZZ_ID:
        return run_id(data, len);
    case CERTS_FUZZ_PEM_CERT:
        return run_pem("CERTIFICATE", data, len);
    case CERTS_FUZZ_PEM_CRL:
        return run_pem("X509 CRL", data, len);
    case CERTS_FUZZ_ROOT:
        return run_bundle(&root, NULL);
    case CERTS_FUZZ_CRL:
        return run_crl(data, len);
    case CERTS_FUZZ_CHAIN:
        return run_chain(data, len);
    case CERTS_FUZZ_CSR:
        return run_csr(data, len);
    case CERTS_FUZZ_RULES:
        return run_rules(data, len);
    case CERTS_FUZZ_KINDS:
        break;
    }
    return false;
}

enum certs_fuzz_result certs_fuzz_run(const uint8_t *data, size_t len)
{
    pthread_once(&once, set_up);
    if (len == 0 || data[0] >= CERTS_FUZZ_KINDS) {
        return CERTS_FUZZ_REFUSED;
    }
    return run_kind((enum certs_fuzz_kind)data[0], data + 1, len - 1) ? CERTS_FUZZ_TAKEN
                                                                      : CERTS_FUZZ_REFUSED;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    certs_fuzz_run(data, len);
    return 0;
}

// A leaf below an intermediate, each after its length.
static bool chain_seed(uint8_t **out, size_t *out_len)
{
    struct mint_ca middle;
    bad_ca_init(&middle, &ca,
                &(struct bad_ca){.key = fixed_key(2),
                                 .uri = "spiffe://" DOMAIN,
                                 .uses = MINT_USE_CERT_SIGN,
                                 .not_before = NOW - DAY,
                                 .not_after = NOW + DAY});
    EVP_PKEY *key = fixed_key(3);
    X509 *certs[] = {bad_leaf_new(&middle, key, ID, NOW, &(struct bad_leaf){0}), middle.cert};
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

static bool csr_seed(uint8_t **out, size_t *out_len)
{
    EVP_PKEY *key = fixed_key(4);
    X509_REQ *csr = X509_REQ_new();
    uint8_t *der = NULL;
    bool ok = csr != NULL && X509_REQ_set_pubkey(csr, key) == 1 &&
              X509_REQ_sign(csr, key, mint_digest_of(key)) > 0;
    int len = ok ? i2d_X509_REQ(csr, &der) : 0;
    *out = len > 0 ? malloc((size_t)len) : NULL;
    if (*out != NULL) {
        memcpy(*out, der, (size_t)len);
        *out_len = (size_t)len;
    }
    OPENSSL_free(der);
    X509_REQ_free(csr);
    EVP_PKEY_free(key);
    return *out != NULL;
}

static bool text_seed(char *text, uint8_t **out, size_t *out_len)
{
    *out = (uint8_t *)text;
    *out_len = text == NULL ? 0 : strlen(text);
    return text != NULL;
}

// The intermediate requires a policy, which the leaf has, and permits the trust domain's URIs and a
// range of addresses.
static const char rules_seed[] = "\5\5\x30\x03\x80\x01\x00"              // policyConstraints
                                 "\2\10\x30\x06\x30\x04\x06\x02\x2a\x03" // certificatePolicies
                                 "\1\40\x30\x1e\xa0\x1c"                 // nameConstraints
                                 "\x30\x0e\x86\x0cprod.example"
                                 "\x30\x0a\x87\x08\12\0\0\0\xff\0\0\0"
                                 "\x82\10\x30\x06\x30\x04\x06\x02\x2a\x03"; // the leaf's policies

static bool body_of(enum certs_fuzz_kind kind, X509_CRL *crl, uint8_t **out, size_t *out_len)
{
    switch (kind) {
    case CERTS_FUZZ_ID:
        return text_seed(strdup(ID), out, out_len);
    case CERTS_FUZZ_PEM_CERT:
        return text_seed(mint_cert_pem(ca.cert), out, out_len);
    case CERTS_FUZZ_PEM_CRL:
        return text_seed(mint_crl_pem(crl), out, out_len);
    case CERTS_FUZZ_ROOT:
        return mint_cert_der(out, out_len, ca.cert);
    case CERTS_FUZZ_CRL:
        return mint_crl_der(out, out_len, crl);
    case CERTS_FUZZ_CHAIN:
        return chain_seed(out, out_len);
    case CERTS_FUZZ_CSR:
        return csr_seed(out, out_len);
    case CERTS_FUZZ_RULES:
        *out_len = sizeof rules_seed;
        *out = malloc(sizeof rules_seed);
        return *out != NULL && memcpy(*out, rules_seed, sizeof rules_seed) != NULL;
    case CERTS_FUZZ_KINDS:
        break;
    }
    return false;
}

bool certs_fuzz_seed(enum certs_fuzz_kind kind, uint8_t **out, size_t *out_len)
{
    pthread_once(&once, set_up);
    const struct mint_revoked revoked = {X509_get0_serialNumber(ca.cert), NOW - DAY};
    X509_CRL *crl = mint_crl_new(&ca, &revoked, 1, 1, NOW - DAY, NOW + DAY, NULL);
    uint8_t *body = NULL;
    size_t len = 0;
    *out = NULL;
    if (crl != NULL && body_of(kind, crl, &body, &len)) {
        *out = malloc(len + 1);
    }
    if (*out != NULL) {
        (*out)[0] = (uint8_t)kind;
        memcpy(*out + 1, body, len);
        *out_len = len + 1;
    }
    free(body);
    X509_CRL_free(crl);
    return *out != NULL;
}
