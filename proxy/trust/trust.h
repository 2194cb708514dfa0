// SPDX-License-Identifier: Apache-2.0
//
// Who we are, whom we trust, and by which key exchange: the part of a snapshot that a change of
// policy leaves as it was. Consecutive snapshots share it, counted across threads, while none of
// this changes, since TLS contexts and parsed revocation lists are expensive. Immutable once
// built.
#ifndef TABARD_PROXY_TRUST_TRUST_H
#define TABARD_PROXY_TRUST_TRUST_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "certs/bundle.h"
#include "certs/key.h"
#include "certs/tls/context.h"
#include "certs/identity.h"
#include "certs/path/verify.h"
#include "proto/contract.h"
#include "tabard/v1/mesh.pb-c.h"

#define TRUST_KEYS_TEXT (2 * KEY_TEXT_MAX + 4)

struct trust {
    atomic_uint num_refs;
    uint8_t key_id[CONTRACT_KEY_ID_LEN];          // which key signs, as the agent names it
    uint8_t fallback_key_id[CONTRACT_KEY_ID_LEN]; // where the fallback is shown
    char keys[TRUST_KEYS_TEXT];                   // of the chains: "ML-DSA-44 or ECDSA P-256"
    struct context_pair contexts;                 // owned
    struct trust_bundles *bundles;                // owned
    bool needs_post_quantum;                      // of every handshake's key exchange
    struct verified_peer self;                    // who we are
    struct spiffe_id self_id;                     // of self.id
    uint8_t source_digest[32];                    // SHA-256 of the messages it was built of
    time_t checked_from; // the checks against the clock hold from this time on
};

// trust_new returns the trust of a snapshot, counted: `previous` (NULL is fine) once more, if it
// was built of the same bytes and the own chain is still in date at `now`; else a new one, which
// checks all of it, also that no CRL is older than that of `previous`. A CRL that has gone stale
// meanwhile ends no sharing: verify_peer fails its issuer's certificates, and whatever else the
// snapshot brings comes into force. The identity is verified like a peer's. NULL sets err.
struct trust *trust_new(const Tabard__V1__Snapshot *message, struct trust *previous,
                        const struct context_hooks *hooks, time_t now, struct err *err);

// trust_warn_of_withdrawn logs which CRLs of `before` have no successor in `trust`, where the trust
// domain has stayed: for whoever puts `trust` in force in its place.
void trust_warn_of_withdrawn(const struct trust *trust, const struct trust *before);

void trust_unref(struct trust *trust); // NULL is fine

#endif
