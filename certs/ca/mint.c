// SPDX-License-Identifier: Apache-2.0
#include "certs/ca/mint.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/secret/secret.h"
#include "certs/cert.h"
#include "certs/identity.h"
#include "certs/key.h"
#include "certs/ca/mint_ext.h"

#define DNS_NAME_LEN_MAX    253
#define DNS_LABEL_LEN_MAX   63
#define COMMON_NAME_LEN_MAX 64 // RFC 5280, ub-common-name
#define SERIAL_LEN          16

// Each kind of key, by its number.
static const struct {
    const char *name;
    const EVP_PKEY_ALG *(*algorithm)(void);
} kinds[] = {
    [MINT_KEY_P256] = {"p256", EVP_pkey_ec_p256},
    [MINT_KEY_ED25519] = {"ed25519", EVP_pkey_ed25519},
    [MINT_KEY_ML_DSA_44] = {"ml-dsa-44", EVP_pkey_ml_dsa_44},
    [MINT_KEY_ML_DSA_65] = {"ml-dsa-65", EVP_pkey_ml_dsa_65},
};
#define NUM_KINDS (sizeof kinds / sizeof kinds[0])

bool mint_key_kind_parse(enum mint_key_kind *out, const char *text, struct err *err)
{
    for (size_t i = 0; i < NUM_KINDS; i++) {
        if (strcmp(text, kinds[i].name) == 0) {
            *out = (enum mint_key_kind)i;
            return true;
        }
    }
    return err_set(err, "\"%s\" is not a kind of key (" MINT_KEY_KINDS ")", text);
}

EVP_PKEY *mint_key_new(enum mint_key_kind kind, struct err *err)
{
    secret_begin();
    EVP_PKEY *key = EVP_PKEY_generate_from_alg(kinds[kind].algorithm());
    secret_end();
    if (key == NULL) {
        ERR_clear_error();
        err_set(err, "no private key could be made");
    }
    return key;
}

static bool set_time(ASN1_TIME *time, time_t at)
{
    return time != NULL && ASN1_TIME_set(time, at) != NULL;
}

// 126 random bits below a fixed 01, so that a serial is positive and always has 16 bytes (RFC 5280,
// section 4.1.2.2; CA/B Forum asks for 64 random bits).
static bool set_serial(X509 *cert)
{
    uint8_t bytes[SERIAL_LEN];
    RAND_bytes(bytes, sizeof bytes);
    bytes[0] = (uint8_t)((bytes[0] & 0x3f) | 0x40);
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    ASN1_INTEGER *serial = number == NULL ? NULL : BN_to_ASN1_INTEGER(number, NULL);
    bool ok = serial != NULL && X509_set_serialNumber(cert, serial) == 1;
    ASN1_INTEGER_free(serial);
    BN_free(number);
    return ok;
}

static bool add_name_entry(X509_NAME *name, const char *field, const char *value)
{
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const uint8_t *)value, -1, -1,
                                      0) == 1;
}

// A CA's name holds its serial number, so that a renewed CA of the same trust domain has another
// name.
static bool set_ca_name(X509 *cert, const char *trust_domain)
{
    char serial[MINT_SERIAL_TEXT_MAX];
    X509_NAME *name = X509_NAME_new();
    bool ok =
        name != NULL && add_name_entry(name, "O", "Tabard") &&
        (strlen(trust_domain) > COMMON_NAME_LEN_MAX || add_name_entry(name, "CN", trust_domain)) &&
        add_name_entry(name, "serialNumber",
                       mint_serial_text(X509_get0_serialNumber(cert), serial)) &&
        X509_set_subject_name(cert, name) == 1;
    X509_NAME_free(name);
    return ok;
}

// A certificate with all but its names, extensions and signature.
static X509 *cert_new(EVP_PKEY *key, time_t not_before, time_t not_after)
{
    X509 *cert = X509_new();
    if (cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
        set_time(X509_getm_notBefore(cert), not_before) &&
        set_time(X509_getm_notAfter(cert), not_after) && X509_set_pubkey(cert, key) == 1) {
        return cert;
    }
    X509_free(cert);
    return NULL;
}

