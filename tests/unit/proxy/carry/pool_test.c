// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/pool.h"

#include <criterion/criterion.h>

#include "proxy/carry/ring.h"

enum { NUM_BLOCKS = POOL_SPARE_MAX + 2 };

static struct pool pool;
static unsigned num_shortages;
static uint8_t *blocks[NUM_BLOCKS];

static void on_shortage(void *ctx)
{
    cr_assert(ctx == blocks);
    num_shortages++;
}

static void init(void)
{
    pool_init(&pool, on_shortage, blocks);
}

static void cleanup(void)
{
    pool_cleanup(&pool);
    cr_assert(pool.spare_blocks.num == 0 && pool.spare_pieces.num == 0);
}

TestSuite(pool, .init = init, .fini = cleanup, .timeout = 20);

static void borrow_all(enum pool_use use, size_t num)
{
    for (size_t i = 0; i < num; i++) {
        blocks[i] = pool_borrow(&pool, use);
        cr_assert_not_null(blocks[i]);
    }
}

static void give_back_all(size_t num)
{
    for (size_t i = 0; i < num; i++) {
        pool_give_back(&pool, blocks[i], RING_BYTES);
    }
}

Test(pool, lends_up_to_its_limit_and_again_what_came_back)
{
    cr_assert(pool_borrow(&pool, POOL_WRITE) == NULL, "a pool without a limit lends nothing");
    pool_set_limit(&pool, 2 * RING_BYTES + 1);
    uint8_t *first = pool_borrow(&pool, POOL_WRITE);
    uint8_t *second = pool_borrow(&pool, POOL_WRITE);
    cr_assert(first != NULL && second != NULL && pool_borrow(&pool, POOL_WRITE) == NULL);
    cr_assert(pool_bytes_lent(&pool) == 2 * RING_BYTES);
    pool_give_back(&pool, second, RING_BYTES);
    cr_assert(pool_borrow(&pool, POOL_WRITE) == second, "the warm block goes first");
    pool_give_back(&pool, first, RING_BYTES);
    pool_give_back(&pool, second, RING_BYTES);
}

Test(pool, keeps_only_so_many_spare_blocks_and_lends_the_last_first)
{
    pool_set_limit(&pool, (uint64_t)NUM_BLOCKS * RING_BYTES);
    borrow_all(POOL_WRITE, NUM_BLOCKS);
    give_back_all(NUM_BLOCKS);
    cr_assert_eq(pool.spare_blocks.num, POOL_SPARE_MAX);
    cr_assert_eq(pool_bytes_lent(&pool), 0);
    uint8_t *block = pool_borrow(&pool, POOL_WRITE);
    cr_assert_eq(block, blocks[POOL_SPARE_MAX - 1]);
    pool_give_back(&pool, block, RING_BYTES);
}

Test(pool, a_quarter_of_the_blocks_is_for_writing_alone)
{
    pool_set_limit(&pool, 8 * RING_BYTES);
    borrow_all(POOL_READ, 6);
    cr_assert(pool_borrow(&pool, POOL_READ) == NULL);
    blocks[6] = pool_borrow(&pool, POOL_WRITE);
    blocks[7] = pool_borrow(&pool, POOL_WRITE);
    cr_assert(blocks[6] != NULL && blocks[7] != NULL && pool_borrow(&pool, POOL_WRITE) == NULL);
    give_back_all(8);
}

Test(pool, lends_in_the_order_of_asking_and_to_writers_first)
{
    struct list readers[2] = {0};
    struct list writers[2] = {0};
    enum pool_use use;
    struct list *link;
    pool_set_limit(&pool, 4 * RING_BYTES);
    borrow_all(POOL_WRITE, 4);
    for (size_t i = 0; i < 2; i++) {
        pool_wait(&pool, POOL_READ, &readers[i]);
        pool_wait(&pool, POOL_WRITE, &writers[i]);
        pool_wait(&pool, POOL_WRITE, &writers[0]); // who waits already keeps its place
    }
    cr_assert(num_shortages == 4 && pool.num_waits == 4 && pool_is_short(&pool));
    cr_assert(pool_lend_next(&pool, &use, &link) == NULL, "nothing came back");
    give_back_all(4);
    cr_assert(num_shortages == 8);
    cr_assert(pool_borrow(&pool, POOL_WRITE) == NULL, "nobody overtakes");
    cr_assert(pool_borrow(&pool, POOL_READ) == NULL, "nobody overtakes");
    struct list *const order[] = {&writers[0], &writers[1], &readers[0]};
    for (size_t i = 0; i < 3; i++) {
        blocks[i] = pool_lend_next(&pool, &use, &link);
        cr_assert(blocks[i] != NULL && link == order[i] && !list_is_linked(link), "%zu", i);
        cr_assert(use == (i < 2 ? POOL_WRITE : POOL_READ));
    }
    cr_assert(pool_lend_next(&pool, &use, &link) == NULL, "the last one is for a writer");
    blocks[3] = pool_borrow(&pool, POOL_WRITE);
    cr_assert(blocks[3] != NULL, "and a writer gets it");
    list_remove(&readers[1]);
    cr_assert(!pool_is_short(&pool));
    give_back_all(4);
}

Test(pool, pieces_are_lent_whatever_the_limit_and_counted)
{
    uint8_t *small = pool_borrow_piece(&pool, POOL_PIECE_MIN);
    uint8_t *large = pool_borrow_piece(&pool, POOL_PIECE_MAX);
    cr_assert(pool_bytes_lent(&pool) == POOL_PIECE_MIN + POOL_PIECE_MAX);
    pool_give_back(&pool, small, POOL_PIECE_MIN);
    pool_give_back(&pool, large, POOL_PIECE_MAX);
    cr_assert(pool_bytes_lent(&pool) == 0 && pool_borrow_piece(&pool, POOL_PIECE_MIN) == small);
    pool_give_back(&pool, small, POOL_PIECE_MIN);
}
