// SPDX-License-Identifier: Apache-2.0
#include "tests/support/any_cert.h"

#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/mint.h"
#include "certs/ca/mint_ext.h"

#define must(cond) ((cond) ? (void)0 : give_up(#cond, __LINE__))

static void give_up(const char *what, int line)
{
    fprintf(stderr, "any_cert.c:%d: %s\n", line, what);
    abort();
}

static X509_NAME *name_of(const char *text)
{
    X509_NAME *name = X509_NAME_new();
    must(name != NULL);
    must(text == NULL ||
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)text, -1, -1, 0));
    return name;
}

static void set_names(X509 *cert, const struct any_cert *any)
{
    X509_NAME *subject = name_of(any->subject);
    X509_NAME *issuer = name_of(any->issuer);
    must(X509_set_subject_name(cert, subject) == 1 && X509_set_issuer_name(cert, issuer) == 1);
    X509_NAME_free(subject);
    X509_NAME_free(issuer);
}

static ASN1_OCTET_STRING *id_of(EVP_PKEY *key)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    must(len > 0 && id != NULL);
    SHA256(der, (size_t)len, digest);
    must(ASN1_OCTET_STRING_set(id, digest, 20) == 1);
    OPENSSL_free(der);
    return id;
}

static void add_key_ids(X509 *cert, const struct any_cert *any)
{
    ASN1_OCTET_STRING *own = id_of(any->key);
    AUTHORITY_KEYID *issuer = AUTHORITY_KEYID_new();
    must(issuer != NULL);
    issuer->keyid = id_of(any->wrong_signer != NULL ? any->wrong_signer : any->signer);
    must(X509_add1_ext_i2d(cert, NID_subject_key_identifier, own, 0, X509V3_ADD_DEFAULT) == 1);
    must(X509_add1_ext_i2d(cert, NID_authority_key_identifier, issuer, 0, X509V3_ADD_DEFAULT) == 1);
    AUTHORITY_KEYID_free(issuer);
    ASN1_OCTET_STRING_free(own);
}

static void add_extension(X509 *cert, const struct any_extension *any)
{
    size_t len = strlen(any->der) / 2;
    uint8_t *bytes = malloc(len + 1);
    ASN1_OBJECT *object = OBJ_txt2obj(any->oid, 1);
    ASN1_OCTET_STRING *data = ASN1_OCTET_STRING_new();
    must(object != NULL && data != NULL && bytes != NULL);
    for (size_t i = 0; i < len; i++) {
        unsigned byte = 0;
        must(sscanf(any->der + 2 * i, "%2x", &byte) == 1);
        bytes[i] = (uint8_t)byte;
    }
    must(ASN1_OCTET_STRING_set(data, bytes, (int)len) == 1);
    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, object, any->is_critical, data);
    must(extension != NULL && X509_add_ext(cert, extension, -1) == 1);
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(data);
    ASN1_OBJECT_free(object);
    free(bytes);
}

static void set_serial(X509 *cert, unsigned long number)
{
    static unsigned long next = 1000000;
    ASN1_INTEGER *serial = ASN1_INTEGER_new();
    must(serial != NULL && ASN1_INTEGER_set_uint64(serial, number == 0 ? next++ : number) == 1);
    must(X509_set_serialNumber(cert, serial) == 1);
    ASN1_INTEGER_free(serial);
}

X509 *any_cert_sign(X509 *cert, EVP_PKEY *key, const EVP_MD *digest)
{
    must(X509_sign(cert, key, digest == NULL ? mint_digest_of(key) : digest) > 0);
    uint8_t *der = NULL;
    size_t len = 0;
    must(mint_cert_der(&der, &len, cert));
    const uint8_t *end = der;
    X509 *again = d2i_X509(NULL, &end, (long)len);
    must(again != NULL);
    free(der);
    X509_free(cert);
    return again;
}

X509 *any_cert_new(const struct any_cert *any)
{
    X509 *cert = X509_new();
    bool is_ca = any->spiffe_id == NULL;
    must(cert != NULL && X509_set_version(cert, X509_VERSION_3) == 1);
    set_serial(cert, any->serial);
    set_names(cert, any);
    must(X509_set_pubkey(cert, any->key) == 1);
    must(ASN1_TIME_set(X509_getm_notBefore(cert), any->not_before) != NULL);
    must(ASN1_TIME_set(X509_getm_notAfter(cert), any->not_after) != NULL);
    must(mint_add_basic_constraints(cert, is_ca, any->path_len - 1));
    must(mint_add_key_usage(cert, is_ca ? MINT_USE_CERT_SIGN | MINT_USE_CRL_SIGN
                                        : MINT_USE_DIGITAL_SIGNATURE));
    // Names that are given take the place of the SPIFFE id alone.
    bool has_names =
        any->extensions[0].oid != NULL && strcmp(any->extensions[0].oid, "2.5.29.17") == 0;
    if (!is_ca && !has_names) {
        const struct mint_leaf names = {.spiffe_id = any->spiffe_id};
        must(mint_add_names(cert, &names, any->subject == NULL));
    }
    if (any->has_key_ids) {
        add_key_ids(cert, any);
    }
    for (size_t i = 0;
         i < sizeof any->extensions / sizeof any->extensions[0] && any->extensions[i].oid != NULL;
         i++) {
        add_extension(cert, &any->extensions[i]);
    }
    return any_cert_sign(cert, any->signer, NULL);
}
