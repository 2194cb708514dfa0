// SPDX-License-Identifier: Apache-2.0
#include <openssl/mem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "certs/bundle_impl.h"
#include "certs/identity.h"

bool bundle_key_digest(uint8_t out[32], const X509 *cert)
{
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY((X509 *)cert), &der);
    if (len <= 0) {
        return false;
    }
    SHA256(der, (size_t)len, out);
    OPENSSL_free(der);
    return true;
}

bool bundle_spiffe_id_check(X509 *cert, const char *domain, size_t domain_len, struct err *err)
{
    int critical = 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);
    if (names == NULL) {
        return critical == -1 || err_set(err, "its subjectAltName can't be read");
    }
    bool ok = true;
    for (size_t i = 0; ok && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI) {
            continue;
        }
        const char *text = (const char *)ASN1_STRING_get0_data(name->d.ia5);
        size_t len = (size_t)ASN1_STRING_length(name->d.ia5);
        if (len < 9 || memcmp(text, "spiffe://", 9) != 0) {
            continue; // some other URI of the operator's
        }
        struct spiffe_id id;
        if (!spiffe_id_parse(&id, text, len, err)) {
            ok = err_prefix(err, "its SPIFFE id");
        } else if (id.path_len > 0) {
            ok = err_set(err,
                         "its SPIFFE id %.*s has a path: a certificate that signs belongs to a "
                         "trust domain, not to a workload",
                         (int)id.text_len, id.text);
        } else if (id.domain_len != domain_len || memcmp(id.domain, domain, domain_len) != 0) {
            ok = err_set(err, "its SPIFFE id %.*s is not of the trust domain %.*s",
                         (int)id.text_len, id.text, (int)domain_len, domain);
        }
    }
    GENERAL_NAMES_free(names);
    return ok;
}

bool bundle_signer_check(X509 *cert, struct err *err)
{
    uint32_t flags = X509_get_extension_flags(cert);
    if ((flags & EXFLAG_INVALID) != 0) {
        return err_set(err, "an extension of it can't be read");
    }
    if ((flags & EXFLAG_BCONS) == 0 || (flags & EXFLAG_CA) == 0) {
        return err_set(err, "it is not a CA (basicConstraints CA:TRUE)");
    }
    if ((flags & EXFLAG_KUSAGE) == 0 || (X509_get_key_usage(cert) & KU_KEY_CERT_SIGN) == 0) {
        return err_set(err, "its keyUsage lacks keyCertSign");
    }
    return true;
}
