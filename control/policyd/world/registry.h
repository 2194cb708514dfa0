// SPDX-License-Identifier: Apache-2.0
//
// The addresses in use, and whose they are: sidecars claim theirs, or somebody who knows places
// them (registry_place). An address belongs to one workload, by its key (fleet_key): that of its
// oldest claim, but a claim that lingers counts after all others. Owned by the world; the loop's
// thread only; bounded by REGISTRY_CLAIMS_MAX and REGISTRY_ADDRESSES_MAX. It asks nobody whether a
// claim is permitted (see fleet.h) and writes no file (see registry_dir.h); time is an argument.
#ifndef TABARD_CONTROL_POLICYD_WORLD_REGISTRY_H
#define TABARD_CONTROL_POLICYD_WORLD_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "control/policyd/world/table.h"

#define REGISTRY_CLAIMS_MAX    200000
#define REGISTRY_ADDRESSES_MAX 16 // of one claim

struct claim; // opaque: one sidecar's addresses

// A claim to make: an identity and its addresses. registry_claim copies everything.
struct claim_spec {
    const char *id; // a workload's key: a SPIFFE id, in a folder
    const struct ip *addresses;
    size_t num_addresses;
    uint64_t since_us; // the older claim counts
    bool is_foreign;   // another policyd's: no address is refused, but it may lose them
};

struct registry {
    struct table places; // ip -> place
    uint32_t num_claims;
    void *ctx;
    // An address moved from one identity to another; NULL stands for nobody. Borrowed for the call.
    void (*on_moved)(void *ctx, const struct ip *ip, const char *from_id, const char *to_id);
};

void registry_init(struct registry *registry, void *ctx,
                   void (*on_moved)(void *ctx, const struct ip *ip, const char *from_id,
                                    const char *to_id));
// registry_cleanup needs every claim to be gone; what was placed goes with it, and on_moved isn't
// called.
void registry_cleanup(struct registry *registry);

// registry_claim takes addresses for a sidecar. It refuses what is over a limit and, unless the
// spec is foreign, an address that belongs to another identity, except by a lingering claim. NULL
// sets err.
struct claim *registry_claim(struct registry *registry, const struct claim_spec *spec,
                             struct err *err);

// registry_linger: the sidecar is out of touch; its addresses stay where they are, but give way to
// whoever else claims them. The caller drops the claim after a while.
// registry_drop gives the addresses up and frees the claim. NULL is allowed.
void registry_linger(struct registry *registry, struct claim *claim);
void registry_drop(struct registry *registry, struct claim *claim);

// registry_place says whose an address is, instead of a sidecar, and whose it was before no more;
// NULL: nobody's. false sets err: a limit is reached.
bool registry_place(struct registry *registry, const struct ip *ip, const char *id,
                    struct err *err);

// registry_owner returns the key of the workload that an address belongs to, borrowed, or NULL.
const char *registry_owner(struct registry *registry, const struct ip *ip);

// claim_is_in_force says whether all of a claim's addresses are its identity's.
bool claim_is_in_force(const struct claim *claim);

const char *claim_id(const struct claim *claim);
const struct ip *claim_addresses(const struct claim *claim, size_t *out_num);
uint64_t claim_since_us(const struct claim *claim);

#endif
