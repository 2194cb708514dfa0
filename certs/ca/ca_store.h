// SPDX-License-Identifier: Apache-2.0
//
// A CA's folder: ca.pem (its certificate, and for an intermediate the ones above it without the
// root), ca.key, and what it has to remember: `issued` (a line for each certificate), `revoked` (a
// line for each revocation), `crl-number`. Whoever has opened a store holds a lock file, which
// keeps every other process out until ca_store_close. Bounded by STORE_*_MAX.
#ifndef TABARD_CERTS_CA_CA_STORE_H
#define TABARD_CERTS_CA_CA_STORE_H

#include <stdint.h>

#include "base/data/bytes.h"
#include "certs/ca/mint.h"

#define STORE_FILE_BYTES_MAX  (16u << 20)
#define STORE_CHAIN_MAX       8
#define STORE_REVOCATIONS_MAX 200000
#define STORE_CRLS_MAX        64         // of one file
#define STORE_CERT_BYTES_MAX  (1u << 20) // of a PEM file with certificates or a request

struct ca_store {
    char *dir;                    // owned
    int lock_fd;                  // owned; 0 while the store is closed
    struct mint_ca ca;            // owned
    X509 *above[STORE_CHAIN_MAX]; // owned; follow the leaf in its file; none if the CA is a root
    size_t num_above;
};

// ca_store_create makes a new CA in `dir`, which is created if it isn't there. With a `parent`
// folder the new CA is an intermediate that it signs, and `trust_domain` may be NULL. false sets
// err, and then nothing was overwritten.
bool ca_store_create(const char *dir, const char *parent, enum mint_key_kind kind,
                     const char *trust_domain, time_t now, time_t life_seconds, struct err *err);

// ca_store_open reads a CA and waits for its lock. Zero state of a store: {0}. false sets err.
bool ca_store_open(struct ca_store *out, const char *dir, struct err *err);
void ca_store_close(struct ca_store *store);

// ca_store_chain_pem returns a leaf and what belongs above it as PEM, malloc'd.
char *ca_store_chain_pem(const struct ca_store *store, X509 *leaf);

// ca_store_record notes a certificate that is about to be handed out, so that it can be revoked by
// its serial number later.
bool ca_store_record(const struct ca_store *store, const X509 *leaf, const char *spiffe_id,
                     struct err *err);

// The same for many at once: ca_store_note appends one to *out, and ca_store_record_notes records
// all of them, which it takes, before any is handed out. A write to the disk takes longer than a
// signature.
void ca_store_note(struct bytes *out, const X509 *leaf, const char *spiffe_id);
bool ca_store_record_notes(const struct ca_store *store, struct bytes *notes, struct err *err);

// ca_store_revoke adds a serial number to what is revoked. *out_was_known says whether it was
// there already. false sets err.
bool ca_store_revoke(const struct ca_store *store, const ASN1_INTEGER *serial, time_t now,
                     bool *out_was_known, struct err *err);

// ca_store_crl signs a CRL of all that is revoked, as PEM, malloc'd. *out_num says how many those
// are. NULL sets err.
char *ca_store_crl(const struct ca_store *store, time_t now, time_t life_seconds, size_t *out_num,
                   struct err *err);

// ca_store_write_crl signs a CRL into the file at `path`, which ca_store_crl makes. CRLs of other
// issuers that stand in the file stay behind it: what a CA before this one has revoked stays
// revoked. false sets err: also where the file holds anything but CRLs, or more than
// STORE_CRLS_MAX.
bool ca_store_write_crl(const struct ca_store *store, const char *path, time_t now,
                        time_t life_seconds, size_t *out_num, struct err *err);

// ca_store_own_crl reads the CRL that this CA has signed out of a file. NULL: there is none, or the
// file can't be read, which sets err.
X509_CRL *ca_store_own_crl(const struct ca_store *store, const char *path, struct err *err);

#endif
