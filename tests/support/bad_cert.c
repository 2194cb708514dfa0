// SPDX-License-Identifier: Apache-2.0
#include "tests/support/bad_cert.h"

#include <openssl/bn.h>
#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/mint_ext.h"
#include "tests/support/any_cert.h"

#define must(cond) ((cond) ? (void)0 : give_up(#cond, __LINE__))

static void give_up(const char *what, int line)
{
    fprintf(stderr, "bad_cert.c:%d: %s\n", line, what);
    abort();
}

EVP_PKEY *bad_key_rsa(int bits)
{
    RSA *rsa = RSA_new();
    BIGNUM *e = BN_new();
    EVP_PKEY *key = EVP_PKEY_new();
    must(rsa != NULL && e != NULL && key != NULL);
    must(BN_set_word(e, RSA_F4) == 1);
    must(RSA_generate_key_ex(rsa, bits, e, NULL) == 1);
    must(EVP_PKEY_assign_RSA(key, rsa) == 1);
    BN_free(e);
    return key;
}

EVP_PKEY *bad_key_ec(int curve_nid)
{
    EC_KEY *ec = EC_KEY_new_by_curve_name(curve_nid);
    EVP_PKEY *key = EVP_PKEY_new();
    must(ec != NULL && key != NULL);
    must(EC_KEY_generate_key(ec) == 1);
    must(EVP_PKEY_assign_EC_KEY(key, ec) == 1);
    return key;
}

static void drop(X509 *cert, int nid)
{
    int at = X509_get_ext_by_NID(cert, nid, -1);
    if (at >= 0) {
        X509_EXTENSION_free(X509_delete_ext(cert, at));
    }
}

static void set_times(X509 *cert, time_t not_before, time_t not_after)
{
    must(ASN1_TIME_set(X509_getm_notBefore(cert), not_before) != NULL);
    must(ASN1_TIME_set(X509_getm_notAfter(cert), not_after) != NULL);
}

static void set_uris(X509 *cert, const struct bad_leaf *bad)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    must(names != NULL);
    for (size_t i = 0; i < bad->num_uris; i++) {
        ASN1_IA5STRING *value = ASN1_IA5STRING_new();
        GENERAL_NAME *name = GENERAL_NAME_new();
        size_t len = bad->uri_lens == NULL ? strlen(bad->uris[i]) : bad->uri_lens[i];
        must(value != NULL && name != NULL);
        must(ASN1_STRING_set(value, bad->uris[i], (int)len) == 1);
        GENERAL_NAME_set0_value(name, GEN_URI, value);
        must(sk_GENERAL_NAME_push(names, name) != 0);
    }
    // An empty list is no valid subjectAltName, so a DNS name stands where no URI does.
    if (bad->num_uris == 0) {
        ASN1_IA5STRING *value = ASN1_IA5STRING_new();
        GENERAL_NAME *name = GENERAL_NAME_new();
        must(value != NULL && name != NULL && ASN1_STRING_set(value, "web.example", -1) == 1);
        GENERAL_NAME_set0_value(name, GEN_DNS, value);
        must(sk_GENERAL_NAME_push(names, name) != 0);
    }
    drop(cert, NID_subject_alt_name);
    must(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 1, X509V3_ADD_DEFAULT) == 1);
    GENERAL_NAMES_free(names);
}

static void set_uses(X509 *cert, const struct bad_leaf *bad)
{
    if (bad->has_uses) {
        drop(cert, NID_key_usage);
        must(bad->uses == 0 || mint_add_key_usage(cert, bad->uses));
    }
    int at = X509_get_ext_by_NID(cert, NID_key_usage, -1);
    if (bad->uses_not_critical && at >= 0) {
        must(X509_EXTENSION_set_critical(X509_get_ext(cert, at), 0) == 1);
    }
}

static void set_purpose(X509 *cert, int nid)
{
    drop(cert, NID_ext_key_usage);
    if (nid == 0) {
        return;
    }
    EXTENDED_KEY_USAGE *value = sk_ASN1_OBJECT_new_null();
    must(value != NULL && sk_ASN1_OBJECT_push(value, OBJ_dup(OBJ_nid2obj(nid))) != 0);
    must(X509_add1_ext_i2d(cert, NID_ext_key_usage, value, 0, X509V3_ADD_DEFAULT) == 1);
    sk_ASN1_OBJECT_pop_free(value, ASN1_OBJECT_free);
}

