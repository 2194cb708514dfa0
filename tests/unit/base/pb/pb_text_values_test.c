// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb/pb_text.h"
#include "scalars.pb-c.h"

#define NUM(array) (sizeof(array) / sizeof((array)[0]))

static void *parse(const ProtobufCMessageDescriptor *descriptor, const char *text, struct err *err)
{
    *err = (struct err){{0}, {0}};
    return pb_text_parse(descriptor, text, strlen(text), "t", NULL, err);
}

static void release(void *message)
{
    if (message != NULL) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

TestSuite(pb_text_values, .timeout = 20);

Test(pb_text_values, every_scalar_at_its_ends_prints_as_it_was_read)
{
    // Each text is also what the JSON must hold.
    static const char *const rows[] = {
        "\"i32\": 2147483647",
        "\"i32\": -2147483648",
        "\"s32\": -1",
        "\"sf32\": -2147483648",
        "\"u32\": 4294967295",
        "\"f32\": 4294967295",
        "\"i64\": 9223372036854775807",
        "\"i64\": -9223372036854775808",
        "\"s64\": -9223372036854775808",
        "\"sf64\": 9223372036854775807",
        "\"u64\": 18446744073709551615",
        "\"f64\": 18446744073709551615",
        "\"real\": 0.5",
        "\"wide\": -1.25e+300",
        "\"flag\": true",
        "\"colour\": \"DARK_BLUE\"",
        "\"text\": \"a b\"",
        "\"raw\": \"AP8=\"",
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err;
        ProtobufCMessage *message = parse(&scalars__scalars__descriptor, rows[i], &err);
        cr_assert_not_null(message, "%s: %s", rows[i], err.text);
        char *json = pb_text_to_json(message);
        char want[128];
        snprintf(want, sizeof want, "{\n  %s\n}\n", rows[i]);
        cr_expect_str_eq(json, want);
        free(json);
        release(message);
    }
}

Test(pb_text_values, a_value_out_of_range_or_of_another_kind_is_named)
{
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"u32: 4294967296", "\"4294967296\" is not a whole number from 0 to 4294967295"},
        {"u32: -1", "\"-1\" is not a whole number from 0 to 4294967295"},
        {"u32: 1.0", "\"1.0\" is not a whole number from 0 to 4294967295"},
        {"u32: 010", "\"010\" is not a whole number from 0 to 4294967295"},
        {"u32: 0x10", "\"0x10\" is not a whole number from 0 to 4294967295"},
        {"u32: 1_000", "\"1_000\" is not a whole number from 0 to 4294967295"},
        {"u32: +1", "\"+1\" is not a whole number from 0 to 4294967295"},
        {"u32: yes", "\"yes\" is not a whole number from 0 to 4294967295"},
        {"u32: '8080'", "\"8080\" is a text in quotes: write the number without them"},
        {"f32: 99999999999999999999999",
         "\"99999999999999999999999\" is not a whole number from 0 to 4294967295"},
        {"i32: 2147483648", "\"2147483648\" is not a whole number from -2147483648 to 2147483647"},
        {"i32: -2147483649",
         "\"-2147483649\" is not a whole number from -2147483648 to 2147483647"},
        {"i32: --1", "\"--1\" is not a whole number from -2147483648 to 2147483647"},
        {"i32: '-'", "\"-\" is a text in quotes: write the number without them"},
        {"u64: 18446744073709551616",
         "\"18446744073709551616\" is not a whole number from 0 to 18446744073709551615"},
        {"i64: 9223372036854775808", "\"9223372036854775808\" is not a whole number from "
                                     "-9223372036854775808 to 9223372036854775807"},
        {"i64: -9223372036854775809", "\"-9223372036854775809\" is not a whole number from "
                                      "-9223372036854775808 to 9223372036854775807"},
        {"real: nan", "\"nan\" is not a number"},
        {"wide: inf", "\"inf\" is not a number"},
        {"wide: 1e999", "\"1e999\" is not a number"},
        {"wide: 0x1p3", "\"0x1p3\" is not a number"},
        {"wide: 1.2.3", "\"1.2.3\" is not a number"},
        {"real: 1e300", "the number is too large for this field"},
        {"flag: yes", "\"yes\" is neither true nor false"},
        {"flag: True", "\"True\" is neither true nor false"},
        {"flag: 1", "\"1\" is neither true nor false"},
        {"flag: 'true'", "\"true\" is a text in quotes: write the word without them"},
        {"colour: red", "\"red\" is not one of RED, DARK_BLUE; did you mean RED?"},
        {"colour: DARKBLUE", "\"DARKBLUE\" is not one of RED, DARK_BLUE; did you mean DARK_BLUE?"},
        {"colour: GREEN", "\"GREEN\" is not one of RED, DARK_BLUE"},
        {"colour: COLOUR_UNSPECIFIED", "\"COLOUR_UNSPECIFIED\" is not one of RED, DARK_BLUE"},
        {"colour: 1", "\"1\" is not one of RED, DARK_BLUE"},
        {"text: \"a\\0b\"", "the text holds a NUL character, which no text here may"},
        {"raw: AP8", "this is not base64 (RFC 4648, section 4, with its padding)"},
        {"raw: AP8==", "this is not base64 (RFC 4648, section 4, with its padding)"},
        {"raw: A", "this is not base64 (RFC 4648, section 4, with its padding)"},
        {"raw: A===", "this is not base64 (RFC 4648, section 4, with its padding)"},
        {"raw: AP8=AP8=", "this is not base64 (RFC 4648, section 4, with its padding)"},
        {"raw: AP9=",
         "this is not base64 (RFC 4648, section 4, with its padding)"}, // bits after the end
        {"raw: AB==", "this is not base64 (RFC 4648, section 4, with its padding)"},
        {"raw: AP-_", "this is not base64 (RFC 4648, section 4, with its padding)"},
        {"raw: \"A\\0P8\"", "this is not base64 (RFC 4648, section 4, with its padding)"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err;
        void *message = parse(&scalars__scalars__descriptor, rows[i].text, &err);
        cr_expect_null(message, "%s was read", rows[i].text);
        cr_expect_not_null(strstr(err.text, rows[i].message), "%s: %s", rows[i].text, err.text);
        cr_expect_eq(strncmp(err.text, "t:1:", 4), 0, "%s", err.text);
        release(message);
    }
}

