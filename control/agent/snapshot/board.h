// SPDX-License-Identifier: Apache-2.0
//
// The slots of all sources. A source holds slots, and may try others; while it tries, these count
// instead. Of two sources that fill the same slot the later one in the table counts. The feed puts
// and tries what sources say, reads with board_slots what counts, and passes on the rollout's
// answers: board_settled, then board_take outside of the rollout's callback. Owned by the feed; one
// thread.
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
    uint64_t ticket;    // the number of the try; 0: nothing is tried
    bool has_outcome;   // of the try, for board_take
    char outcome[1024]; // empty: in force
};

// Zero state: {0}.
struct board {
    struct board_row rows[SOURCES_MAX];
    uint64_t ticket_last;
    bool has_news; // what is held has changed since the last good offer that held no try
};

void board_cleanup(struct board *board);

// board_put replaces what a source holds, and ends its try without an outcome. Empty slots take the
// source off the board.
void board_put(struct board *board, size_t source, const struct slots *slots);

// board_try puts a try beside what the source holds; board_drop takes it back.
void board_try(struct board *board, size_t source, const struct slots *slots);
void board_drop(struct board *board, size_t source);

// board_slots copies the slots that count, and the tickets of the tries that are in them (0: none).
void board_slots(const struct board *board, struct slots *out, uint64_t tickets[SOURCES_MAX]);
bool board_is_trying(const struct board *board);

// board_settled notes the outcome of a source's try. The ticket of an older try is ignored.
void board_settled(struct board *board, size_t source, uint64_t ticket, const char *error);

// board_take ends a source's try that has an outcome: what was tried is held from now on, or gone.
// It writes the error (empty: in force) into buf; false: there is no outcome.
bool board_take(struct board *board, size_t source, char *buf, size_t buf_len);

#endif
