// SPDX-License-Identifier: Apache-2.0
#include "net/pipe/frame.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX 200000

// Records what on_frame saw: all bodies in a row, each behind its length, so that orders and cuts
// compare as text.
struct seen {
    uint8_t bytes[4 * BODY_MAX];
    size_t len;
    unsigned num_frames;
    unsigned refuse_at; // 0: never
};

static struct seen seen;

static bool on_frame(void *ctx, const uint8_t *body, size_t body_len, struct err *err)
{
    struct seen *s = ctx;
    s->num_frames++;
    memcpy(s->bytes + s->len, &body_len, sizeof body_len);
    memcpy(s->bytes + s->len + sizeof body_len, body, body_len);
    s->len += sizeof body_len + body_len;
    return s->num_frames != s->refuse_at || err_set(err, "refused by the test");
}

static size_t write_frame(uint8_t *out, const char *body)
{
    frame_prefix_write(out, (uint32_t)strlen(body));
    memcpy(out + FRAME_PREFIX_LEN, body, strlen(body));
    return FRAME_PREFIX_LEN + strlen(body);
}

TestSuite(frame, .timeout = 30);

Test(frame, the_prefix_is_big_endian)
{
    uint8_t prefix[FRAME_PREFIX_LEN];
    frame_prefix_write(prefix, 0x01020304);
    cr_expect_eq(memcmp(prefix, "\1\2\3\4", 4), 0);
}

Test(frame, frames_come_out_whole_and_in_order_however_the_stream_was_cut)
{
    uint8_t stream[64];
    size_t len = write_frame(stream, "first");
    len += write_frame(stream + len, "");
    len += write_frame(stream + len, "x");
    len += write_frame(stream + len, "the last one");
    for (size_t piece = 1; piece <= len; piece++) {
        struct frame_reader reader = {.frame_bytes_max = 12};
        struct err err = {{0}, {0}};
        seen = (struct seen){.num_frames = 0};
        for (size_t at = 0; at < len; at += piece) {
            size_t left = len - at;
            cr_assert(frame_reader_push(&reader, stream + at, left < piece ? left : piece, on_frame,
                                        &seen, &err),
                      "pieces of %zu: %s", piece, err.text);
        }
        cr_expect_eq(seen.num_frames, 4, "pieces of %zu", piece);
        cr_expect_eq(memcmp(seen.bytes + 8, "first", 5), 0, "pieces of %zu", piece);
        cr_expect_eq(memcmp(seen.bytes + 8 + 5 + 8 + 8, "x", 1), 0, "pieces of %zu", piece);
        cr_expect_eq(memcmp(seen.bytes + seen.len - 12, "the last one", 12), 0, "pieces of %zu",
                     piece);
        frame_reader_cleanup(&reader);
    }
}

Test(frame, half_a_frame_is_no_frame)
{
    struct frame_reader reader = {.frame_bytes_max = 100};
    uint8_t stream[16];
    size_t len = write_frame(stream, "12345");
    seen = (struct seen){.num_frames = 0};
    cr_expect(frame_reader_push(&reader, stream, len - 1, on_frame, &seen, NULL));
    cr_expect_eq(seen.num_frames, 0);
    cr_expect(frame_reader_push(&reader, NULL, 0, on_frame, &seen, NULL));
    cr_expect_eq(seen.num_frames, 0);
    cr_expect(frame_reader_push(&reader, stream + len - 1, 1, on_frame, &seen, NULL));
    cr_expect_eq(seen.num_frames, 1);
    frame_reader_cleanup(&reader);
}

Test(frame, a_frame_over_the_limit_is_refused_before_memory_is_taken_for_it)
{
    static const struct {
        uint8_t prefix[4];
        const char *message;
    } rows[] = {
        {{0, 0, 0, 11}, "a frame of 11 bytes is over the limit of 10"},
        {{0xff, 0xff, 0xff, 0xff}, "a frame of 4294967295 bytes is over the limit of 10"},
        {{0x80, 0, 0, 0}, "a frame of 2147483648 bytes is over the limit of 10"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct frame_reader reader = {.frame_bytes_max = 10};
        struct err err = {{0}, {0}};
        seen = (struct seen){.num_frames = 0};
        cr_expect_not(frame_reader_push(&reader, rows[i].prefix, 4, on_frame, &seen, &err));
        cr_expect_str_eq(err.text, rows[i].message);
        cr_expect_leq(reader.bytes_cap, 64);
        // Another push gets the same answer, not an allocation.
        cr_expect_not(frame_reader_push(&reader, (const uint8_t *)"x", 1, on_frame, &seen, &err));
        cr_expect_str_eq(err.text, rows[i].message);
        cr_expect_leq(reader.bytes_cap, 64);
        cr_expect_eq(seen.num_frames, 0);
        frame_reader_cleanup(&reader);
    }
}

Test(frame, a_frame_of_exactly_the_limit_is_taken)
{
    struct frame_reader reader = {.frame_bytes_max = 5};
    uint8_t stream[16];
    seen = (struct seen){.num_frames = 0};
    cr_expect(
        frame_reader_push(&reader, stream, write_frame(stream, "12345"), on_frame, &seen, NULL));
    cr_expect_eq(seen.num_frames, 1);
    frame_reader_cleanup(&reader);
}

Test(frame, the_readers_refusal_stops_at_that_frame)
{
    struct frame_reader reader = {.frame_bytes_max = 5};
    struct err err = {{0}, {0}};
    uint8_t stream[32];
    size_t len = write_frame(stream, "1");
    len += write_frame(stream + len, "2");
    seen = (struct seen){.refuse_at = 1};
    cr_expect_not(frame_reader_push(&reader, stream, len, on_frame, &seen, &err));
    cr_expect_str_eq(err.text, "refused by the test");
    cr_expect_eq(seen.num_frames, 1);
    frame_reader_cleanup(&reader);
}

Test(frame, a_large_frame_does_not_hold_its_memory)
{
    struct frame_reader reader = {.frame_bytes_max = BODY_MAX};
    uint8_t *stream = calloc(1, FRAME_PREFIX_LEN + BODY_MAX);
    cr_assert_not_null(stream);
    frame_prefix_write(stream, BODY_MAX);
    seen = (struct seen){.num_frames = 0};
    cr_expect(
        frame_reader_push(&reader, stream, FRAME_PREFIX_LEN + BODY_MAX, on_frame, &seen, NULL));
    cr_expect_eq(seen.num_frames, 1);
    cr_expect_leq(reader.bytes_cap, 65536);
    cr_expect_eq(reader.frame_bytes_max, BODY_MAX);
    frame_reader_cleanup(&reader);
    free(stream);
}
