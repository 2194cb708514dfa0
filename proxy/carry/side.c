// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/side.h"

#include <string.h>

#include "base/log.h"

void side_init(struct side *side, const struct carrier *carrier, struct pool *pool, void *owner,
               void (*on_change)(void *owner), void (*on_closed)(void *owner), uint64_t now_ms)
{
    side->carrier = carrier;
    side->pool = pool;
    side->owner = owner;
    side->on_change = on_change;
    side->on_closed = on_closed;
    side->moved_ms = now_ms;
    side->is_open = true;
}

void side_fail(struct side *side, int error)
{
    if (side->error == 0) {
        side->error = error;
    }
}

const char *side_error_text(const struct side *side)
{
    return strerror(side->error);
}

static enum pool_use use_of(const struct side *side, const struct ring *ring)
{
    return ring == &side->in ? POOL_READ : POOL_WRITE;
}

static struct ring *ring_for(struct side *side, enum pool_use use)
{
    return use == POOL_READ ? &side->in : &side->out;
}

void side_borrow_piece(struct side *side, struct ring *ring)
{
    if (ring->bytes == NULL) {
        ring_attach(ring, pool_borrow_piece(side->pool, POOL_PIECE_MIN), POOL_PIECE_MIN);
    }
}

bool side_borrow_memory(struct side *side, struct ring *ring)
{
    if (!side->is_relaying) {
        side_borrow_piece(side, ring);
        return true;
    }
    enum pool_use use = use_of(side, ring);
    uint8_t *block = pool_borrow(side->pool, use);
    if (block == NULL) {
        pool_wait(side->pool, use, &side->waiting[use]);
        return false;
    }
    ring_attach(ring, block, RING_BYTES);
    return true;
}

bool side_grow(struct side *side, struct ring *ring)
{
    size_t size = ring->size;
    bool is_being_written = ring == &side->out && side->writing_len > 0; // from this very memory
    if (ring->bytes == NULL || size >= POOL_PIECE_MAX || is_being_written) {
        return false;
    }
    uint8_t *old = ring_move(ring, pool_borrow_piece(side->pool, 2 * size), 2 * size);
    pool_give_back(side->pool, old, size);
    return true;
}

void side_give_back(struct side *side, struct ring *ring)
{
    size_t size = ring->size;
    pool_give_back(side->pool, ring_detach(ring), size);
}

struct side *side_lend_next(struct pool *pool)
{
    enum pool_use use;
    struct list *link;
    uint8_t *block = pool_lend_next(pool, &use, &link);
    if (block == NULL) {
        return NULL;
    }
    struct side *side = LIST_OF(link - use, struct side, waiting);
    struct ring *ring = ring_for(side, use);
    if (ring->bytes == NULL) {
        ring_attach(ring, block, RING_BYTES);
    } else {
        pool_give_back(pool, block, RING_BYTES); // it got another connection's block meanwhile
    }
    return side;
}

void side_settle_idle(struct side *side)
{
    side_settle(side, &side->out);
    if (!side->is_reading) {
        side_settle(side, &side->in);
    }
}

uint8_t *side_room(struct side *side, size_t *out_len)
{
    *out_len = 0;
    if (!side_borrow(side, &side->in) ||
        (ring_space(&side->in) == 0 && !side_grow(side, &side->in))) {
        return NULL;
    }
    uint8_t *tail = ring_tail(&side->in, out_len);
    if (side->ssl == NULL && *out_len > RING_READ_MAX) {
        *out_len = RING_READ_MAX; // so that all of it fits into the other side's `out` as records
    }
    return tail;
}

void side_wait_for_peer(struct side *side, uint64_t now_ms)
{
    side->writing_len = side->out.len;
    side->waiting_ms = side->stalled_ms = now_ms;
    side->seen_ms = 0;
    list_push(&side->pool->writing, &side->writing);
}

void side_peer_took(struct side *side)
{
    side->writing_len = 0;
    list_remove(&side->writing);
}

void side_see_progress(struct side *side, uint64_t now_ms)
{
    if (side->seen_ms != 0 && now_ms - side->seen_ms < SIDE_PROGRESS_MS) {
        return;
    }
    size_t num_untaken = side->carrier->untaken(side);
    bool is_seen = side->seen_ms != 0;
    if (is_seen && num_untaken + SIDE_PROGRESS_BYTES > side->num_untaken) {
        return; // too little since it was seen
    }
    if (is_seen) {
        side->stalled_ms = now_ms;
        list_remove(&side->writing);
        list_push(&side->pool->writing, &side->writing);
    }
    side->seen_ms = now_ms;
    side->num_untaken = num_untaken;
}

bool side_is_stalled(const struct side *side, uint64_t now_ms)
{
    return side->seen_ms != 0 && now_ms - side->seen_ms >= SIDE_PROGRESS_MS;
}

static void drop(struct side *side, struct ring *ring)
{
    ring_pull(ring, ring->len);
    side_settle(side, ring);
}

void side_close(struct side *side, bool with_reset)
{
    invariant(side->is_open && side->ssl == NULL);
    side->is_open = false;
    side->carrier->close(side, with_reset);
    list_remove(&side->waiting[POOL_READ]);
    list_remove(&side->waiting[POOL_WRITE]);
    list_remove(&side->writing);
    drop(side, &side->in);
    drop(side, &side->out);
}