Test(pb_text_values, a_text_is_taken_as_it_stands_whatever_it_looks_like)
{
    static const struct {
        const char *text;
        const char *value;
    } rows[] = {
        {"text: 8080", "8080"},
        {"text: yes", "yes"},
        {"text: 1.50", "1.50"},
        {"text: 'null'", "null"},
        {"text: \"\\u00e4\\t\"", "\xc3\xa4\t"},
        {"text: |\n  a\n  b\n", "a\nb\n"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err;
        Scalars__Scalars *message = parse(&scalars__scalars__descriptor, rows[i].text, &err);
        cr_assert_not_null(message, "%s: %s", rows[i].text, err.text);
        cr_expect_str_eq(message->text, rows[i].value);
        release(message);
    }
}

Test(pb_text_values, base64_of_every_length_reads_back_and_may_stand_on_several_lines)
{
    static const struct {
        const char *text;
        const char *bytes;
        size_t len;
    } rows[] = {
        {"raw: Zg==", "f", 1},
        {"raw: Zm8=", "fo", 2},
        {"raw: Zm9v", "foo", 3},
        {"raw: Zm9vYg==", "foob", 4},
        {"raw: Zm9vYmE=", "fooba", 5},
        {"raw: |\n  Zm9v\n  YmFy\n", "foobar", 6},
        {"raw: +/+/", "\xfb\xff\xbf", 3},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err;
        Scalars__Scalars *message = parse(&scalars__scalars__descriptor, rows[i].text, &err);
        cr_assert_not_null(message, "%s: %s", rows[i].text, err.text);
        cr_assert_eq(message->raw.len, rows[i].len, "%s", rows[i].text);
        cr_expect(rows[i].len == 0 || memcmp(message->raw.data, rows[i].bytes, rows[i].len) == 0);
        release(message);
    }
}

Test(pb_text_values, lists_of_every_kind_read_and_print)
{
    struct err err;
    Scalars__Lists *message = parse(&scalars__lists__descriptor,
                                    "i32: [1, -2, 3]\nu64: [18446744073709551615]\nwide: [1, 2.5]\n"
                                    "flag: [true, false]\ncolour: [RED, DARK_BLUE]\n"
                                    "text: [b, a]\nraw: [Zm8=, Zg==]\nchild: [{}, {text: [x]}]\n",
                                    &err);
    cr_assert_not_null(message, "%s", err.text);
    cr_expect_eq(message->n_i32, 3);
    cr_expect_eq(message->i32[1], -2);
    cr_expect_eq(message->u64[0], UINT64_MAX);
    cr_expect_eq(message->wide[1], 2.5);
    cr_expect(message->flag[0] && !message->flag[1]);
    cr_expect_eq(message->colour[1], SCALARS__COLOUR__DARK_BLUE);
    cr_expect_str_eq(message->text[0], "b");
    cr_expect_eq(message->raw[0].len, 2);
    cr_expect_eq(message->raw[1].data[0], 'f');
    cr_expect_str_eq(message->child[1]->text[0], "x");
    char *json = pb_text_to_json(&message->base);
    Scalars__Lists *again = parse(&scalars__lists__descriptor, json, &err);
    cr_assert_not_null(again, "%s in %s", err.text, json);
    char *json_again = pb_text_to_json(&again->base);
    cr_expect_str_eq(json, json_again);
    free(json);
    free(json_again);
    release(message);
    release(again);
}

Test(pb_text_values, an_empty_text_is_refused_of_every_kind_and_place)
{
    static const struct {
        const ProtobufCMessageDescriptor *descriptor;
        const char *text;
    } rows[] = {
        {&scalars__scalars__descriptor, "text: ''"},
        {&scalars__scalars__descriptor, "text: \"\""},
        {&scalars__scalars__descriptor, "text: >\n"},
        {&scalars__scalars__descriptor, "raw: ''"},
        {&scalars__scalars__descriptor, "raw: ' '"},
        {&scalars__lists__descriptor, "text: [a, '']"},
        {&scalars__lists__descriptor, "raw: [Zg==, '']"},
        {&scalars__kinds__descriptor, "text: ''"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err;
        cr_expect_null(parse(rows[i].descriptor, rows[i].text, &err), "%s", rows[i].text);
        cr_expect_not_null(strstr(err.text, "the text is empty"), "%s: %s", rows[i].text, err.text);
    }
}

Test(pb_text_values, an_empty_list_of_values_is_refused_of_every_kind)
{
    static const char *const lists[] = {"i32", "u64", "wide", "flag", "colour", "text", "raw"};
    for (size_t i = 0; i < NUM(lists); i++) {
        char text[32];
        struct err err;
        snprintf(text, sizeof text, "%s: []", lists[i]);
        cr_expect_null(parse(&scalars__lists__descriptor, text, &err), "%s", text);
        cr_expect_not_null(strstr(err.text, "the list is empty"), "%s: %s", text, err.text);
    }
}

Test(pb_text_values, a_long_list_keeps_every_value)
{
    enum { NUM_VALUES = 5000 };
    static char text[NUM_VALUES * 8];
    size_t len = (size_t)snprintf(text, sizeof text, "u64: [");
    for (unsigned i = 0; i < NUM_VALUES; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%u, ", i);
    }
    snprintf(text + len, sizeof text - len, "]");
    struct err err;
    Scalars__Lists *message = parse(&scalars__lists__descriptor, text, &err);
    cr_assert_not_null(message, "%s", err.text);
    cr_assert_eq(message->n_u64, NUM_VALUES);
    for (unsigned i = 0; i < NUM_VALUES; i++) {
        cr_assert_eq(message->u64[i], i);
    }
    release(message);
}

Test(pb_text_values, one_kind_of_several_is_read_and_a_second_one_refused)
{
    static const char *const rows[] = {
        "{\n  \"text\": \"a\"\n}\n",
        "{\n  \"raw\": \"Zg==\"\n}\n",
        "{\n  \"u32\": 0\n}\n",
        "{\n  \"child\": {}\n}\n",
    };
    struct err err;
    for (size_t i = 0; i < NUM(rows); i++) {
        ProtobufCMessage *message = parse(&scalars__kinds__descriptor, rows[i], &err);
        cr_assert_not_null(message, "%s: %s", rows[i], err.text);
        char *json = pb_text_to_json(message);
        cr_expect_str_eq(json, rows[i]); // a kind that was chosen prints, zero or not
        free(json);
        release(message);
    }
    cr_expect_null(parse(&scalars__kinds__descriptor, "text: a\nchild: {}\n", &err));
    cr_expect_str_eq(err.text,
                     "t:2:8: child: only one of the kinds may be given, and another stands above");
    cr_expect_null(parse(&scalars__kinds__descriptor, "child: {u32: x}\n", &err));
    cr_expect_null(parse(&scalars__kinds__descriptor, "text: {}\n", &err));
}

Test(pb_text_values, nesting_has_a_limit_for_messages_and_lists)
{
    char text[512];
    struct err err;
    for (unsigned depth = 1; depth < 40; depth++) {
        size_t len = 0;
        for (unsigned i = 0; i < depth; i++) {
            len += (size_t)snprintf(text + len, sizeof text - len, "{child: ");
        }
        len += (size_t)snprintf(text + len, sizeof text - len, "{}");
        for (unsigned i = 0; i < depth; i++) {
            text[len++] = '}';
        }
        text[len] = '\0';
        void *message = parse(&scalars__scalars__descriptor, text, &err);
        cr_expect_eq(message != NULL, depth < PB_TEXT_DEPTH_MAX, "%u", depth);
        cr_expect(message != NULL || strstr(err.text, ": too deep") != NULL, "%s", err.text);
        release(message);
    }
    cr_expect_null(
        parse(&scalars__lists__descriptor,
              "child: [{child: [{child: [{child: [{child: [{child: [{child: [{child: [{child: "
              "[]}]}]}]}]}]}]}]}]",
              &err));
    cr_expect_not_null(strstr(err.text, ": too deep: keys and lists may be nested 16 levels deep"),
                       "%s", err.text);
}

Test(pb_text_values, any_text_from_the_wire_prints_as_json_that_reads_back)
{
    static const struct {
        const char *text;
        const char *json;
        const char *back;
    } rows[] = {
        {"\"\\/", "\"\\\"\\\\/\"", "\"\\/"},
        {"a\nb\r\t\x01", "\"a\\nb\\u000d\\u0009\\u0001\"", "a\nb\r\t\x01"},
        {"\x7f\xc2\x80\xc2\x85", "\"\\u007f\\u0080\\u0085\"", "\x7f\xc2\x80\xc2\x85"},
        // Line and paragraph separators are line breaks to YAML, and would be folded.
        {"x\xe2\x80\xa8\xe2\x80\xa9y", "\"x\\u2028\\u2029y\"", "x\xe2\x80\xa8\xe2\x80\xa9y"},
        {"\xef\xbb\xbf", "\"\\ufeff\"", "\xef\xbb\xbf"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x80\"",
         "\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x80"},
        {"a\xff\xc3", "\"a\\ufffd\\ufffd\"", "a\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\xaf\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"",
         "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        Scalars__Scalars message = SCALARS__SCALARS__INIT;
        char text[32];
        snprintf(text, sizeof text, "%s", rows[i].text);
        message.text = text;
        char *json = pb_text_to_json(&message.base);
        char want[128];
        snprintf(want, sizeof want, "{\n  \"text\": %s\n}\n", rows[i].json);
        cr_expect_str_eq(json, want);
        struct err err;
        Scalars__Scalars *back = parse(&scalars__scalars__descriptor, json, &err);
        cr_assert_not_null(back, "row %zu: %s", i, err.text);
        cr_expect_str_eq(back->text, rows[i].back, "row %zu", i);
        release(back);
        free(json);
    }
}

Test(pb_text_values, an_enum_value_without_a_name_prints_as_its_number)
{
    Scalars__Scalars message = SCALARS__SCALARS__INIT;
    message.colour = (Scalars__Colour)99;
    char *json = pb_text_to_json(&message.base);
    cr_expect_str_eq(json, "{\n  \"colour\": 99\n}\n");
    free(json);
}
