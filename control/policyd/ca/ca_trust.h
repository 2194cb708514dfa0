// SPDX-License-Identifier: Apache-2.0
//
// The trust in the folder's CA: its trust domain, the bundle that proves its certificates (packed,
// as it is sent to sidecars), and the serial numbers that are revoked. source_folder.c makes
// one with ca_trust_new, and the world takes it over. Immutable once made; any thread may read it.
// Bounded by certs/bundle.h. It signs nothing; see issue.h.
//
// The roots are the self-signed certificate of ca/ca.pem and those of roots.pem, if there is one:
// needed where the CA is an intermediate, and for the time in which a new root takes over. The CRLs
// are ca/crl.pem (of a root CA) and crls.pem.
#ifndef TABARD_CONTROL_POLICYD_CA_CA_TRUST_H
#define TABARD_CONTROL_POLICYD_CA_CA_TRUST_H

#include <openssl/x509.h>

#include "base/err.h"
#include "base/data/keymap.h"
#include "certs/bundle.h"
#include "base/pb/pb_wire.h"
#include "certs/cert.h"
#include "certs/der_list.h"

// Texts of files, NUL-terminated, borrowed; NULL: there is none.
struct ca_trust_texts {
    const char *ca;    // ca/ca.pem
    const char *crl;   // ca/crl.pem
    const char *roots; // roots.pem
    const char *crls;  // crls.pem
};

struct ca_trust {
    char *domain;                  // owned
    struct trust_bundles *bundles; // owned
    struct bytes packed;           // a State's field trust_bundles
    struct der_list crls;          // owned
    X509_CRL **parsed;             // owned, as many
};

// ca_trust_new reads the texts. NULL sets err, which names the file.
struct ca_trust *ca_trust_new(const struct ca_trust_texts *texts, time_t now, struct err *err);
void ca_trust_free(struct ca_trust *trust);

// ca_trust_is_revoked says whether any CRL names this serial number. An empty one never is.
bool ca_trust_is_revoked(const struct ca_trust *trust, const struct cert_serial *serial);

#endif
