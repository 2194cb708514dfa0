// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/pool.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/must.h"
#include "proxy/carry/ring.h"

static uint8_t *take(struct pool_spare *spare, size_t len)
{
    return spare->num > 0 ? spare->items[--spare->num] : must_grow(NULL, 1, len);
}

static void keep(struct pool_spare *spare, uint8_t *bytes)
{
    if (spare->num < POOL_SPARE_MAX) {
        spare->items[spare->num++] = bytes;
    } else {
        free(bytes);
    }
}

static void drop_all(struct pool_spare *spare)
{
    while (spare->num > 0) {
        free(spare->items[--spare->num]);
    }
}

void pool_init(struct pool *pool, void (*on_shortage)(void *ctx), void *ctx)
{
    *pool = (struct pool){.on_shortage = on_shortage, .ctx = ctx};
    list_init(&pool->waiting[POOL_READ]);
    list_init(&pool->waiting[POOL_WRITE]);
    list_init(&pool->writing);
}

void pool_cleanup(struct pool *pool)
{
    invariant(pool_bytes_lent(pool) == 0);
    drop_all(&pool->spare_blocks);
    drop_all(&pool->spare_pieces);
}

void pool_set_limit(struct pool *pool, uint64_t bytes_max)
{
    pool->num_blocks_max = bytes_max / RING_BYTES;
    pool->num_blocks_max_to_read = pool->num_blocks_max - (pool->num_blocks_max + 3) / 4;
    if (pool_is_short(pool)) {
        pool->on_shortage(pool->ctx); // there may be more to lend now
    }
}

static bool has_block(const struct pool *pool, enum pool_use use)
{
    return pool->num_lent <
           (use == POOL_READ ? pool->num_blocks_max_to_read : pool->num_blocks_max);
}

static uint8_t *lend(struct pool *pool)
{
    pool->num_lent++;
    return take(&pool->spare_blocks, RING_BYTES);
}

uint8_t *pool_borrow(struct pool *pool, enum pool_use use)
{
    bool is_behind_others =
        pool_is_short(pool) && (use == POOL_READ || !list_is_empty(&pool->waiting[POOL_WRITE]));
    return !is_behind_others && has_block(pool, use) ? lend(pool) : NULL;
}

void pool_wait(struct pool *pool, enum pool_use use, struct list *link)
{
    if (!list_is_linked(link)) {
        if (!pool_is_short(pool)) {
            pool->num_served = pool->num_waits; // some may have left their queue unserved
        }
        pool->num_waits++;
        list_push(&pool->waiting[use], link);
        pool->on_shortage(pool->ctx);
    }
}

uint8_t *pool_lend_next(struct pool *pool, enum pool_use *out_use, struct list **out_link)
{
    *out_use = list_is_empty(&pool->waiting[POOL_WRITE]) ? POOL_READ : POOL_WRITE;
    if (list_is_empty(&pool->waiting[*out_use]) || !has_block(pool, *out_use)) {
        return NULL;
    }
    *out_link = list_pop(&pool->waiting[*out_use]);
    pool->num_served++;
    return lend(pool);
}

uint8_t *pool_borrow_piece(struct pool *pool, size_t len)
{
    invariant(len >= POOL_PIECE_MIN && len <= POOL_PIECE_MAX);
    pool->piece_bytes += len;
    return len == POOL_PIECE_MIN ? take(&pool->spare_pieces, len) : must_grow(NULL, 1, len);
}

void pool_give_back(struct pool *pool, uint8_t *bytes, size_t len)
{
    if (len < RING_BYTES) {
        invariant(pool->piece_bytes >= len);
        pool->piece_bytes -= len;
        if (len == POOL_PIECE_MIN) {
            keep(&pool->spare_pieces, bytes);
        } else {
            free(bytes);
        }
        return;
    }
    invariant(pool->num_lent > 0);
    pool->num_lent--;
    keep(&pool->spare_blocks, bytes);
    if (pool_is_short(pool)) {
        pool->on_shortage(pool->ctx);
    }
}

size_t pool_bytes_lent(const struct pool *pool)
{
    return pool->num_lent * RING_BYTES + pool->piece_bytes;
}
