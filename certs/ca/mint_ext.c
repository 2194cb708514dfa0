// SPDX-License-Identifier: Apache-2.0
#include "certs/ca/mint_ext.h"

#include <openssl/asn1.h>
#include <openssl/digest.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/obj.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <string.h>

#define KEY_ID_LEN     20
#define KEY_USAGE_BITS 9

bool mint_add_basic_constraints(X509 *cert, bool is_ca, int path_len)
{
    BASIC_CONSTRAINTS *value = BASIC_CONSTRAINTS_new();
    bool ok = value != NULL;
    if (ok) {
        value->ca = is_ca ? 0xff : 0;
    }
    if (ok && path_len >= 0) {
        value->pathlen = ASN1_INTEGER_new();
        ok = value->pathlen != NULL && ASN1_INTEGER_set(value->pathlen, path_len) == 1;
    }
    ok = ok && X509_add1_ext_i2d(cert, NID_basic_constraints, value, 1, X509V3_ADD_DEFAULT) == 1;
    BASIC_CONSTRAINTS_free(value);
    return ok;
}

bool mint_add_key_usage(X509 *cert, unsigned uses)
{
    ASN1_BIT_STRING *value = ASN1_BIT_STRING_new();
    bool ok = value != NULL;
    for (int bit = 0; ok && bit < KEY_USAGE_BITS; bit++) {
        if ((uses & (1u << bit)) != 0) {
            ok = ASN1_BIT_STRING_set_bit(value, bit, 1) == 1;
        }
    }
    ok = ok && X509_add1_ext_i2d(cert, NID_key_usage, value, 1, X509V3_ADD_DEFAULT) == 1;
    ASN1_BIT_STRING_free(value);
    return ok;
}

bool mint_add_ext_key_usage(X509 *cert)
{
    static const int purposes[] = {NID_server_auth, NID_client_auth};
    EXTENDED_KEY_USAGE *value = sk_ASN1_OBJECT_new_null();
    bool ok = value != NULL;
    for (size_t i = 0; ok && i < sizeof purposes / sizeof purposes[0]; i++) {
        ASN1_OBJECT *purpose = OBJ_dup(OBJ_nid2obj(purposes[i]));
        ok = purpose != NULL && sk_ASN1_OBJECT_push(value, purpose) != 0;
        if (!ok) {
            ASN1_OBJECT_free(purpose);
        }
    }
    ok = ok && X509_add1_ext_i2d(cert, NID_ext_key_usage, value, 0, X509V3_ADD_DEFAULT) == 1;
    sk_ASN1_OBJECT_pop_free(value, ASN1_OBJECT_free);
    return ok;
}

static bool push_name(GENERAL_NAMES *names, int type, const char *text)
{
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    if (value == NULL || name == NULL || ASN1_STRING_set(value, text, (int)strlen(text)) != 1) {
        ASN1_IA5STRING_free(value);
        GENERAL_NAME_free(name);
        return false;
    }
    GENERAL_NAME_set0_value(name, type, value);
    if (sk_GENERAL_NAME_push(names, name) == 0) {
        GENERAL_NAME_free(name);
        return false;
    }
    return true;
}

bool mint_add_names(X509 *cert, const struct mint_leaf *leaf, bool is_critical)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    bool ok = names != NULL && push_name(names, GEN_URI, leaf->spiffe_id);
    for (size_t i = 0; ok && i < leaf->num_dns_names; i++) {
        ok = push_name(names, GEN_DNS, leaf->dns_names[i]);
    }
    ok = ok && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, is_critical ? 1 : 0,
                                 X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(names);
    return ok;
}

ASN1_OCTET_STRING *mint_key_id(const X509 *cert)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    const ASN1_BIT_STRING *bits = X509_get0_pubkey_bitstr(cert);
    ASN1_OCTET_STRING *id = ASN1_OCTET_STRING_new();
    if (bits == NULL || id == NULL) {
        ASN1_OCTET_STRING_free(id);
        return NULL;
    }
    SHA256(ASN1_STRING_get0_data(bits), (size_t)ASN1_STRING_length(bits), digest);
    if (ASN1_OCTET_STRING_set(id, digest, KEY_ID_LEN) != 1) {
        ASN1_OCTET_STRING_free(id);
        return NULL;
    }
    return id;
}

// Returns the identifier that the issuer's certificate has for its own key, whatever rule made it.
static ASN1_OCTET_STRING *issuer_key_id(const X509 *issuer)
{
    const ASN1_OCTET_STRING *named = X509_get0_subject_key_id((X509 *)issuer);
    return named == NULL ? mint_key_id(issuer) : ASN1_OCTET_STRING_dup(named);
}

bool mint_add_key_ids(X509 *cert, const X509 *issuer)
{
    ASN1_OCTET_STRING *own = mint_key_id(cert);
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    bool ok = own != NULL && authority != NULL;
    if (ok) {
        authority->keyid = cert == issuer ? mint_key_id(cert) : issuer_key_id(issuer);
        ok = authority->keyid != NULL &&
             X509_add1_ext_i2d(cert, NID_subject_key_identifier, own, 0, X509V3_ADD_DEFAULT) == 1 &&
             X509_add1_ext_i2d(cert, NID_authority_key_identifier, authority, 0,
                               X509V3_ADD_DEFAULT) == 1;
    }
    AUTHORITY_KEYID_free(authority);
    ASN1_OCTET_STRING_free(own);
    return ok;
}

const EVP_MD *mint_digest_of(const EVP_PKEY *key)
{
    bool has_digest = EVP_PKEY_id(key) == EVP_PKEY_EC || EVP_PKEY_id(key) == EVP_PKEY_RSA;
    return has_digest ? EVP_sha256() : NULL;
}
