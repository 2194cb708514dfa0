// SPDX-License-Identifier: Apache-2.0
//
// The worker's blocks of relay memory, RING_BYTES each. The block that came back last is lent
// first: it is still warm. A worker owns its pool, and sides borrow from it (side_borrow,
// side_settle); num_blocks_max (Limits.buffer_bytes) bounds what is lent. Up to POOL_SPARE_MAX free
// blocks are kept, the rest goes back to the heap.
#ifndef TABARD_PROXY_CARRY_POOL_H
#define TABARD_PROXY_CARRY_POOL_H

#include <stddef.h>
#include <stdint.h>

#define POOL_SPARE_MAX 64

// Zero state: lends nothing.
struct pool {
    uint8_t *spare[POOL_SPARE_MAX]; // owned
    size_t num_spare;
    size_t num_lent;
    size_t num_blocks_max;
};

// pool_cleanup frees the spare blocks; nothing may be lent.
void pool_cleanup(struct pool *pool);

// pool_set_limit sets how many bytes may be lent at once. Blocks that are lent above a lowered
// limit stay lent.
void pool_set_limit(struct pool *pool, uint64_t bytes_max);

// pool_borrow returns a block of undefined bytes, or NULL at the limit.
uint8_t *pool_borrow(struct pool *pool);
void pool_give_back(struct pool *pool, uint8_t *block);

size_t pool_bytes_lent(const struct pool *pool);

#endif
