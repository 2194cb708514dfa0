// SPDX-License-Identifier: Apache-2.0
//
// A carrier in memory: two wires stand for the network between two sides, so that a test decides
// how many bytes arrive at once and how many may be on their way. For tests; no sockets, no clock.
// The test joins two sides by two wires (memory_join), and calls memory_turn for each side until
// both have come to rest.
#ifndef TABARD_TESTS_UNIT_PROXY_MEMORY_H
#define TABARD_TESTS_UNIT_PROXY_MEMORY_H

#include "proxy/carry/side.h"

// One direction. Zero state with bytes_max set, RING_BYTES at most.
struct wire {
    uint8_t bytes[RING_BYTES];
    struct ring ring;
    size_t bytes_max; // that may be on their way
    bool has_end;
    bool is_reset;
};

struct memory {
    struct side side;  // first: the carrier finds the memory by it
    struct wire *from; // borrowed from the test
    struct wire *to;   // borrowed from the test
};

// memory_join makes two connected sides, what one sends being what the other gets.
void memory_join(struct memory *one, struct memory *other, struct wire *there, struct wire *back,
                 struct pool *pool);

// memory_turn does what the network would: at most `len_max` bytes arrive. Returns whether anything
// happened.
bool memory_turn(struct memory *memory, size_t len_max);

#endif
