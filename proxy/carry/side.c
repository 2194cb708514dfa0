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

bool side_borrow(struct side *side, struct ring *ring)
{
    if (ring->bytes == NULL) {
        uint8_t *block = pool_borrow(side->pool);
        if (block == NULL) {
            side->is_out_of_buffers = true;
            return false;
        }
        ring_attach(ring, block);
    }
    return true;
}

void side_give_back(struct side *side, struct ring *ring)
{
    pool_give_back(side->pool, ring_detach(ring));
}

uint8_t *side_room(struct side *side, size_t *out_len)
{
    *out_len = 0;
    if (!side_borrow(side, &side->in)) {
        return NULL;
    }
    uint8_t *tail = ring_tail(&side->in, out_len);
    if (side->ssl == NULL && *out_len > RING_READ_MAX) {
        *out_len = RING_READ_MAX; // so that all of it fits into the other side's `out` as records
    }
    return tail;
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
    drop(side, &side->in);
    drop(side, &side->out);
}
