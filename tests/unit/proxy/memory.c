// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/proxy/memory.h"

#include <errno.h>
#include <stddef.h>

static struct memory *memory_of(struct side *side)
{
    _Static_assert(offsetof(struct memory, side) == 0, "a memory is found by its side");
    return (struct memory *)side;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Moves from one ring to another, at most `len_max` bytes.
static size_t move(struct ring *from, struct ring *to, size_t len_max)
{
    size_t moved = 0;
    while (moved < len_max && from->len > 0 && ring_space(to) > 0) {
        size_t len;
        const uint8_t *head = ring_head(from, &len);
        size_t written = ring_write(to, head, least(len, len_max - moved));
        ring_pull(from, written);
        moved += written;
    }
    return moved;
}

static size_t send_more(struct side *side, size_t len)
{
    struct wire *to = memory_of(side)->to;
    size_t room = to->bytes_max - least(to->ring.len, to->bytes_max);
    return move(&side->out, &to->ring, least(room, len));
}

static void memory_flush(struct side *side)
{
    if (memory_of(side)->to->is_reset) {
        side_fail(side, ECONNRESET);
        return;
    }
    send_more(side, side->out.len);
    if (side->out.len > 0) {
        side_wait_for_peer(side, 1);
        return;
    }
    side_settle(side, &side->out);
    side->is_finishing = side->wants_finish;
}

static void memory_set_reading(struct side *side, bool wants_read)
{
    side->is_reading = wants_read;
}

static void memory_look(struct side *side)
{
    (void)side; // memory_turn tells all
}

static size_t memory_untaken(const struct side *side)
{
    const struct memory *memory = (const struct memory *)side;
    return side->out.len + memory->to->ring.len;
}

static void memory_close(struct side *side, bool with_reset)
{
    struct memory *memory = memory_of(side);
    memory->to->has_end = true;
    memory->to->is_reset = with_reset;
    memory->from->is_reset = with_reset; // who writes to it learns of it
}

static bool memory_has_unread(const struct side *side)
{
    const struct wire *from = ((const struct memory *)side)->from;
    return from->ring.len > 0 || from->has_end || from->is_reset;
}

static void on_fact(void *owner)
{
    (void)owner; // the test takes turns
}

void memory_join(struct memory *one, struct memory *other, struct wire *there, struct wire *back,
                 struct pool *pool)
{
    static const struct carrier carrier = {.flush = memory_flush,
                                           .set_reading = memory_set_reading,
                                           .look = memory_look,
                                           .untaken = memory_untaken,
                                           .close = memory_close,
                                           .has_unread = memory_has_unread};
    ring_attach(&there->ring, there->bytes, RING_BYTES);
    ring_attach(&back->ring, back->bytes, RING_BYTES);
    side_init(&one->side, &carrier, pool, NULL, on_fact, on_fact, 0);
    side_init(&other->side, &carrier, pool, NULL, on_fact, on_fact, 0);
    one->side.is_connected = other->side.is_connected = true;
    one->to = other->from = there;
    one->from = other->to = back;
}

static bool receive(struct side *side, struct wire *from, size_t len_max)
{
    if (!side->is_reading) {
        return false;
    }
    if (from->is_reset) {
        side_fail(side, ECONNRESET);
    } else if (from->ring.len > 0) {
        size_t room;
        if (side_room(side, &room) != NULL) {
            return move(&from->ring, &side->in, least(room, len_max)) > 0;
        }
        side->is_reading = false;
        return false;
    } else if (from->has_end) {
        side->is_eof = true;
    } else {
        return false;
    }
    side->is_reading = false;
    return true;
}

bool memory_turn(struct memory *memory, size_t len_max)
{
    struct side *side = &memory->side;
    bool has_changed = false;
    if (!side->is_open) {
        return false;
    }
    if (side->writing_len > 0 && memory->to->is_reset) {
        side_fail(side, ECONNRESET);
        side_peer_took(side);
        has_changed = true;
    } else if (side->writing_len > 0) {
        size_t sent = send_more(side, side->writing_len);
        side->writing_len -= (uint32_t)sent;
        if (side->writing_len == 0) {
            side_peer_took(side);
        }
        side_settle(side, &side->out);
        has_changed = sent > 0;
    }
    if (side->is_finishing && !side->is_finished) {
        side->is_finished = true;
        memory->to->has_end = true;
        has_changed = true;
    }
    return receive(side, memory->from, len_max) || has_changed;
}
