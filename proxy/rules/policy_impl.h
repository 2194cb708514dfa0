// SPDX-License-Identifier: Apache-2.0
//
// The inside of a policy_index: policy_index.c builds it, policy.c decides over it. Bounded by
// policy.h's *_MAX and the ones below.
#ifndef TABARD_PROXY_RULES_POLICY_IMPL_H
#define TABARD_PROXY_RULES_POLICY_IMPL_H

#include "base/data/array.h"
#include "base/data/keymap.h"
#include "base/data/port_range.h"
#include "proxy/rules/policy.h"

// A rule is found through keys: each principal it names (or, without principals, each block of
// source_ips; or, with neither, one key for all), together with each port of its policy. A decision
// looks up only the keys that the request's own id, address and port can have, so rules for other
// peers and ports cost it nothing.
#define INDEX_KEYS_MAX 4000000u // of one index: principals times ports, summed over the rules

// A policy for more ports than this, ranges counted whole, has no keys with a port: its rules are
// found through the keys for every port, and its ports are searched after that.
#define INDEX_PORTS_MAX 16

// The most lists that one request can have, for its port and for "every port": one for the exact
// id, one for the trust domain, one for each slash of a path (a segment has at least one
// character), one for each prefix length of a block, one for everybody.
#define INDEX_LISTS_MAX (2 * (1 + 1 + SPIFFE_ID_LEN_MAX / 2 + 129 + 1))

enum index_kind { INDEX_EXACT, INDEX_PREFIX, INDEX_TRUST_DOMAIN, INDEX_SOURCE, INDEX_EVERYBODY };
enum index_class { INDEX_DENY, INDEX_ALLOW, INDEX_AUDIT, NUM_INDEX_CLASSES };

// A piece of one of the index's arrays.
struct span {
    uint32_t first;
    uint32_t num;
};

struct indexed_rule {
    struct span not_principals; // of patterns
    struct span source_ips;     // of cidrs
    struct span not_source_ips;
};

struct indexed_policy {
    Tabard__V1__Policy *copy; // owned; every text borrows from it
    enum index_class class;
    bool is_deny;
    uint32_t first_rule; // of rules
    struct span ports;   // of port_ranges, in order; none: every port
};

// One rule in the list of one key. `next` is an entry's number plus one; 0 ends the list. Lists
// keep the snapshot's order.
struct index_entry {
    uint32_t policy;
    uint32_t rule;
    uint32_t next;
};

struct index_list {
    uint32_t head[NUM_INDEX_CLASSES]; // as `next`
    uint32_t tail[NUM_INDEX_CLASSES];
};

// The index's arrays: what stands in each, and its name. `bits` holds the distinct prefix lengths
// of the blocks that are keys, `blocks` (owned) the bytes of those keys.
#define INDEX_ARRAYS(X)                                                                            \
    X(struct indexed_policy, policies)                                                             \
    X(struct indexed_rule, rules)                                                                  \
    X(struct spiffe_pattern, patterns)                                                             \
    X(struct cidr, cidrs)                                                                          \
    X(struct port_range, port_ranges)                                                              \
    X(struct index_entry, entries)                                                                 \
    X(struct index_list, lists)                                                                    \
    X(uint8_t, bits)                                                                               \
    X(struct cidr *, blocks)

struct policy_index {
#define X(type, name) struct array name;
    INDEX_ARRAYS(X)
#undef X
    struct keymap names; // a policy's name -> its number
    struct keymap keys;  // a key with its kind and port as the tag -> a list's number
};

static inline uint32_t index_tag(enum index_kind kind, uint16_t port)
{
    return (uint32_t)kind << 16 | port;
}

#endif
