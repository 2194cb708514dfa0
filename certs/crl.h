// SPDX-License-Identifier: Apache-2.0
//
// One certificate revocation list (CRL, RFC 5280, section 5), read into what a lookup needs: its
// issuer, when it goes stale, and its serial numbers in order. A trust bundle owns it; immutable
// once read.
#ifndef TABARD_CERTS_CRL_H
#define TABARD_CERTS_CRL_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "certs/cert.h"

struct trust_bundle;

struct crl {
    X509_NAME *issuer;      // owned
    uint8_t key_digest[32]; // SHA-256 of the SubjectPublicKeyInfo of the key that signed it
    time_t next_update;
    struct cert_serial *serials; // owned, sorted
    size_t num_serials;
};

// crl_read reads one DER CRL into *out, checked as trust_bundles_new says. false sets err.
bool crl_read(struct crl *out, const uint8_t *der, size_t der_len,
              const struct trust_bundle *bundle, time_t now, struct err *err);
void crl_cleanup(struct crl *crl);

// crl_has_serial says whether a CRL lists a serial number.
bool crl_has_serial(const struct crl *crl, const struct cert_serial *serial);

#endif
