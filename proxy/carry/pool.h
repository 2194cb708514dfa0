// SPDX-License-Identifier: Apache-2.0
//
// The worker's relay memory: blocks of RING_BYTES, lent to the rings of connections that relay, and
// smaller pieces, for what is read and said before that. The block that came back last is lent
// first: it is still warm. A worker owns its pool, and sides borrow from it (proxy/carry/side.h).
//
// num_blocks_max (Limits.buffer_bytes) bounds the blocks. At the limit nobody is refused: who asks
// waits in a queue, and on_shortage lets the worker lend to the queue as blocks come back, and end
// whoever holds one longest without its bytes moving (proxy/conn/turns.h). A quarter of the blocks
// is for writing alone: every block that is read into can be written out of, so no two connections
// wait for each other. What bounds the pieces is the number of connections, and POOL_PIECE_MAX.
//
// Up to POOL_SPARE_MAX free blocks are kept, and as many pieces; the rest goes back to the heap.
#ifndef TABARD_PROXY_CARRY_POOL_H
#define TABARD_PROXY_CARRY_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/data/list.h"

#define POOL_SPARE_MAX 64
// The smallest piece and the largest; those between are powers of two.
#define POOL_PIECE_MIN 2048u
#define POOL_PIECE_MAX 16384u

// What a block is borrowed for: to read from a carrier, or to write to one.
enum pool_use { POOL_READ, POOL_WRITE, NUM_POOL_USES };

struct pool_spare {
    uint8_t *items[POOL_SPARE_MAX]; // owned
    size_t num;
};

struct pool {
    struct pool_spare spare_blocks;
    struct pool_spare spare_pieces; // of POOL_PIECE_MIN
    size_t num_lent;                // blocks
    size_t piece_bytes;             // lent
    size_t num_blocks_max;
    size_t num_blocks_max_to_read;      // beyond which none is lent to read
    uint64_t num_waits;                 // that have begun, ever
    uint64_t num_served;                // of them; as many, once nobody waits
    struct list waiting[NUM_POOL_USES]; // who waits for a block: the links of pool_wait
    struct list writing; // who has bytes that its peer doesn't take, the longest first (side.h)
    void (*on_shortage)(void *ctx);
    void *ctx; // of on_shortage
};

// pool_init makes a pool that lends no blocks yet. on_shortage is called whenever somebody begins
// to wait, and whenever a block comes back while somebody waits.
void pool_init(struct pool *pool, void (*on_shortage)(void *ctx), void *ctx);

// pool_cleanup frees what is spare; nothing may be lent.
void pool_cleanup(struct pool *pool);

// pool_set_limit sets how many bytes of blocks may be lent at once. Blocks that are lent above a
// lowered limit stay lent.
void pool_set_limit(struct pool *pool, uint64_t bytes_max);

// pool_borrow returns a block of undefined bytes. NULL: at the limit, or others wait for it.
uint8_t *pool_borrow(struct pool *pool, enum pool_use use);

// pool_wait puts a link at the end of the queue for a use, unless it is in it already. The caller
// takes it out (list_remove) where it needs the block no more.
void pool_wait(struct pool *pool, enum pool_use use, struct list *link);

// pool_lend_next lends a block to whoever has waited longest, which leaves its queue; who writes
// goes before who reads. NULL: nobody waits, or there is nothing to lend.
uint8_t *pool_lend_next(struct pool *pool, enum pool_use *out_use, struct list **out_link);

// pool_is_short says whether somebody waits.
static inline bool pool_is_short(const struct pool *pool)
{
    return !list_is_empty(&pool->waiting[POOL_WRITE]) || !list_is_empty(&pool->waiting[POOL_READ]);
}

// pool_borrow_piece returns `len` bytes, POOL_PIECE_MIN at least and POOL_PIECE_MAX at most.
uint8_t *pool_borrow_piece(struct pool *pool, size_t len);

// pool_give_back takes back a block or a piece of `len` bytes.
void pool_give_back(struct pool *pool, uint8_t *bytes, size_t len);

size_t pool_bytes_lent(const struct pool *pool);

#endif
