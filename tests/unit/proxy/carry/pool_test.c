// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/pool.h"

#include <criterion/criterion.h>

#include "proxy/carry/ring.h"

enum { NUM_BLOCKS = POOL_SPARE_MAX + 2 };

static uint8_t *blocks[NUM_BLOCKS];

static void borrow_all(struct pool *pool)
{
    pool_set_limit(pool, (uint64_t)NUM_BLOCKS * RING_BYTES);
    for (int i = 0; i < NUM_BLOCKS; i++) {
        blocks[i] = pool_borrow(pool);
        cr_assert_not_null(blocks[i]);
    }
}

static void give_back_all(struct pool *pool)
{
    for (int i = 0; i < NUM_BLOCKS; i++) {
        pool_give_back(pool, blocks[i]);
    }
}

Test(pool, lends_up_to_its_limit_and_again_what_came_back, .timeout = 20)
{
    struct pool pool = {0};
    cr_assert(pool_borrow(&pool) == NULL, "a pool without a limit lends nothing");
    pool_set_limit(&pool, 2 * RING_BYTES + 1);
    uint8_t *first = pool_borrow(&pool);
    uint8_t *second = pool_borrow(&pool);
    cr_assert(first != NULL && second != NULL && pool_borrow(&pool) == NULL);
    cr_assert(pool_bytes_lent(&pool) == 2 * RING_BYTES);
    pool_give_back(&pool, second);
    cr_assert(pool_borrow(&pool) == second, "the warm block goes first");
    pool_give_back(&pool, first);
    pool_give_back(&pool, second);
    pool_cleanup(&pool);
}

Test(pool, keeps_only_so_many_spare_blocks_and_lends_the_last_first, .timeout = 20)
{
    struct pool pool = {0};
    borrow_all(&pool);
    give_back_all(&pool);
    cr_assert_eq(pool.num_spare, POOL_SPARE_MAX);
    cr_assert_eq(pool_bytes_lent(&pool), 0);
    uint8_t *block = pool_borrow(&pool);
    cr_assert_eq(block, blocks[POOL_SPARE_MAX - 1]);
    pool_give_back(&pool, block);
    pool_cleanup(&pool);
    cr_assert_eq(pool.num_spare, 0);
}