static void add_unknown_critical(X509 *cert)
{
    ASN1_OBJECT *object = OBJ_txt2obj("1.3.6.1.4.1.99999.1", 1);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    must(object != NULL && data != NULL);
    must(ASN1_OCTET_STRING_set(data, (const uint8_t *)"\x05\x00", 2) == 1);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, object, 1, data);
    must(extension != NULL && X509_add_ext(cert, extension, -1) == 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(data);
    ASN1_OBJECT_free(object);
}

static void set_serial(X509 *cert)
{
    static int64_t next = 1000;
    ASN1_INTEGER *serial = ASN1_INTEGER_new();
    must(serial != NULL && ASN1_INTEGER_set_uint64(serial, (uint64_t)next++) == 1);
    must(X509_set_serialNumber(cert, serial) == 1);
    ASN1_INTEGER_free(serial);
}

X509 *bad_leaf_new(const struct mint_ca *ca, EVP_PKEY *key, const char *spiffe_id, time_t now,
                   const struct bad_leaf *bad)
{
    const struct mint_leaf names = {.spiffe_id = spiffe_id};
    X509 *cert = X509_new();
    must(cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1);
    set_serial(cert);
    must(X509_set_pubkey(cert, key) == 1);
    must(X509_set_issuer_name(cert, X509_get_subject_name(ca->cert)) == 1);
    if (bad->has_times) {
        set_times(cert, bad->not_before, bad->not_after);
    } else {
        set_times(cert, now - MINT_BACKDATE_SECONDS, now + MINT_LEAF_SECONDS);
    }
    must(bad->no_basic_constraints || mint_add_basic_constraints(cert, bad->is_ca, -1));
    must(mint_add_key_usage(cert, MINT_USE_DIGITAL_SIGNATURE));
    must(mint_add_ext_key_usage(cert));
    must(mint_add_names(cert, &names, true));
    must(mint_add_key_ids(cert, ca->cert));
    if (bad->has_uris) {
        set_uris(cert, bad);
    }
    if (bad->no_san) {
        drop(cert, NID_subject_alt_name);
    }
    set_uses(cert, bad);
    if (bad->has_purpose) {
        set_purpose(cert, bad->purpose_nid);
    }
    if (bad->has_unknown_critical) {
        add_unknown_critical(cert);
    }
    return any_cert_sign(cert, ca->key, bad->digest);
}

void bad_ca_init(struct mint_ca *out, const struct mint_ca *parent, const struct bad_ca *bad)
{
    char serial[MINT_SERIAL_TEXT_MAX];
    X509 *cert = X509_new();
    X509_NAME *name = X509_NAME_new();
    must(cert != NULL && name != NULL && X509_set_version(cert, X509_VERSION_3) == 1);
    set_serial(cert);
    mint_serial_text(X509_get0_serialNumber(cert), serial);
    must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)serial, -1, -1, 0));
    must(X509_set_subject_name(cert, name) == 1);
    X509_NAME_free(name);
    const X509 *issuer = parent == NULL ? cert : parent->cert;
    EVP_PKEY *issuer_key = parent == NULL ? bad->key : parent->key;
    must(X509_set_issuer_name(cert, X509_get_subject_name(issuer)) == 1);
    must(X509_set_pubkey(cert, bad->key) == 1);
    set_times(cert, bad->not_before, bad->not_after);
    must(mint_add_basic_constraints(cert, !bad->is_not_ca, -1));
    must(bad->uses == 0 || mint_add_key_usage(cert, bad->uses));
    if (bad->uri != NULL) {
        const struct mint_leaf names = {.spiffe_id = bad->uri};
        must(mint_add_names(cert, &names, false));
    }
    must(mint_add_key_ids(cert, issuer));
    out->key = bad->key;
    out->cert = any_cert_sign(cert, issuer_key, bad->digest);
}