bool mint_sign_cert(X509 *cert, EVP_PKEY *key)
{
    secret_begin();
    bool ok = X509_sign(cert, key, mint_digest_of(key)) > 0;
    secret_end();
    ERR_clear_error();
    return ok;
}

// The certificate as a reader sees it: re-parsed, so that nothing that was set by hand stays cached
// in it.
static X509 *reparsed(X509 *cert)
{
    uint8_t *der = NULL;
    size_t len = 0;
    if (!mint_cert_der(&der, &len, cert)) {
        return NULL;
    }
    const uint8_t *end = der;
    X509 *again = d2i_X509(NULL, &end, (long)len);
    free(der);
    return again;
}

static bool check_times(time_t not_before, time_t not_after, const struct mint_ca *ca,
                        struct err *err)
{
    if (not_after <= not_before) {
        return err_set(err, "it would end before it begins");
    }
    if (ca == NULL) {
        return true;
    }
    time_t ca_ends = 0;
    if (!cert_time_read(&ca_ends, X509_get0_notAfter(ca->cert))) {
        return err_set(err, "the CA's notAfter is not a time");
    }
    if (not_after > ca_ends) {
        return err_set(err, "it would outlive its CA by %lld seconds; give it a shorter life",
                       (long long)(not_after - ca_ends));
    }
    return true;
}

static bool ca_init(struct mint_ca *out, const struct mint_ca *parent, enum mint_key_kind kind,
                    const char *trust_domain, time_t now, time_t not_after, struct err *err)
{
    *out = (struct mint_ca){0};
    char id[SPIFFE_TRUST_DOMAIN_LEN_MAX + 16];
    time_t not_before = now - MINT_BACKDATE_SECONDS;
    X509 *cert = NULL;
    if (!spiffe_trust_domain_check(trust_domain, strlen(trust_domain), err) ||
        !check_times(not_before, not_after, parent, err)) {
        goto out;
    }
    snprintf(id, sizeof id, "spiffe://%s", trust_domain);
    const struct mint_leaf names = {.spiffe_id = id};
    out->key = mint_key_new(kind, err);
    if (out->key == NULL) {
        goto out;
    }
    cert = cert_new(out->key, not_before, not_after);
    const X509 *issuer = parent == NULL ? cert : parent->cert;
    EVP_PKEY *issuer_key = parent == NULL ? out->key : parent->key;
    if (cert != NULL && set_ca_name(cert, trust_domain) &&
        X509_set_issuer_name(cert, X509_get_subject_name(issuer)) == 1 &&
        mint_add_basic_constraints(cert, true, parent == NULL ? -1 : 0) &&
        mint_add_key_usage(cert, MINT_USE_CERT_SIGN | MINT_USE_CRL_SIGN) &&
        mint_add_names(cert, &names, false) && mint_add_key_ids(cert, issuer) &&
        mint_sign_cert(cert, issuer_key)) {
        out->cert = reparsed(cert);
    }
    if (out->cert == NULL) {
        err_set(err, "the CA certificate could not be made");
    }
out:
    X509_free(cert);
    ERR_clear_error();
    if (out->cert == NULL) {
        mint_ca_cleanup(out);
        return false;
    }
    return true;
}

bool mint_root_init(struct mint_ca *out, enum mint_key_kind kind, const char *trust_domain,
                    time_t now, time_t not_after, struct err *err)
{
    return ca_init(out, NULL, kind, trust_domain, now, not_after, err);
}

bool mint_intermediate_init(struct mint_ca *out, const struct mint_ca *parent,
                            enum mint_key_kind kind, time_t now, time_t not_after, struct err *err)
{
    *out = (struct mint_ca){0};
    char *trust_domain = mint_ca_trust_domain(parent->cert, err);
    bool ok = trust_domain != NULL && ca_init(out, parent, kind, trust_domain, now, not_after, err);
    free(trust_domain);
    return ok;
}

void mint_ca_cleanup(struct mint_ca *ca)
{
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
    *ca = (struct mint_ca){0};
}

