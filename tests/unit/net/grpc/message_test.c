// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/message.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define CAP 1000

static const size_t lens[] = {0, 1, 5, CAP, 0, 0, 300, 4};
#define NUM_LENS (sizeof lens / sizeof *lens)

static uint8_t byte_of(size_t message, size_t at)
{
    return (uint8_t)(message * 31 + at);
}

static size_t make_stream(uint8_t *out)
{
    size_t len = 0;
    for (size_t i = 0; i < NUM_LENS; i++) {
        grpc_prefix_write(out + len, (uint32_t)lens[i]);
        len += GRPC_PREFIX_LEN;
        for (size_t j = 0; j < lens[i]; j++) {
            out[len++] = byte_of(i, j);
        }
    }
    return len;
}

// Takes every message that is there. Returns how many there have been.
static size_t take_all(struct grpc_reader *reader, size_t num)
{
    const uint8_t *body = NULL;
    size_t len = 0;
    while (grpc_reader_next(reader, &body, &len) == GRPC_READER_MESSAGE) {
        cr_assert_lt(num, NUM_LENS);
        cr_assert_eq(len, lens[num], "message %zu has %zu bytes", num, len);
        for (size_t j = 0; j < len; j++) {
            cr_assert_eq(body[j], byte_of(num, j));
        }
        num++;
    }
    return num;
}

TestSuite(message, .timeout = 30);

Test(message, the_prefix_is_a_zero_flag_and_a_big_endian_length)
{
    uint8_t prefix[GRPC_PREFIX_LEN];
    grpc_prefix_write(prefix, 0x01020304);
    cr_expect_arr_eq(prefix, "\0\1\2\3\4", 5);
}

Test(message, messages_come_out_whole_and_in_order_in_pieces_of_every_size)
{
    uint8_t stream[4096];
    size_t len = make_stream(stream);
    for (size_t piece = 1; piece <= len; piece++) {
        struct grpc_reader reader = {.message_bytes_max = CAP};
        size_t num = 0;
        for (size_t at = 0; at < len; at += piece) {
            cr_assert(grpc_reader_push(&reader, stream + at, len - at < piece ? len - at : piece));
            num = take_all(&reader, num);
        }
        cr_expect_eq(num, NUM_LENS, "pieces of %zu bytes", piece);
        cr_expect_null(reader.bytes.at, "an empty reader holds memory");
        grpc_reader_cleanup(&reader);
    }
}

Test(message, messages_come_out_whole_wherever_the_stream_is_cut_in_two)
{
    uint8_t stream[4096];
    size_t len = make_stream(stream);
    for (size_t cut = 0; cut <= len; cut++) {
        struct grpc_reader reader = {.message_bytes_max = CAP};
        cr_assert(grpc_reader_push(&reader, stream, cut));
        size_t num = take_all(&reader, 0);
        cr_assert(grpc_reader_push(&reader, stream + cut, len - cut));
        cr_expect_eq(take_all(&reader, num), NUM_LENS, "cut at %zu", cut);
        grpc_reader_cleanup(&reader);
    }
}

Test(message, what_is_wrong_is_seen_with_the_first_byte_that_shows_it)
{
    static const struct {
        const char *name;
        uint8_t bytes[8];
        size_t len;
        enum grpc_reader_result result;
    } rows[] = {
        {"a compressed message", {1}, 1, GRPC_READER_COMPRESSED},
        {"an unknown flag", {2}, 1, GRPC_READER_BAD_FLAG},
        {"a flag of 255", {255, 0, 0, 0, 0}, 5, GRPC_READER_BAD_FLAG},
        {"four bytes of a prefix", {0, 255, 255, 255}, 4, GRPC_READER_MORE},
        {"the cap and one", {0, 0, 0, CAP >> 8, (CAP & 255) + 1}, 5, GRPC_READER_TOO_LONG},
        {"the cap", {0, 0, 0, CAP >> 8, CAP & 255}, 5, GRPC_READER_MORE},
        {"4 GiB", {0, 255, 255, 255, 255}, 5, GRPC_READER_TOO_LONG},
        {"nothing", {0}, 0, GRPC_READER_MORE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct grpc_reader reader = {.message_bytes_max = CAP};
        const uint8_t *body = NULL;
        size_t len = 0;
        cr_assert(grpc_reader_push(&reader, rows[i].bytes, rows[i].len));
        for (int again = 0; again < 2; again++) {
            cr_expect_eq(grpc_reader_next(&reader, &body, &len), rows[i].result, "%s",
                         rows[i].name);
        }
        cr_expect_leq(reader.bytes.cap, CAP, "%s: memory was made for what was only promised",
                      rows[i].name);
        grpc_reader_cleanup(&reader);
    }
}

Test(message, a_promised_length_makes_no_memory)
{
    struct grpc_reader reader = {.message_bytes_max = UINT32_MAX};
    const uint8_t *body = NULL;
    size_t len = 0;
    cr_assert(grpc_reader_push(&reader, (const uint8_t *)"\0\xff\xff\xff\xff", 5));
    cr_expect_eq(grpc_reader_next(&reader, &body, &len), GRPC_READER_MORE);
    cr_expect_lt(reader.bytes.cap, 4096);
    cr_expect_eq(grpc_reader_held(&reader), 5);
    grpc_reader_cleanup(&reader);
}
