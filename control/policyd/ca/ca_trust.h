// SPDX-License-Identifier: Apache-2.0
//
// The trust in the folder's CA: its trust domain, and the bundle that proves its certificates
// (packed, as it is sent to sidecars). source_folder.c makes one with ca_trust_new, and the world
// takes it over. Immutable once made; any thread may read it. Bounded by certs/bundle.h. It signs
// nothing; see issue.h.
//
// The roots are the self-signed certificate of ca/ca.pem and those of roots.pem, if there is one:
// needed where the CA is an intermediate, and for the time in which a new root takes over. The CRLs
// are all of ca/crl.pem and crls.pem, of these roots and of any CA below them.
#ifndef TABARD_CONTROL_POLICYD_CA_CA_TRUST_H
#define TABARD_CONTROL_POLICYD_CA_CA_TRUST_H

#include <openssl/x509.h>

#include "base/err.h"
#include "certs/bundle.h"
#include "base/pb/pb_wire.h"
#include "certs/der_list.h"

// Texts of files, NUL-terminated, borrowed; NULL: there is none.
struct ca_trust_texts {
    const char *ca;    // ca/ca.pem
    const char *crl;   // ca/crl.pem
    const char *roots; // roots.pem
    const char *crls;  // crls.pem
};

#define CA_TRUST_NOTES      8
#define CA_TRUST_NOTE_BYTES 320

struct ca_trust {
    char *domain;                                    // owned
    struct trust_bundles *bundles;                   // owned
    const struct trust_bundle *bundle;               // the one in it
    struct bytes packed;                             // a State's field trust_bundles
    char *roots_pem;                                 // owned; the roots in it
    struct der_list crls;                            // owned; those that are sent
    char notes[CA_TRUST_NOTES][CA_TRUST_NOTE_BYTES]; // what the operator must know
    size_t num_notes;
    time_t next_update; // the earliest of the CRLs that are sent; INT64_MAX: there is none
};

// ca_trust_new reads the texts. NULL sets err, which names the file. `in_force` (NULL at the start)
// is what it takes the place of: a CRL older than the one of the same issuer in force is refused,
// and so is a stale one of a root or of ca/ca.pem, unless it is in force.
//
// A stale CRL that is taken fails its issuer's certificates, and nothing else; sidecars refuse one
// of a root, unless they have it already. So a root whose CRL is stale is left out together with
// the CRL, where it isn't ca/ca.pem itself and another root is left: nobody may be able to renew
// the CRL after a rotation, and no certificate below that root would pass anyway.
struct ca_trust *ca_trust_new(const struct ca_trust_texts *texts, const struct ca_trust *in_force,
                              time_t now, struct err *err);
void ca_trust_free(struct ca_trust *trust);

// ca_trust_log_notes tells the operator what the trust's notes say.
void ca_trust_log_notes(const struct ca_trust *trust);

#endif
