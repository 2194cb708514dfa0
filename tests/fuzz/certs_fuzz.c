// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/certs_fuzz.h"

#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pool.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "certs/bundle.h"
#include "certs/cert.h"
#include "certs/chain.h"
#include "certs/der_list.h"
#include "certs/identity.h"
#include "certs/key.h"
#include "certs/ca/mint.h"
#include "certs/ca/mint_ext.h"
#include "certs/path/uri_limits.h"
#include "certs/path/verify.h"
#include "tests/support/any_cert.h"
#include "tests/support/bad_cert.h"

#define NOW    CERTS_FUZZ_NOW
#define DAY    86400
#define DOMAIN "prod.example"
#define ID     CERTS_FUZZ_ID_TEXT

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct mint_ca cas[CERTS_FUZZ_KEYS];
static ProtobufCBinaryData roots[CERTS_FUZZ_KEYS]; // the CAs' certificates
static struct trust_bundles *bundles;

EVP_PKEY *certs_fuzz_key_new(enum certs_fuzz_key kind, uint8_t fill)
{
    uint8_t seed[32];
    EVP_PKEY *key = NULL;
    memset(seed, fill, sizeof seed);
    switch (kind) {
    case CERTS_FUZZ_ED25519:
        key = EVP_PKEY_from_raw_private_key(EVP_pkey_ed25519(), seed, sizeof seed);
        break;
    case CERTS_FUZZ_ML_DSA_44:
        key = EVP_PKEY_from_private_seed(EVP_pkey_ml_dsa_44(), seed, sizeof seed);
        break;
    case CERTS_FUZZ_ML_DSA_65:
        key = EVP_PKEY_from_private_seed(EVP_pkey_ml_dsa_65(), seed, sizeof seed);
        break;
    case CERTS_FUZZ_KEYS:
        break;
    }
    invariant(key != NULL);
    return key;
}

static Tabard__V1__TrustBundle bundle_of(ProtobufCBinaryData *list, size_t num,
                                         ProtobufCBinaryData *crl)
{
    Tabard__V1__TrustBundle bundle;
    tabard__v1__trust_bundle__init(&bundle);
    bundle.trust_domain = (char *)DOMAIN;
    bundle.n_roots = num;
    bundle.roots = list;
    bundle.n_crls = crl == NULL ? 0 : 1;
    bundle.crls = crl;
    return bundle;
}

static void set_up(void)
{
    for (enum certs_fuzz_key kind = 0; kind < CERTS_FUZZ_KEYS; kind++) {
        bad_ca_init(&cas[kind], NULL,
                    &(struct bad_ca){.key = certs_fuzz_key_new(kind, 1),
                                     .uri = "spiffe://" DOMAIN,
                                     .uses = MINT_USE_CERT_SIGN | MINT_USE_CRL_SIGN,
                                     .not_before = NOW - DAY,
                                     .not_after = NOW + DAY});
        invariant(mint_cert_der(&roots[kind].data, &roots[kind].len, cas[kind].cert));
    }
    Tabard__V1__TrustBundle bundle = bundle_of(roots, CERTS_FUZZ_KEYS, NULL);
    Tabard__V1__TrustBundle *list[] = {&bundle};
    bundles = trust_bundles_new(list, 1, NOW, NULL);
    invariant(bundles != NULL);
}