char *mint_ca_trust_domain(const X509 *ca_cert, struct err *err)
{
    struct cert_uris uris;
    char *out = NULL;
    cert_uris_read(&uris, ca_cert); // one that can't be read names none
    for (size_t i = 0; out == NULL && i < uris.num; i++) {
        struct spiffe_id id;
        size_t len = 0;
        const char *text = cert_uri(&uris, i, &len);
        if (spiffe_id_parse(&id, text, len, NULL) && id.path_len == 0) {
            out = must_have(strndup(id.domain, id.domain_len));
        }
    }
    cert_uris_cleanup(&uris);
    if (out == NULL) {
        err_set(err, "the CA's certificate names no trust domain (a URI subjectAltName like "
                     "spiffe://prod.example)");
    }
    return out;
}

static bool check_dns_name(const char *name, struct err *err)
{
    size_t len = strlen(name);
    size_t label_len = 0;
    bool ok = len > 0 && len <= DNS_NAME_LEN_MAX;
    for (size_t i = 0; ok && i <= len; i++) {
        char c = name[i];
        if (c == '.' || c == '\0') {
            ok = label_len > 0 && label_len <= DNS_LABEL_LEN_MAX && name[i - 1] != '-' &&
                 name[i - label_len] != '-';
            label_len = 0;
        } else {
            ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                 c == '-' || c == '_';
            label_len++;
        }
    }
    return ok || err_set(err, "\"%.100s\" is not a DNS name", name);
}

static bool check_leaf(const struct mint_ca *ca, EVP_PKEY *key, const struct mint_leaf *leaf,
                       struct err *err)
{
    struct spiffe_id id;
    if (!spiffe_workload_parse(&id, leaf->spiffe_id, strlen(leaf->spiffe_id), err)) {
        return err_prefix(err, "\"%.300s\"", leaf->spiffe_id);
    }
    char *trust_domain = mint_ca_trust_domain(ca->cert, err);
    if (trust_domain == NULL) {
        return false;
    }
    bool ok = true;
    if (strlen(trust_domain) != id.domain_len ||
        memcmp(trust_domain, id.domain, id.domain_len) != 0) {
        ok = err_set(err,
                     "\"%.300s\" is of the trust domain %.*s, but this CA signs only for %s: "
                     "spiffe://%s%.*s",
                     leaf->spiffe_id, (int)id.domain_len, id.domain, trust_domain, trust_domain,
                     (int)id.path_len, id.path);
    }
    free(trust_domain);
    if (ok && leaf->num_dns_names > MINT_DNS_NAMES_MAX) {
        ok = err_set(err, "%zu DNS names, more than %d", leaf->num_dns_names, MINT_DNS_NAMES_MAX);
    }
    for (size_t i = 0; ok && i < leaf->num_dns_names; i++) {
        ok = check_dns_name(leaf->dns_names[i], err);
    }
    return ok && key_check(key, err) && check_times(leaf->not_before, leaf->not_after, ca, err);
}

X509 *mint_leaf_new(const struct mint_ca *ca, EVP_PKEY *key, const struct mint_leaf *leaf,
                    struct err *err)
{
    if (!check_leaf(ca, key, leaf, err)) {
        return NULL;
    }
    X509 *out = NULL;
    X509 *cert = cert_new(key, leaf->not_before, leaf->not_after);
    // The subject is empty, as RFC 5280 allows when the subjectAltName is critical: the SPIFFE id
    // is the only identity, so there is no second name to be mistaken for it.
    if (cert != NULL && X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) == 1 &&
        mint_add_basic_constraints(cert, false, -1) &&
        mint_add_key_usage(cert, MINT_USE_DIGITAL_SIGNATURE) && mint_add_ext_key_usage(cert) &&
        mint_add_names(cert, leaf, true) && mint_add_key_ids(cert, ca->cert) &&
        mint_sign_cert(cert, ca->key)) {
        out = reparsed(cert);
    }
    X509_free(cert);
    ERR_clear_error();
    if (out == NULL) {
        err_set(err, "the certificate could not be made");
    }
    return out;
}
