// SPDX-License-Identifier: Apache-2.0
//
// What the files say, checked as a whole, made into one Snapshot for the proxy and the key that
// signs for it. Pure: no sockets, no globals, `now` is an argument. Owned by the caller; any
// thread; bounded by the limits of certs/ and proxy/ and ASSEMBLED_BYTES_MAX. It sends nothing and
// numbers nothing: generations are rollout's.
#ifndef TABARD_CONTROL_AGENT_SNAPSHOT_ASSEMBLE_H
#define TABARD_CONTROL_AGENT_SNAPSHOT_ASSEMBLE_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "base/err.h"
#include "certs/identity.h"
#include "control/agent/sources/files/mesh_files.h"
#include "control/agent/sources/policy_agent/pa_access.h"
#include "tabard/v1/mesh.pb-c.h"

#define ASSEMBLED_BYTES_MAX (63u << 20) // of a packed Snapshot, so that it fits a frame

struct assembled_crl {
    char trust_domain[SPIFFE_TRUST_DOMAIN_LEN_MAX + 1];
    time_t next_update; // the earliest of the bundle's CRLs
};

// Zero state: {0}.
struct assembled {
    Tabard__V1__Snapshot *snapshot; // owned; generation 0
    EVP_PKEY *key;                  // owned, counted
    uint8_t digest[32]; // SHA-256 of the packed snapshot: equal digests mean nothing changed
    char spiffe_id[SPIFFE_ID_LEN_MAX + 1];
    time_t not_before;          // of the leaf
    time_t not_after;           // the earliest of the chain: from then on peers refuse it
    struct assembled_crl *crls; // owned; the bundles that have CRLs
    size_t num_crls;
    uint32_t drain_seconds; // defaults filled in
    uint16_t outbound_port; // 0: no interception
    uint16_t inbound_port;
    // Whom to follow; owned. Then the snapshot holds the local part alone: no policies,
    // destinations and bundles, maybe no identity, and what peers would say of it is not known yet.
    struct pa_access *access;
    uint64_t ticket; // who offers it wants to know what became of it (rollout.h); 0: nobody does
};

// assemble checks everything that the proxy would refuse or peers would reject, all or nothing:
// every file's form, that the key belongs to the leaf, that peers who trust the same bundles would
// accept the chain now, policies, destinations, ports and limits. It takes the parts of
// files->config that the snapshot needs, so that files is only good for mesh_files_locate,
// mesh_files_moved and mesh_files_cleanup after it. false sets err, located in mesh.yaml; *out is
// then the zero state.
bool assemble(struct assembled *out, struct mesh_files *files, time_t now, struct err *err);
void assembled_cleanup(struct assembled *assembled);

// mesh_load reads and assembles mesh.yaml at `path` in one go, as `tabardctl check` does.
bool mesh_load(const char *path, time_t now, struct assembled *out, struct err *err);

#endif
