// SPDX-License-Identifier: Apache-2.0
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/nid.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "certs/key.h"
#include "certs/ca/mint_ext.h"

static bool is_granted(const GENERAL_NAME *name, const struct mint_leaf *leaf)
{
    if (name->type != GEN_URI && name->type != GEN_DNS) {
        return false;
    }
    const char *text = (const char *)ASN1_STRING_get0_data(name->d.ia5);
    size_t len = (size_t)ASN1_STRING_length(name->d.ia5);
    if (name->type == GEN_URI) {
        return strlen(leaf->spiffe_id) == len && memcmp(leaf->spiffe_id, text, len) == 0;
    }
    for (size_t i = 0; i < leaf->num_dns_names; i++) {
        if (strlen(leaf->dns_names[i]) == len && memcmp(leaf->dns_names[i], text, len) == 0) {
            return true;
        }
    }
    return false;
}

// A request may name less than it is granted, never more.
static bool check_names(X509_REQ *csr, const struct mint_leaf *leaf, struct err *err)
{
    STACK_OF(X509_EXTENSION) *extensions = X509_REQ_get_extensions(csr);
    int critical = -1;
    GENERAL_NAMES *names = extensions == NULL
                               ? NULL
                               : X509V3_get_d2i(extensions, NID_subject_alt_name, &critical, NULL);
    bool ok = true;
    if (names == NULL && critical != -1) {
        ok = err_set(err, "its subjectAltName can't be read");
    }
    for (size_t i = 0; ok && names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (!is_granted(name, leaf)) {
            bool is_text = name->type == GEN_URI || name->type == GEN_DNS;
            int len = is_text ? ASN1_STRING_length(name->d.ia5) : 0;
            ok = err_set(err,
                         "it asks for a name that it is not granted (%s%.*s); grant it with --id "
                         "or --dns, or leave it out of the request",
                         is_text ? "" : "neither a URI nor a DNS name", len > 300 ? 300 : len,
                         is_text ? (const char *)ASN1_STRING_get0_data(name->d.ia5) : "");
        }
    }
    GENERAL_NAMES_free(names);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return ok;
}

bool mint_csr_check(EVP_PKEY **out_key, X509_REQ *csr, const struct mint_leaf *leaf,
                    struct err *err)
{
    *out_key = NULL;
    EVP_PKEY *key = X509_REQ_get_pubkey(csr);
    bool ok = key_check(key, err) && key_signature_check(X509_REQ_get_signature_nid(csr), err);
    if (ok && X509_REQ_verify(csr, key) != 1) {
        ok = err_set(err, "its signature is wrong, so it doesn't prove that the key is held");
    }
    ok = ok && check_names(csr, leaf, err);
    ERR_clear_error();
    if (!ok) {
        EVP_PKEY_free(key);
        return err_prefix(err, "the signing request");
    }
    *out_key = key;
    return true;
}

static bool add_revoked(X509_CRL *crl, const struct mint_revoked *revoked)
{
    X509_REVOKED *entry = X509_REVOKED_new();
    ASN1_TIME *when = ASN1_TIME_set(NULL, revoked->when);
    bool ok = entry != NULL && when != NULL &&
              X509_REVOKED_set_serialNumber(entry, (ASN1_INTEGER *)revoked->serial) == 1 &&
              X509_REVOKED_set_revocationDate(entry, when) == 1 &&
              X509_CRL_add0_revoked(crl, entry) == 1;
    if (!ok) {
        X509_REVOKED_free(entry);
    }
    ASN1_TIME_free(when);
    return ok;
}

static bool add_crl_extensions(X509_CRL *crl, const struct mint_ca *ca, uint64_t number)
{
    AUTHORITY_KEYID *authority = AUTHORITY_KEYID_new();
    ASN1_INTEGER *value = ASN1_INTEGER_new();
    bool ok = authority != NULL && value != NULL && ASN1_INTEGER_set_uint64(value, number) == 1;
    if (ok) {
        const ASN1_OCTET_STRING *named = X509_get0_subject_key_id(ca->cert);
        authority->keyid = named == NULL ? mint_key_id(ca->cert) : ASN1_OCTET_STRING_dup(named);
        ok = authority->keyid != NULL &&
             X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, authority, 0,
                                   X509V3_ADD_DEFAULT) == 1 &&
             X509_CRL_add1_ext_i2d(crl, NID_crl_number, value, 0, X509V3_ADD_DEFAULT) == 1;
    }
    ASN1_INTEGER_free(value);
    AUTHORITY_KEYID_free(authority);
    return ok;
}

X509_CRL *mint_crl_new(const struct mint_ca *ca, const struct mint_revoked *revoked,
                       size_t num_revoked, uint64_t number, time_t this_update, time_t next_update,
                       struct err *err)
{
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *this_time = ASN1_TIME_set(NULL, this_update);
    ASN1_TIME *next_time = ASN1_TIME_set(NULL, next_update);
    bool ok = crl != NULL && this_time != NULL && next_time != NULL &&
              X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
              X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert)) == 1 &&
              X509_CRL_set1_lastUpdate(crl, this_time) == 1 &&
              X509_CRL_set1_nextUpdate(crl, next_time) == 1;
    for (size_t i = 0; ok && i < num_revoked; i++) {
        ok = add_revoked(crl, &revoked[i]);
    }
    ok = ok && add_crl_extensions(crl, ca, number) && X509_CRL_sort(crl) == 1 &&
         X509_CRL_sign(crl, ca->key, mint_digest_of(ca->key)) > 0;
    ASN1_TIME_free(this_time);
    ASN1_TIME_free(next_time);
    ERR_clear_error();
    if (!ok) {
        X509_CRL_free(crl);
        err_set(err, "the CRL could not be made");
        return NULL;
    }
    return crl;
}
