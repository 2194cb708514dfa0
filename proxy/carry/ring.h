// SPDX-License-Identifier: Apache-2.0
//
// A circular buffer for relayed bytes, over memory that it borrows from the worker's pool: a block
// of RING_BYTES, or a smaller piece before the connection relays. An empty ring needs no
// memory: side_borrow (proxy/carry/side.h) attaches it before the first byte comes in, side_settle
// detaches it once the last one has gone.
#ifndef TABARD_PROXY_CARRY_RING_H
#define TABARD_PROXY_CARRY_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

// How many bytes are read at once: about four TLS records, and so few that they still leave as one
// segment once they are sealed (64 KiB with its headers, whatever the link). Half as much costs an
// eighth more CPU in bulk, twice as much gains nothing (docs/performance.md).
#define RING_READ_MAX 65000u
// Room for RING_READ_MAX bytes as TLS records (22 bytes more each), and for a handshake flight.
#define RING_BYTES (64u << 10)

// Zero state: empty, detached.
struct ring {
    uint8_t *bytes; // borrowed from the pool while attached; NULL if not
    uint32_t head;  // where the oldest byte is; 0 when empty
    uint32_t len;
    uint32_t size; // of the memory; of a detached ring the last one's
};

static inline void ring_attach(struct ring *ring, uint8_t *bytes, size_t size)
{
    invariant(ring->bytes == NULL);
    ring->bytes = bytes;
    ring->size = (uint32_t)size;
}

// ring_move puts what the ring holds into other memory, of `size` bytes, and returns the one it
// had.
uint8_t *ring_move(struct ring *ring, uint8_t *bytes, size_t size);

// ring_detach returns the memory of an empty ring, for its owner to take back.
static inline uint8_t *ring_detach(struct ring *ring)
{
    invariant(ring->len == 0);
    uint8_t *bytes = ring->bytes;
    ring->bytes = NULL;
    return bytes;
}

// ring_space returns how many bytes can still be pushed; a detached ring will get a block.
static inline size_t ring_space(const struct ring *ring)
{
    return (ring->bytes == NULL ? RING_BYTES : ring->size) - ring->len;
}

// ring_head returns the oldest bytes that lie in one piece, and ring_second_len how many more
// follow at the start of the memory after a wrap.
const uint8_t *ring_head(const struct ring *ring, size_t *out_len);
size_t ring_second_len(const struct ring *ring);

// ring_tail returns the free bytes that lie in one piece after the newest; the ring must be
// attached.
uint8_t *ring_tail(struct ring *ring, size_t *out_len);

void ring_push(struct ring *ring, size_t len); // counts bytes written at ring_tail
void ring_pull(struct ring *ring, size_t len); // drops the oldest bytes

// ring_write copies as many bytes as there is room for and returns how many that were.
size_t ring_write(struct ring *ring, const uint8_t *bytes, size_t len);

// ring_copy copies up to len bytes from `skip` bytes after the oldest, without pulling; returns how
// many.
size_t ring_copy(const struct ring *ring, size_t skip, uint8_t *out, size_t len);

#endif
