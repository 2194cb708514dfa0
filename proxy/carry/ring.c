// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/ring.h"

#include <string.h>

#include "base/log.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

uint8_t *ring_move(struct ring *ring, uint8_t *bytes, size_t size)
{
    invariant(size >= ring->len);
    uint8_t *old = ring->bytes;
    ring_copy(ring, 0, bytes, ring->len);
    ring->bytes = bytes;
    ring->head = 0;
    ring->size = (uint32_t)size;
    return old;
}

const uint8_t *ring_head(const struct ring *ring, size_t *out_len)
{
    *out_len = least(ring->len, ring->size - ring->head);
    return ring->bytes + ring->head;
}

size_t ring_second_len(const struct ring *ring)
{
    return ring->len - least(ring->len, ring->size - ring->head);
}

uint8_t *ring_tail(struct ring *ring, size_t *out_len)
{
    invariant(ring->bytes != NULL);
    size_t tail = (size_t)ring->head + ring->len;
    if (tail >= ring->size) {
        tail -= ring->size;
        *out_len = ring->size - ring->len;
    } else {
        *out_len = ring->size - tail;
    }
    return ring->bytes + tail;
}

void ring_push(struct ring *ring, size_t len)
{
    invariant(len <= ring_space(ring));
    ring->len += (uint32_t)len;
}

void ring_pull(struct ring *ring, size_t len)
{
    invariant(len <= ring->len);
    ring->len -= (uint32_t)len;
    ring->head += (uint32_t)len;
    if (ring->head >= ring->size) {
        ring->head -= ring->size;
    }
    if (ring->len == 0) {
        ring->head = 0;
    }
}

size_t ring_write(struct ring *ring, const uint8_t *bytes, size_t len)
{
    size_t written = 0;
    while (written < len && ring_space(ring) > 0) {
        size_t room;
        uint8_t *tail = ring_tail(ring, &room);
        size_t take = least(room, len - written);
        memcpy(tail, bytes + written, take);
        ring_push(ring, take);
        written += take;
    }
    return written;
}

size_t ring_copy(const struct ring *ring, size_t skip, uint8_t *out, size_t len)
{
    if (skip >= ring->len) {
        return 0;
    }
    size_t total = least(len, ring->len - skip);
    size_t from = (size_t)ring->head + skip;
    if (from >= ring->size) {
        from -= ring->size;
    }
    size_t first = least(total, ring->size - from);
    memcpy(out, ring->bytes + from, first);
    memcpy(out + first, ring->bytes, total - first);
    return total;
}
