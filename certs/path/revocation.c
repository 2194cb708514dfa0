// SPDX-License-Identifier: Apache-2.0
#include "certs/path/revocation.h"

#include <openssl/x509v3.h>

#include "certs/authority.h"
#include "certs/bundle_impl.h"

// What the CRLs of one issuer say together.
struct finding {
    bool has_crl;
    bool has_fresh;
    bool is_listed;
    bool is_doubtful; // a CRL seems to be the issuer's and isn't
    bool may_sign;    // the issuer may sign each of its CRLs
};

static void look(struct finding *out, const struct trust_bundle *bundle, X509 *issuer,
                 const struct cert_serial *serial, time_t now)
{
    uint8_t digest[32];
    authority_key_digest(digest, issuer);
    *out = (struct finding){.may_sign = true};
    for (size_t i = 0; i < bundle->num_crls; i++) {
        const struct crl *crl = &bundle->crls[i];
        switch (crl_of(crl, issuer, digest)) {
        case CRL_OF_ANOTHER:
            break;
        case CRL_DOUBTFUL:
            out->is_doubtful = true;
            break;
        case CRL_OF_ISSUER:
            out->has_crl = true;
            out->has_fresh = out->has_fresh || crl->next_update >= now;
            out->is_listed = out->is_listed || crl_has_serial(crl, serial);
            // That a root may sign CRLs was checked when the CRL was read.
            out->may_sign = out->may_sign && (crl->unproved == NULL ||
                                              (X509_get_key_usage(issuer) & KU_CRL_SIGN) != 0);
            break;
        }
    }
}

enum verify_failure revocation_check(const struct trust_bundle *bundle, X509 *cert, X509 *issuer,
                                     time_t now, struct err *err)
{
    struct cert_serial serial;
    struct finding found;
    // No CRL that was accepted can hold a longer serial number than RFC 5280 allows, so a
    // certificate with one could never be revoked.
    if (!cert_serial_read(&serial, X509_get0_serialNumber(cert))) {
        err_set(err, "its serial number has more than %d bytes", CERT_SERIAL_LEN_MAX);
        return VERIFY_CERTIFICATE_UNPARSABLE;
    }
    look(&found, bundle, issuer, &serial, now);
    if (found.is_listed) {
        err_set(err, "revoked by its issuer's CRL");
        return VERIFY_REVOKED;
    }
    if (!found.may_sign) {
        err_set(err, "its issuer has a CRL, but may not sign any (its keyUsage lacks cRLSign)");
        return VERIFY_CRL_UNUSABLE;
    }
    if (found.has_crl && !found.has_fresh) {
        err_set(err, "its issuer's CRL is past its nextUpdate");
        return VERIFY_CRL_STALE;
    }
    if (!found.has_crl && found.is_doubtful) {
        err_set(err, "a CRL with its issuer's name was not signed by its issuer's key");
        return VERIFY_CRL_UNUSABLE;
    }
    return VERIFY_OK;
}

bool revocation_lists(const struct trust_bundle *bundle, X509 *issuer,
                      const struct cert_serial *serial)
{
    struct finding found;
    look(&found, bundle, issuer, serial, 0);
    return found.is_listed;
}
