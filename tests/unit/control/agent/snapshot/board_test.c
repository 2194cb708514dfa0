// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot/board.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/must.h"

#define FILES 0
#define FIRST 1
#define LAST  2

// A part that can be told from others.
static struct part *new_part(void)
{
    Tabard__V1__Snapshot *snapshot = must_alloc(1, sizeof *snapshot);
    tabard__v1__snapshot__init(snapshot);
    return part_new(&snapshot->base, NULL);
}

// Slots with one part in one slot; the part is only compared afterwards.
static struct slots one(enum snapshot_part which, const struct part **out)
{
    struct slots slots = {{NULL}};
    slots.parts[which] = new_part();
    *out = slots.parts[which];
    return slots;
}

static void put(struct board *board, size_t source, enum snapshot_part which,
                const struct part **out)
{
    struct slots slots = one(which, out);
    board_put(board, source, &slots);
    slots_cleanup(&slots);
}

static void try(struct board *board, size_t source, enum snapshot_part which,
                const struct part **out)
{
    struct slots slots = one(which, out);
    board_try(board, source, &slots);
    slots_cleanup(&slots);
}

// The part that counts in a slot, borrowed from the board.
static const struct part *look(const struct board *board, enum snapshot_part which)
{
    struct slots slots;
    uint64_t tickets[SOURCES_MAX];
    board_slots(board, &slots, tickets);
    const struct part *part = slots.parts[which];
    slots_cleanup(&slots);
    return part;
}

static uint64_t ticket(const struct board *board, size_t source)
{
    struct slots slots;
    uint64_t tickets[SOURCES_MAX];
    board_slots(board, &slots, tickets);
    slots_cleanup(&slots);
    return tickets[source];
}

static bool take(struct board *board, size_t source)
{
    char error[64];
    return board_take(board, source, error, sizeof error);
}

Test(board, the_later_source_counts_until_it_empties_its_slot, .timeout = 10)
{
    struct board board = {0};
    const struct part *files;
    const struct part *issued;
    put(&board, FIRST, SNAPSHOT_IDENTITY, &issued);
    put(&board, FILES, SNAPSHOT_IDENTITY, &files);
    cr_expect_eq(look(&board, SNAPSHOT_IDENTITY), issued);
    cr_expect_null(look(&board, SNAPSHOT_RULES));
    board_put(&board, FIRST, &(struct slots){{NULL}});
    cr_expect_eq(look(&board, SNAPSHOT_IDENTITY), files);
    board_cleanup(&board);
}

Test(board, a_try_counts_and_stays_when_it_came_into_force, .timeout = 10)
{
    struct board board = {0};
    const struct part *before;
    const struct part *tried;
    put(&board, FIRST, SNAPSHOT_RULES, &before);
    board.has_news = false;
    try(&board, FIRST, SNAPSHOT_RULES, &tried);
    cr_expect_eq(look(&board, SNAPSHOT_RULES), tried);
    cr_expect(board_is_trying(&board));
    cr_expect_not(take(&board, FIRST), "nobody has answered yet");
    board_settled(&board, FIRST, ticket(&board, FIRST), "");
    cr_expect(take(&board, FIRST));
    cr_expect_eq(look(&board, SNAPSHOT_RULES), tried);
    cr_expect_not(board_is_trying(&board));
    cr_expect_not(take(&board, FIRST), "once");
    cr_expect_not(board.has_news);
    board_cleanup(&board);
}

Test(board, a_refused_try_gives_way_to_what_was_held, .timeout = 10)
{
    struct board board = {0};
    char error[64];
    const struct part *before;
    const struct part *tried;
    put(&board, FIRST, SNAPSHOT_RULES, &before);
    try(&board, FIRST, SNAPSHOT_RULES, &tried);
    board_settled(&board, FIRST, ticket(&board, FIRST), "no");
    cr_expect(board_take(&board, FIRST, error, sizeof error));
    cr_expect_str_eq(error, "no");
    cr_expect_eq(look(&board, SNAPSHOT_RULES), before);
    board_cleanup(&board);
}

Test(board, an_answer_to_an_older_try_says_nothing_of_the_one_at_hand, .timeout = 10)
{
    struct board board = {0};
    const struct part *tried;
    try(&board, FIRST, SNAPSHOT_RULES, &tried);
    uint64_t first = ticket(&board, FIRST);
    board_settled(&board, FIRST, first, "");
    cr_expect(take(&board, FIRST));
    board_settled(&board, FIRST, first, "");
    cr_expect_not(take(&board, FIRST), "that try is over");
    try(&board, FIRST, SNAPSHOT_RULES, &tried);
    cr_expect_neq(ticket(&board, FIRST), first);
    board_settled(&board, FIRST, first, "");
    cr_expect_not(take(&board, FIRST), "and the next one has a ticket of its own");
    board_cleanup(&board);
}

Test(board, the_tries_of_two_sources_do_not_meet, .timeout = 10)
{
    struct board board = {0};
    const struct part *rules;
    const struct part *identity;
    try(&board, FIRST, SNAPSHOT_RULES, &rules);
    try(&board, LAST, SNAPSHOT_IDENTITY, &identity);
    cr_expect_neq(ticket(&board, FIRST), ticket(&board, LAST));
    board_settled(&board, LAST, ticket(&board, FIRST), "");
    cr_expect_not(take(&board, LAST), "that is the other's ticket");
    board_settled(&board, LAST, ticket(&board, LAST), "no");
    cr_expect(take(&board, LAST));
    cr_expect_null(look(&board, SNAPSHOT_IDENTITY));
    cr_expect_eq(look(&board, SNAPSHOT_RULES), rules);
    cr_expect(board_is_trying(&board));
    board_cleanup(&board);
}
