// SPDX-License-Identifier: Apache-2.0
//
// The slots that a source of configuration fills, one for each part of a Snapshot
// (proxy/rules/snapshot_join.h); it knows nothing of who fills the others. A part is counted and
// never changes; the last reference frees it. The counts are not atomic: a part belongs to one
// thread at a time.
#ifndef TABARD_CONTROL_AGENT_SNAPSHOT_SLOTS_H
#define TABARD_CONTROL_AGENT_SNAPSHOT_SLOTS_H

#include <openssl/base.h>
#include <stdbool.h>

#include "proxy/rules/snapshot_join.h"

struct part {
    unsigned num_refs;
    ProtobufCMessage *message; // owned; a MeshConfig, a State, a Snapshot: see snapshot_join
    EVP_PKEY *key;             // owned; of the identity in the message; NULL where there is none
    EVP_PKEY *fallback_key;    // owned; of its fallback; NULL where there is none
};

// part_new takes over both. It has no fallback_key yet.
struct part *part_new(ProtobufCMessage *message, EVP_PKEY *key);
struct part *part_ref(struct part *part);
void part_unref(struct part *part); // NULL is allowed

// part_identity returns the identity in a part; NULL: none, or no part.
const Tabard__V1__Identity *part_identity(const struct part *part);

// Zero state: all empty.
struct slots {
    struct part *parts[SNAPSHOT_NUM_PARTS]; // counted; NULL: empty
};

// slots_fill puts a part, of which it counts a reference, in place of what was there.
void slots_fill(struct slots *slots, enum snapshot_part which, struct part *part);
void slots_copy(struct slots *out, const struct slots *from); // out must be the zero state
void slots_cleanup(struct slots *slots);
bool slots_are_whole(const struct slots *slots); // no slot is empty

#endif
