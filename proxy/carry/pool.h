// SPDX-License-Identifier: Apache-2.0
//
// The worker's blocks of relay memory, RING_BYTES each, lent out last in, first out, so that the
// warm one goes first. Owned by a worker; its thread alone; bounded by num_blocks_max
// (Limits.buffer_bytes). It keeps POOL_SPARE_MAX free blocks and gives the rest back to the heap.
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

// pool_set_limit takes the bytes that may be lent at once; what is lent above a lowered limit stays
// lent.
void pool_set_limit(struct pool *pool, uint64_t bytes_max);

// pool_borrow returns a block, or NULL at the limit or out of memory.
uint8_t *pool_borrow(struct pool *pool);
void pool_give_back(struct pool *pool, uint8_t *block);

size_t pool_bytes_lent(const struct pool *pool);

#endif
