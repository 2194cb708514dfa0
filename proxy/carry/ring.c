// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/ring.h"

#include <string.h>

#include "base/log.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

void ring_attach(struct ring *ring, uint8_t *bytes)
{
    invariant(ring->bytes == NULL);
    ring->bytes = bytes;
}

uint8_t *ring_detach(struct ring *ring)
{
    invariant(ring->len == 0);
    uint8_t *bytes = ring->bytes;
    ring->bytes = NULL;
    return bytes;
}

size_t ring_space(const struct ring *ring)
{
    return RING_BYTES - ring->len;
}

const uint8_t *ring_head(const struct ring *ring, size_t *out_len)
{
    *out_len = least(ring->len, RING_BYTES - ring->head);
    return ring->bytes + ring->head;
}

size_t ring_second_len(const struct ring *ring)
{
    return ring->len - least(ring->len, RING_BYTES - ring->head);
}

uint8_t *ring_tail(struct ring *ring, size_t *out_len)
{
    invariant(ring->bytes != NULL);
    size_t tail = (size_t)ring->head + ring->len;
    if (tail >= RING_BYTES) {
        tail -= RING_BYTES;
        *out_len = RING_BYTES - ring->len;
    } else {
        *out_len = RING_BYTES - tail;
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
    if (ring->head >= RING_BYTES) {
        ring->head -= RING_BYTES;
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
    size_t from = ((size_t)ring->head + skip) % RING_BYTES;
    size_t first = least(total, RING_BYTES - from);
    memcpy(out, ring->bytes + from, first);
    memcpy(out + first, ring->bytes, total - first);
    return total;
}
