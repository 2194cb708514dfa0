// SPDX-License-Identifier: Apache-2.0
#include "certs/ca/csr.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/secret/secret.h"
#include "certs/ca/mint_ext.h"

static bool add_name(X509_REQ *csr, const char *spiffe_id)
{
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *uri = ASN1_IA5STRING_new();
    X509_EXTENSION *extension = NULL;
    bool ok = extensions != NULL && names != NULL && name != NULL && uri != NULL &&
              ASN1_STRING_set(uri, spiffe_id, (int)strlen(spiffe_id)) == 1;
    if (ok) {
        GENERAL_NAME_set0_value(name, GEN_URI, uri);
        uri = NULL;
        ok = sk_GENERAL_NAME_push(names, name) > 0;
    }
    if (ok) {
        name = NULL;
        // Critical, because the subject is empty (RFC 5280, section 4.2.1.6).
        extension = X509V3_EXT_i2d(NID_subject_alt_name, 1, names);
        ok = extension != NULL && sk_X509_EXTENSION_push(extensions, extension) > 0;
    }
    if (ok) {
        extension = NULL;
        ok = X509_REQ_add_extensions(csr, extensions) == 1;
    }
    X509_EXTENSION_free(extension);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    GENERAL_NAME_free(name);
    ASN1_IA5STRING_free(uri);
    GENERAL_NAMES_free(names);
    return ok;
}

bool csr_new(EVP_PKEY **out_key, uint8_t **out_der, size_t *out_len, enum mint_key_kind kind,
             const char *spiffe_id, struct err *err)
{
    *out_key = mint_key_new(kind, err);
    *out_der = NULL;
    if (*out_key == NULL) {
        return false;
    }
    secret_begin();
    X509_REQ *csr = X509_REQ_new();
    bool ok = csr != NULL && X509_REQ_set_version(csr, 0) == 1 &&
              X509_REQ_set_pubkey(csr, *out_key) == 1 &&
              (spiffe_id[0] == '\0' || add_name(csr, spiffe_id)) &&
              X509_REQ_sign(csr, *out_key, mint_digest_of(*out_key)) > 0 &&
              mint_csr_der(out_der, out_len, csr);
    X509_REQ_free(csr);
    secret_end();
    ERR_clear_error();
    if (!ok) {
        EVP_PKEY_free(*out_key);
        *out_key = NULL;
        return err_set(err, "the certificate request could not be made");
    }
    return true;
}
