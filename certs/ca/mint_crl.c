// SPDX-License-Identifier: Apache-2.0
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/nid.h>
#include <openssl/x509v3.h>

#include "base/secret/secret.h"
#include "certs/ca/mint_ext.h"

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
    secret_begin();
    ok = ok && add_crl_extensions(crl, ca, number) && X509_CRL_sort(crl) == 1 &&
         X509_CRL_sign(crl, ca->key, mint_digest_of(ca->key)) > 0;
    secret_end();
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
