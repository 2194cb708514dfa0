// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/side.h"

#include <criterion/criterion.h>

#include "tests/unit/proxy/memory.h"

// Two sides that write to peers which take nothing by themselves.
static struct {
    struct pool pool;
    struct memory near[2];
    struct memory far[2];
    struct wire there[2];
    struct wire back[2];
} t;

static void on_shortage(void *ctx)
{
    (void)ctx;
}

static void init(void)
{
    pool_init(&t.pool, on_shortage, NULL);
    pool_set_limit(&t.pool, 8 * RING_BYTES);
    for (int i = 0; i < 2; i++) {
        t.there[i].bytes_max = t.back[i].bytes_max = 20000;
        memory_join(&t.near[i], &t.far[i], &t.there[i], &t.back[i], &t.pool);
        t.near[i].side.is_relaying = true;
    }
}

static void cleanup(void)
{
    for (int i = 0; i < 2; i++) {
        side_close(&t.near[i].side, true);
        side_close(&t.far[i].side, true);
    }
    pool_cleanup(&t.pool);
}

TestSuite(side, .init = init, .fini = cleanup, .timeout = 20);

static struct side *write_much(int number)
{
    static const uint8_t zeros[60000];
    struct side *side = &t.near[number].side;
    cr_assert(side_borrow(side, &side->out));
    cr_assert(ring_write(&side->out, zeros, sizeof zeros) == sizeof zeros);
    side_flush(side);
    cr_assert(side->writing_len > 0 && list_is_linked(&side->writing));
    return side;
}

static void take(int number, size_t len)
{
    ring_pull(&t.there[number].ring, len);
}

static const struct side *first_in_list(void)
{
    return LIST_OF(t.pool.writing.next, struct side, writing);
}

Test(side, whose_peer_takes_nothing_is_stalled_once_it_was_looked_at)
{
    struct side *side = write_much(0);
    cr_assert(!side_is_stalled(side, 100000), "nobody has looked yet");
    side_see_progress(side, 100000);
    cr_assert(!side_is_stalled(side, 100000 + SIDE_PROGRESS_MS - 1));
    cr_assert(side_is_stalled(side, 100000 + SIDE_PROGRESS_MS));
    take(0, SIDE_PROGRESS_BYTES - 1);
    side_see_progress(side, 100000 + SIDE_PROGRESS_MS);
    cr_assert(side_is_stalled(side, 100000 + SIDE_PROGRESS_MS), "it took too little");
    cr_assert(side->stalled_ms == side->waiting_ms);
}

Test(side, whose_peer_takes_enough_goes_behind_those_that_are_stalled)
{
    struct side *slow = write_much(0);
    struct side *stalled = write_much(1);
    cr_assert(first_in_list() == slow);
    side_see_progress(slow, 100000);
    side_see_progress(stalled, 100000);
    for (uint64_t now_ms = 100000; t.there[0].ring.len >= SIDE_PROGRESS_BYTES;) {
        take(0, SIDE_PROGRESS_BYTES);
        now_ms += SIDE_PROGRESS_MS;
        side_see_progress(slow, now_ms);
        side_see_progress(stalled, now_ms);
        cr_assert(!side_is_stalled(slow, now_ms) && side_is_stalled(stalled, now_ms));
        cr_assert(first_in_list() == stalled);
        cr_assert(slow->stalled_ms == now_ms && slow->waiting_ms == stalled->waiting_ms);
    }
}

Test(side, that_is_written_out_waits_for_nobody)
{
    struct side *side = write_much(0);
    side_see_progress(side, 100000);
    while (side->writing_len > 0) {
        take(0, t.there[0].ring.len);
        memory_turn(&t.near[0], SIZE_MAX);
    }
    cr_assert(!list_is_linked(&side->writing) && side->out.bytes == NULL);
    write_much(0);
    cr_assert(!side_is_stalled(side, 200000), "this is another write");
}
