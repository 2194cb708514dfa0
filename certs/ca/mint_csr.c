// SPDX-License-Identifier: Apache-2.0
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/nid.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "certs/key.h"
#include "certs/ca/mint.h"

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
    const X509_ALGOR *algorithm;
    X509_REQ_get0_signature(csr, NULL, &algorithm);
    bool ok = key_check(key, err) && key_signature_check(algorithm, err);
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
