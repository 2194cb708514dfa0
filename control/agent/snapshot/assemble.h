// SPDX-License-Identifier: Apache-2.0
//
// The one join and the one check of a configuration: the parts in the slots, whoever filled them,
// become one Snapshot for the proxy and the key that signs for it. Pure; bounded by the limits of
// certs/ and proxy/rules/ and ASSEMBLY_BYTES_MAX. The rollout gives it its generation.
#ifndef TABARD_CONTROL_AGENT_SNAPSHOT_ASSEMBLE_H
#define TABARD_CONTROL_AGENT_SNAPSHOT_ASSEMBLE_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "certs/bundle.h"
#include "certs/identity.h"
#include "control/agent/snapshot/slots.h"
#include "control/agent/snapshot/source.h"
#include "tabard/v1/mesh.pb-c.h"

#define ASSEMBLY_BYTES_MAX (63u << 20) // of a packed Snapshot, so that it fits a frame

struct assembly_crl {
    char trust_domain[SPIFFE_TRUST_DOMAIN_LEN_MAX + 1];
    time_t next_update;               // the earliest of the bundle's CRLs
    size_t num_unproved;              // CRLs whose issuer is no root: chains must show it
    char unproved[TRUST_ISSUER_TEXT]; // the first such issuer
};

// Zero state: {0}.
struct assembly {
    struct slots slots;             // counted; the snapshot's fields borrow from them
    Tabard__V1__Snapshot *snapshot; // owned; generation 0
    EVP_PKEY *key;                  // owned, counted
    EVP_PKEY *fallback_key;         // owned, counted; of the identity's fallback; NULL: none
    uint8_t digest[32];       // SHA-256 of the packed snapshot: equal digests mean nothing changed
    uint8_t trust_digest[32]; // the same of the identity and the trust bundles alone
    char spiffe_id[SPIFFE_ID_LEN_MAX + 1];
    time_t not_before;         // of the leaf; with a fallback, the later one
    time_t not_after;          // the earliest of the chains: from then on peers refuse one
    struct assembly_crl *crls; // owned; the bundles that have CRLs
    size_t num_crls;
    struct err left_out; // why the identity's fallback is not in the snapshot; empty: it is
    bool is_observing;   // settings.enforcement is OBSERVE
    // Who has said which enforcement and key exchange hold (snapshot_setting_by).
    const char *enforcement_by;
    const char *key_exchange_by;
    uint32_t drain_seconds; // defaults filled in
    uint32_t drain_delay_seconds;
    uint16_t outbound_port; // 0: no interception
    uint16_t inbound_port;
    // Of what was refused: peers would not accept the chain, because it is revoked or of no root in
    // the bundles. Another certificate may be good.
    bool is_certificate_refused;
    // By source, the ticket of its try that is in it, which the rollout answers once (rollout.h).
    uint64_t tickets[SOURCES_MAX]; // 0: none
};

// assemble refuses everything that the proxy would refuse or peers would reject: an empty slot, a
// key that is not the leaf's, a fallback of another id or of the same kind of key, a chain that
// peers who trust the same bundles would not accept now, bad policies, destinations, ports and
// limits. A fallback whose chain they would not accept now, or no longer, is left out. false sets
// err, at the field of Snapshot that is to blame; *out is then the zero state but for
// is_certificate_refused, and holds nothing.
bool assemble(struct assembly *out, const struct slots *slots, time_t now, struct err *err);

// assemble_over is assemble where `in_force` (NULL is fine) is in force. An identity and bundles
// that are the very bytes in force are not checked again while the certificate is in date: a CRL
// that has gone stale since holds up nothing else.
bool assemble_over(struct assembly *out, const struct slots *slots, const struct assembly *in_force,
                   time_t now, struct err *err);
void assembly_cleanup(struct assembly *assembly);

// assembly_warn logs why a fallback is left out, and whose CRLs can't be checked yet: an
// intermediate's, or by a slip nobody's.
void assembly_warn(const struct assembly *assembly);

// assemble_check checks the slots that are filled as assemble does, and lets the others be.
bool assemble_check(const struct slots *slots, time_t now, struct err *err);

#endif
