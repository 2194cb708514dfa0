// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/ring.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static uint8_t memory[RING_BYTES];

Test(ring, keeps_order_across_every_wrap, .timeout = 20)
{
    struct ring ring = {0};
    uint8_t next_in = 0;
    uint8_t next_out = 0;
    uint8_t chunk[4099];
    ring_attach(&ring, memory, RING_BYTES);
    for (int round = 0; round < 500; round++) {
        size_t push = (size_t)(round * 7919 % 4099);
        for (size_t i = 0; i < push; i++) {
            chunk[i] = (uint8_t)(next_in + i);
        }
        next_in = (uint8_t)(next_in + ring_write(&ring, chunk, push));
        size_t pull = (size_t)(round * 104729 % 4099);
        size_t got = ring_copy(&ring, 0, chunk, pull);
        for (size_t i = 0; i < got; i++) {
            cr_assert(chunk[i] == next_out++, "round %d, byte %zu", round, i);
        }
        ring_pull(&ring, got);
    }
    ring_pull(&ring, ring.len);
    cr_assert(ring_detach(&ring) == memory);
}

Test(ring, takes_no_more_than_it_has_room_for, .timeout = 20)
{
    struct ring ring = {0};
    uint8_t *much = calloc(1, RING_BYTES + 1);
    ring_attach(&ring, memory, RING_BYTES);
    cr_assert(ring_space(&ring) == RING_BYTES);
    cr_assert(ring_write(&ring, much, RING_BYTES + 1) == RING_BYTES);
    cr_assert(ring_space(&ring) == 0);
    cr_assert(ring_write(&ring, much, 1) == 0);
    free(much);
}

Test(ring, keeps_its_bytes_when_it_moves_to_more_memory, .timeout = 20)
{
    static uint8_t small[100];
    struct ring ring = {0};
    uint8_t bytes[100];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)i;
    }
    ring_attach(&ring, small, sizeof small);
    ring_push(&ring, 70);
    ring_pull(&ring, 70); // so that what follows wraps
    ring_push(&ring, 30);
    ring_pull(&ring, 10);
    cr_assert(ring_write(&ring, bytes, sizeof bytes) == 80 && ring_space(&ring) == 0);
    cr_assert(ring_move(&ring, memory, RING_BYTES) == small);
    cr_assert(ring.len == 100 && ring_space(&ring) == RING_BYTES - 100);
    cr_assert(ring_copy(&ring, 20, bytes, sizeof bytes) == 80);
    for (size_t i = 0; i < 80; i++) {
        cr_assert(bytes[i] == i, "byte %zu", i);
    }
}

Test(ring, shows_both_pieces_of_a_wrap, .timeout = 20)
{
    struct ring ring = {0};
    uint8_t bytes[100] = {1};
    size_t first_len;
    ring_attach(&ring, memory, RING_BYTES);
    ring_push(&ring, RING_BYTES - 10);
    ring_pull(&ring, RING_BYTES - 20); // 10 left, just before the end but ten
    cr_assert(ring_write(&ring, bytes, sizeof bytes) == sizeof bytes);
    ring_head(&ring, &first_len);
    cr_assert(first_len == 20 && ring_second_len(&ring) == 90);
    cr_assert(ring_copy(&ring, 10, bytes, 1) == 1 && bytes[0] == 1);
}