const struct mint_ca *certs_fuzz_ca(enum certs_fuzz_key kind)
{
    pthread_once(&once, set_up);
    return &cas[kind];
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

static bool run_key(const uint8_t *data, size_t len)
{
    struct err err = {0};
    EVP_PKEY *key = key_pem_read((const char *)data, len, &err);
    invariant(key != NULL ? key_check(key, NULL) : err.text[0] != '\0');
    invariant(ERR_peek_error() == 0);
    EVP_PKEY_free(key);
    return key != NULL;
}

static bool run_bundle(ProtobufCBinaryData *root, size_t num, ProtobufCBinaryData *crl)
{
    Tabard__V1__TrustBundle bundle = bundle_of(root, num, crl);
    Tabard__V1__TrustBundle *list[] = {&bundle};
    struct err err = {0};
    struct trust_bundles *read = trust_bundles_new(list, 1, NOW, &err);
    char issuer[TRUST_ISSUER_TEXT];
    invariant(read != NULL || err.text[0] != '\0');
    // A CRL of nobody who is known yet is kept; it isn't a root's.
    bool ok =
        read != NULL &&
        trust_bundle_unproved(trust_bundles_find(read, DOMAIN, strlen(DOMAIN)), 0, issuer) == NULL;
    trust_bundles_free(read);
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
    EVP_PKEY *key = certs_fuzz_key_new(CERTS_FUZZ_ED25519, 2);
    const struct mint_ca *ca = &cas[CERTS_FUZZ_ED25519];
    char root[CERT_NAME_TEXT_MAX];
    X509_NAME_get_text_by_NID(X509_get_subject_name(ca->cert), NID_commonName, root, sizeof root);
    struct any_cert any = {.subject = "I",
                           .issuer = root,
                           .key = key,
                           .signer = ca->key,
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

static STACK_OF(GENERAL_SUBTREE) * limits_of(const CBS *text)
{
    STACK_OF(GENERAL_SUBTREE) *limits = sk_GENERAL_SUBTREE_new_null();
    GENERAL_SUBTREE *limit = GENERAL_SUBTREE_new();
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    invariant(limits != NULL && limit != NULL && value != NULL);
    invariant(ASN1_STRING_set(value, CBS_data(text), (int)CBS_len(text)) == 1);
    GENERAL_NAME_set0_value(limit->base, GEN_URI, value);
    invariant(sk_GENERAL_SUBTREE_push(limits, limit) != 0);
    return limits;
}

// Whether a trust domain lies in a constraint that can be compared: the same question, asked of
// other code.
static bool lies_in(const struct spiffe_id *id, const CBS *limit)
{
    char *host = strndup(id->domain, id->domain_len);
    char *wanted = strndup((const char *)CBS_data(limit), CBS_len(limit));
    invariant(host != NULL && wanted != NULL);
    size_t len = strlen(wanted);
    bool lies = strcasecmp(host, wanted) == 0;
    if (wanted[0] == '.') {
        lies = id->domain_len > len && strcasecmp(host + id->domain_len - len, wanted) == 0;
    }
    free(host);
    free(wanted);
    return lies;
}

static bool has_empty_label(const struct spiffe_id *id)
{
    bool is_start = true; // of a label
    for (size_t i = 0; i < id->domain_len; i++) {
        if (is_start && id->domain[i] == '.') {
            return true;
        }
        is_start = id->domain[i] == '.';
    }
    return is_start;
}

// A constraint after its length in a byte, then a URI. One that is permitted alone is refused where
// it alone is excluded, and what can't be compared is refused in both cases.
static bool run_uri(const uint8_t *data, size_t len)
{
    CBS in, text;
    CBS_init(&in, data, len);
    if (!CBS_get_u8_length_prefixed(&in, &text)) {
        return false;
    }
    struct err err = {0};
    STACK_OF(GENERAL_SUBTREE) *limits = limits_of(&text);
    ASN1_IA5STRING *uri = ASN1_IA5STRING_new();
    invariant(uri != NULL && ASN1_STRING_set(uri, CBS_data(&in), (int)CBS_len(&in)) == 1);
    bool ok = uri_limit_check(sk_GENERAL_SUBTREE_value(limits, 0), &err);
    invariant(ok || err.text[0] != '\0');
    if (ok) {
        struct spiffe_id id;
        bool is_id = spiffe_id_parse(&id, (const char *)CBS_data(&in), CBS_len(&in), NULL);
        bool can_compare = is_id && !has_empty_label(&id);
        bool is_in = uri_limits_allow(limits, NULL, uri, &err);
        bool is_out = uri_limits_allow(NULL, limits, uri, &err);
        invariant(!is_in || !is_out);
        invariant(!is_id || can_compare == (is_in || is_out));
        invariant(!can_compare || is_in == lies_in(&id, &text));
        invariant(!uri_limits_allow(limits, limits, uri, &err) && err.text[0] != '\0');
        ok = is_in;
    }
    ASN1_IA5STRING_free(uri);
    sk_GENERAL_SUBTREE_pop_free(limits, GENERAL_SUBTREE_free);
    return ok;
}

static bool run_kind(enum certs_fuzz_kind kind, const uint8_t *data, size_t len)
{
    ProtobufCBinaryData bytes = {.data = (uint8_t *)data, .len = len};
    switch (kind) {
    case CERTS_FUZZ_ID:
        return run_id(data, len);
    case CERTS_FUZZ_PEM_CERT:
        return run_pem("CERTIFICATE", data, len);
    case CERTS_FUZZ_PEM_CRL:
        return run_pem("X509 CRL", data, len);
    case CERTS_FUZZ_ROOT:
        return run_bundle(&bytes, 1, NULL);
    case CERTS_FUZZ_CRL:
        return run_bundle(roots, CERTS_FUZZ_KEYS, &bytes);
    case CERTS_FUZZ_CHAIN:
        return run_chain(data, len);
    case CERTS_FUZZ_CSR:
        return run_csr(data, len);
    case CERTS_FUZZ_RULES:
        return run_rules(data, len);
    case CERTS_FUZZ_KEY_PEM:
        return run_key(data, len);
    case CERTS_FUZZ_URI:
        return run_uri(data, len);
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
