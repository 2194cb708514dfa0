// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot/board.h"

#include <stdio.h>

void board_drop(struct board *board, size_t source)
{
    struct board_row *row = &board->rows[source];
    slots_cleanup(&row->tried);
    row->ticket = 0;
    row->has_outcome = false;
}

void board_cleanup(struct board *board)
{
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        slots_cleanup(&board->rows[i].held);
        board_drop(board, i);
    }
}

void board_put(struct board *board, size_t source, const struct slots *slots)
{
    struct slots before = board->rows[source].held;
    slots_copy(&board->rows[source].held, slots);
    slots_cleanup(&before);
    board_drop(board, source);
    board->has_news = true;
}

void board_try(struct board *board, size_t source, const struct slots *slots)
{
    board_drop(board, source);
    slots_copy(&board->rows[source].tried, slots);
    board->rows[source].ticket = ++board->ticket_last;
}

void board_slots(const struct board *board, struct slots *out, uint64_t tickets[SOURCES_MAX])
{
    *out = (struct slots){{NULL}};
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        const struct board_row *row = &board->rows[i];
        const struct slots *slots = row->ticket != 0 ? &row->tried : &row->held;
        for (unsigned j = 0; j < SNAPSHOT_NUM_PARTS; j++) {
            if (slots->parts[j] != NULL) {
                slots_fill(out, (enum snapshot_part)j, slots->parts[j]);
            }
        }
        tickets[i] = row->ticket;
    }
}

bool board_is_trying(const struct board *board)
{
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        if (board->rows[i].ticket != 0) {
            return true;
        }
    }
    return false;
}

void board_settled(struct board *board, size_t source, uint64_t ticket, const char *error)
{
    struct board_row *row = &board->rows[source];
    if (row->ticket != 0 && row->ticket == ticket) {
        row->has_outcome = true;
        snprintf(row->outcome, sizeof row->outcome, "%s", error);
    }
}

bool board_take(struct board *board, size_t source, char *buf, size_t buf_len)
{
    struct board_row *row = &board->rows[source];
    if (!row->has_outcome) {
        return false;
    }
    snprintf(buf, buf_len, "%s", row->outcome);
    if (row->outcome[0] == '\0') {
        struct slots before = row->held;
        row->held = row->tried;
        row->tried = (struct slots){{NULL}};
        slots_cleanup(&before);
    }
    board_drop(board, source);
    return true;
}
