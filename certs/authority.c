// SPDX-License-Identifier: Apache-2.0
#include "certs/authority.h"

#include <openssl/mem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/must.h"
#include "certs/identity.h"
#include "certs/cert.h"

void authority_key_digest(uint8_t out[32], const X509 *cert)
{
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY((X509 *)cert), &der);
    must_have(len > 0 ? der : NULL);
    SHA256(der, (size_t)len, out);
    OPENSSL_free(der);
}

bool authority_id_check(X509 *cert, const char *domain, size_t domain_len, struct err *err)
{
    struct cert_uris uris;
    if (!cert_uris_read(&uris, cert)) {
        return err_set(err, "its subjectAltName can't be read");
    }
    bool ok = true;
    for (size_t i = 0; ok && i < uris.num; i++) {
        size_t len = 0;
        const char *text = cert_uri(&uris, i, &len);
        // A scheme has no case (RFC 3986, section 3.1), a SPIFFE id has: another spelling of one is
        // a bad id, and no URI of another kind.
        if (len < 7 || OPENSSL_strncasecmp(text, "spiffe:", 7) != 0) {
            continue;
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
    cert_uris_cleanup(&uris);
    return ok;
}

bool authority_check(X509 *cert, struct err *err)
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
