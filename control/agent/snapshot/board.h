// SPDX-License-Identifier: Apache-2.0
//
// The slots of all sources, and which of them count: what a source tries, else what it holds, and
// of two sources that fill the same slot the later one in the table. Owned by the agent; its one
// thread; bounded by two sets of slots for each of SOURCES_MAX sources. Pure: it joins nothing and
// sends nothing.
#ifndef TABARD_CONTROL_AGENT_SNAPSHOT_BOARD_H
#define TABARD_CONTROL_AGENT_SNAPSHOT_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/agent/snapshot/slots.h"
#include "control/agent/snapshot/source.h"

struct board_row {
    struct slots held;
    struct slots tried;
    uint64_t number;    // of the try; 0: nothing is tried
    bool has_outcome;   // of the try, for board_take
    char outcome[1024]; // empty: in force
};

// Zero state: {0}.
struct board {
    struct board_row rows[SOURCES_MAX];
    uint64_t number_last;
    bool has_news; // what is held has changed since the last offer that held no try
};

void board_cleanup(struct board *board);

// board_put: what a source says from now on; a try of its is over. Empty slots take it off.
void board_put(struct board *board, size_t source, const struct slots *slots);

// board_try puts a try beside what the source holds; board_drop takes it back.
void board_try(struct board *board, size_t source, const struct slots *slots);
void board_drop(struct board *board, size_t source);

// board_slots copies the slots that count, and the numbers of the tries that are in them (0: none).
void board_slots(const struct board *board, struct slots *out, uint64_t tickets[SOURCES_MAX]);
bool board_is_trying(const struct board *board);

// board_settled notes what became of a try, when its number is that of the try at hand: an older
// one is over, and its answer says nothing of this one.
void board_settled(struct board *board, size_t source, uint64_t number, const char *error);

// board_take ends a source's try that has an outcome: what was tried is held from now on, or gone.
// It writes the error (empty: in force) into buf; false: there is no outcome.
bool board_take(struct board *board, size_t source, char *buf, size_t buf_len);

#endif
