// SPDX-License-Identifier: Apache-2.0
//
// One certificate revocation list (CRL, RFC 5280, section 5), read into what a lookup needs: its
// issuer, when it goes stale, and its serial numbers in order. A trust bundle owns it. Whose it is
// was proved when it was read, if a root or another certificate known by then signed it; else it is
// proved by the first chain in which its issuer stands (crl_of). Any thread may ask: once read,
// only what crl_of has found out is added.
#ifndef TABARD_CERTS_CRL_H
#define TABARD_CERTS_CRL_H

#include <openssl/x509.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "certs/bundle.h"
#include "certs/cert.h"

#define CRL_PROOFS_MAX  16 // keys of which it is remembered whether they signed a CRL
#define CRL_ISSUER_TEXT TRUST_ISSUER_TEXT

struct crl_proof; // opaque: whether one key signed a CRL

// A key identifier (RFC 5280, section 4.2.1.2), by its digest. Zero state: none is given.
struct crl_key_id {
    bool is_given;
    uint8_t digest[32];
};

struct crl {
    X509_NAME *issuer;        // owned
    struct crl_key_id key_id; // of the key that signed it, as it says
    uint8_t key_digest[32];   // SHA-256 of the SubjectPublicKeyInfo of the key that signed it
    time_t this_update;
    time_t next_update;
    struct cert_serial number;   // cRLNumber; empty: none
    struct cert_serial *serials; // owned, sorted
    size_t num_serials;
    X509_CRL *unproved;                 // owned; NULL: key_digest is known
    _Atomic(struct crl_proof *) proofs; // owned
    atomic_uint num_proofs;
};

// crl_read reads one DER CRL into *out, checked as trust_bundles_new says. false sets err.
bool crl_read(struct crl *out, const uint8_t *der, size_t der_len,
              const struct trust_bundle *bundle, const struct trust_load *load, time_t now,
              struct err *err);
void crl_cleanup(struct crl *crl);

// crl_has_serial says whether a CRL lists a serial number.
bool crl_has_serial(const struct crl *crl, const struct cert_serial *serial);

struct crl_key_id crl_key_id_of(const ASN1_OCTET_STRING *id);

// What a CRL is to an issuer that stands in a chain. DOUBTFUL: the name is the issuer's and no key
// identifier says that another key is meant, but the issuer's key did not sign it.
enum crl_relation { CRL_OF_ANOTHER, CRL_OF_ISSUER, CRL_DOUBTFUL };

// crl_of compares names (RFC 5280, section 6.3.3, b) and checks the signature by the issuer's key
// (g), whose digest the caller has. The signature alone decides: two certificates of one key may
// carry different key identifiers.
enum crl_relation crl_of(const struct crl *crl, X509 *issuer, const uint8_t key_digest[32]);

// crl_forget_proofs frees what crl_of has remembered.
void crl_forget_proofs(struct crl *crl);

// crl_is_older says whether a CRL precedes another of the same issuer: by their numbers, which only
// grow (RFC 5280, section 5.2.3), or without them by thisUpdate.
bool crl_is_older(const struct crl *crl, const struct crl *than);

// crl_same_issuer says whether two CRLs are one issuer's, as far as is known without its key.
bool crl_same_issuer(const struct crl *a, const struct crl *b);

// crl_issuer_text names the issuer, in buf of CRL_ISSUER_TEXT bytes.
const char *crl_issuer_text(const struct crl *crl, char *buf);

#endif
