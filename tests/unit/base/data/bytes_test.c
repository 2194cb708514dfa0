// SPDX-License-Identifier: Apache-2.0
#include "base/data/bytes.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Test(bytes, keep_what_was_pushed_in_its_order_while_they_grow, .timeout = 10)
{
    struct bytes bytes = {0};
    char expected[3 * 1000];
    size_t len = 0;
    for (size_t i = 0; i < 1000; i++) {
        char piece[3] = {(char)i, (char)(i >> 8), 'x'};
        size_t piece_len = i % 4;
        bytes_push(&bytes, piece, piece_len);
        memcpy(expected + len, piece, piece_len);
        len += piece_len;
    }
    cr_assert_eq(bytes.len, len);
    cr_expect_arr_eq(bytes.at, expected, len);
    cr_expect_leq(bytes.cap, 4 * len, "it doubles, and no more");
    bytes_cleanup(&bytes);
    cr_expect_null(bytes.at);
    cr_expect_eq(bytes.len, 0);
}

Test(bytes, a_place_that_was_extended_is_for_the_caller_to_write, .timeout = 10)
{
    struct bytes bytes = {0};
    bytes_push_text(&bytes, "head ");
    memcpy(bytes_extend(&bytes, 4), "tail", 4);
    char *text = bytes_take_text(&bytes);
    cr_expect_str_eq(text, "head tail");
    cr_expect_null(bytes.at, "it is handed out");
    free(text);
}

Test(bytes, a_text_is_formatted_whole_whatever_its_length, .timeout = 10)
{
    char name[5000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct bytes bytes = {0};
    bytes_push_format(&bytes, "%s=%d", name, -7);
    bytes_push_format(&bytes, "%s", "");
    bytes_push_format(&bytes, ";");
    char *text = bytes_take_text(&bytes);
    cr_expect_eq(strlen(text), sizeof name - 1 + strlen("=-7;"));
    cr_expect_str_eq(text + sizeof name - 1, "=-7;");
    free(text);
}

Test(bytes, an_empty_buffer_is_an_empty_text, .timeout = 10)
{
    struct bytes bytes = {0};
    char *text = bytes_take_text(&bytes);
    cr_expect_str_eq(text, "");
    free(text);
}

Test(bytes, more_than_there_is_memory_for_is_refused_and_changes_nothing, .timeout = 10)
{
    struct bytes bytes = {0};
    bytes_push_text(&bytes, "kept");
    cr_expect_not(bytes_reserve(&bytes, SIZE_MAX - 2), "with what is there no size_t holds it");
    cr_expect_eq(bytes.len, 4);
    cr_expect_arr_eq(bytes.at, "kept", 4);
    cr_expect(bytes_reserve(&bytes, 100000));
    const uint8_t *place = bytes.at;
    bytes_extend(&bytes, 100000);
    cr_expect_eq(bytes.at, place, "what was reserved moves nothing when it is used");
    bytes_cleanup(&bytes);
}
