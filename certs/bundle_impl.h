// SPDX-License-Identifier: Apache-2.0
//
// What a trust bundle is made of, for certs/bundle.c and certs/verify.c only.
// Immutable once built, so any thread may read it; owned by its trust_bundles.
// Bounded by TRUST_BUNDLE_*_MAX.
// Everything that a lookup needs (times, serials, digests of keys) is worked out once, here, and
// never at a handshake.
#ifndef TABARD_CERTS_BUNDLE_IMPL_H
#define TABARD_CERTS_BUNDLE_IMPL_H

#include <openssl/x509.h>

#include "certs/bundle.h"

struct bundle_root {
    X509 *cert; // owned
    time_t not_before;
    time_t not_after;
};

// A serial number is the content of its DER INTEGER; RFC 5280 allows 20 bytes, and longer ones are
// refused.
#define SERIAL_LEN_MAX 20
struct serial {
    uint8_t len;
    bool is_negative;
    uint8_t bytes[SERIAL_LEN_MAX];
};

struct bundle_crl {
    X509_NAME *issuer;      // owned
    uint8_t key_digest[32]; // SHA-256 of the SubjectPublicKeyInfo that made the signature
    time_t next_update;
    struct serial *serials; // owned, sorted
    size_t num_serials;
};

struct trust_bundle {
    char *domain; // owned
    size_t domain_len;
    struct bundle_root *roots; // owned
    size_t num_roots;
    struct bundle_crl *crls; // owned
    size_t num_crls;
    uint8_t digest[32];
};

// serial_read copies an ASN.1 serial number. false: it is longer than SERIAL_LEN_MAX.
bool serial_read(struct serial *out, const ASN1_INTEGER *number);

// bundle_crl_has_serial says whether a CRL lists a serial number.
bool bundle_crl_has_serial(const struct bundle_crl *crl, const struct serial *serial);

// bundle_key_digest is SHA-256 of a certificate's SubjectPublicKeyInfo. false: out of memory.
bool bundle_key_digest(uint8_t out[32], const X509 *cert);

// bundle_spiffe_id_check says whether the SPIFFE id of a signing certificate, if it carries one,
// names `domain` and has no path (X509-SVID, section 3.2). false sets err.
bool bundle_spiffe_id_check(X509 *cert, const char *domain, size_t domain_len, struct err *err);

// bundle_signer_check says whether a certificate may sign certificates: CA:TRUE and a key usage
// with keyCertSign (X509-SVID, sections 4.1 and 4.3). false sets err.
bool bundle_signer_check(X509 *cert, struct err *err);

// bundle_crl_read makes *out of one DER CRL, checked as trust_bundles_new says. false sets err.
bool bundle_crl_read(struct bundle_crl *out, const uint8_t *der, size_t der_len,
                     const struct trust_bundle *bundle, time_t now, struct err *err);
void bundle_crl_cleanup(struct bundle_crl *crl);

#endif
