// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/pool.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/must.h"
#include "proxy/carry/ring.h"

void pool_cleanup(struct pool *pool)
{
    invariant(pool->num_lent == 0);
    while (pool->num_spare > 0) {
        free(pool->spare[--pool->num_spare]);
    }
}

void pool_set_limit(struct pool *pool, uint64_t bytes_max)
{
    pool->num_blocks_max = bytes_max / RING_BYTES;
}

uint8_t *pool_borrow(struct pool *pool)
{
    if (pool->num_lent >= pool->num_blocks_max) {
        return NULL;
    }
    pool->num_lent++;
    return pool->num_spare > 0 ? pool->spare[--pool->num_spare] : must_grow(NULL, 1, RING_BYTES);
}

void pool_give_back(struct pool *pool, uint8_t *block)
{
    invariant(pool->num_lent > 0);
    pool->num_lent--;
    if (pool->num_spare < POOL_SPARE_MAX) {
        pool->spare[pool->num_spare++] = block;
    } else {
        free(block);
    }
}

size_t pool_bytes_lent(const struct pool *pool)
{
    return pool->num_lent * RING_BYTES;
}
