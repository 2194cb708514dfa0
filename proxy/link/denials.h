// SPDX-License-Identifier: Apache-2.0
//
// Who would have been denied: a worker's table of the connections that were served although policy
// denies them, since enforcement is OBSERVE, and of those that a DENY policy of mode AUDIT matched.
// One entry stands for all of the same caller, port or destination, and reason. The worker calls
// denials_limit for each snapshot, denials_note for each such connection and denials_report when
// it is asked; its thread alone. Bounded by Limits.denials: at the limit entries of callers without
// identity go first, then those of the service's own calls, those that were noted once before the
// others, the oldest before the newer ones; an entry goes only for one that is worth as much.
#ifndef TABARD_PROXY_LINK_DENIALS_H
#define TABARD_PROXY_LINK_DENIALS_H

#include <stdint.h>

#include "base/addr.h"
#include "base/data/list.h"
#include "proxy/link/stats.h"
#include "tabard/v1/dataplane.pb-c.h"

#define DENIALS_BUCKETS 256

// What an entry is worth at the limit, the least first.
enum denial_worth { DENIAL_STRANGER, DENIAL_OWN, DENIAL_PEER, NUM_DENIAL_WORTHS };

struct denial; // of denials.c

// Zero state and denials_init: an empty table that has room for nothing.
struct denials {
    struct denial *buckets[DENIALS_BUCKETS]; // owned
    struct list once[NUM_DENIAL_WORTHS];     // entries noted once, the oldest first
    struct list often[NUM_DENIAL_WORTHS];    // those noted again, by when they last were
    uint32_t num;
    uint32_t num_max;
    uint64_t seed;        // of the buckets
    uint64_t num_dropped; // what was noted and is in no entry: never entered, or gone
};

void denials_init(struct denials *table);
void denials_cleanup(struct denials *table);

// denials_limit says how many entries there may be; those beyond go.
void denials_limit(struct denials *table, uint32_t num_max);

// One connection. The texts are borrowed for the call.
struct denial_facts {
    enum direction direction;
    const char *reason;      // one of few static texts
    const char *peer;        // the SPIFFE id that was proved; NULL: none
    struct ip source;        // inbound: counts where there is no peer
    struct addr destination; // inbound, its port alone counts
    const char *policy;      // that denies; "": no policy allows
    int rule;                // of it; -1: none
    uint64_t generation;
};

// denials_note counts a connection.
void denials_note(struct denials *table, const struct denial_facts *facts, int64_t unix_ms);

// denials_report adds the entries to a list of `num` that has room for them. protobuf-c frees them.
void denials_report(const struct denials *table, Tabard__V1__Denial **list, size_t *num);

#endif
