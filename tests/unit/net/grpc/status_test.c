// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/status.h"

#include <criterion/criterion.h>
#include <nghttp2/nghttp2.h>
#include <string.h>

TestSuite(status, .timeout = 10);

Test(status, a_code_is_read_from_decimal_digits_and_all_else_is_unknown)
{
    static const struct {
        const char *text;
        enum grpc_code code;
        bool is_code;
    } rows[] = {
        {"0", GRPC_OK, true},
        {"1", GRPC_CANCELLED, true},
        {"16", GRPC_UNAUTHENTICATED, true},
        {"014", GRPC_UNAVAILABLE, true},
        {"17", GRPC_UNKNOWN, false},
        {"2", GRPC_UNKNOWN, true},
        {"", GRPC_UNKNOWN, false},
        {"-1", GRPC_UNKNOWN, false},
        {" 0", GRPC_UNKNOWN, false},
        {"0x0", GRPC_UNKNOWN, false},
        {"OK", GRPC_UNKNOWN, false},
        {"99999999999999999999", GRPC_UNKNOWN, false},
        {"4294967296", GRPC_UNKNOWN, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum grpc_code code = GRPC_OK;
        cr_expect_eq(grpc_code_parse(&code, rows[i].text, strlen(rows[i].text)), rows[i].is_code,
                     "\"%s\"", rows[i].text);
        cr_expect_eq(code, rows[i].code, "\"%s\"", rows[i].text);
    }
}

Test(status, a_code_has_its_name)
{
    cr_expect_str_eq(grpc_code_name(GRPC_OK), "OK");
    cr_expect_str_eq(grpc_code_name(GRPC_UNAVAILABLE), "UNAVAILABLE");
    cr_expect_str_eq(grpc_code_name((enum grpc_code)99), "UNKNOWN");
}

Test(status, http_statuses_map_as_the_specification_says)
{
    static const struct {
        unsigned http;
        enum grpc_code code;
    } rows[] = {
        {400, GRPC_INTERNAL},      {401, GRPC_UNAUTHENTICATED}, {403, GRPC_PERMISSION_DENIED},
        {404, GRPC_UNIMPLEMENTED}, {429, GRPC_UNAVAILABLE},     {502, GRPC_UNAVAILABLE},
        {503, GRPC_UNAVAILABLE},   {504, GRPC_UNAVAILABLE},     {200, GRPC_UNKNOWN},
        {302, GRPC_UNKNOWN},       {500, GRPC_UNKNOWN},         {418, GRPC_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(grpc_code_of_http(rows[i].http), rows[i].code, "%u", rows[i].http);
    }
}

Test(status, resets_map_as_the_specification_says)
{
    static const struct {
        uint32_t reset;
        enum grpc_code code;
    } rows[] = {
        {NGHTTP2_NO_ERROR, GRPC_INTERNAL},
        {NGHTTP2_PROTOCOL_ERROR, GRPC_INTERNAL},
        {NGHTTP2_FLOW_CONTROL_ERROR, GRPC_INTERNAL},
        {NGHTTP2_REFUSED_STREAM, GRPC_UNAVAILABLE},
        {NGHTTP2_CANCEL, GRPC_CANCELLED},
        {NGHTTP2_ENHANCE_YOUR_CALM, GRPC_RESOURCE_EXHAUSTED},
        {NGHTTP2_INADEQUATE_SECURITY, GRPC_PERMISSION_DENIED},
        {12345, GRPC_INTERNAL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(grpc_code_of_reset(rows[i].reset), rows[i].code, "%u", rows[i].reset);
    }
}

Test(status, messages_are_percent_encoded_and_come_back)
{
    static const struct {
        const char *text;
        const char *wire;
    } rows[] = {
        {"", ""},
        {"plain words, all of them!", "plain words, all of them!"},
        {"50%", "50%25"},
        {"a\nb\t", "a%0Ab%09"},
        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "%C3%A4 %E2%82%AC %F0%9F%98%80"},
        {"\x7f\x01", "%7F%01"},
        {"\xff\xc3", "%FF%C3"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char wire[200];
        char back[200];
        cr_expect_eq(grpc_message_encode(wire, sizeof wire, rows[i].text), strlen(rows[i].wire));
        cr_expect_str_eq(wire, rows[i].wire);
        cr_expect_eq(grpc_message_decode(back, sizeof back, wire, strlen(wire)),
                     strlen(rows[i].text));
        cr_expect_str_eq(back, rows[i].text);
    }
}

Test(status, bad_escapes_are_kept_and_a_nul_becomes_a_question_mark)
{
    static const struct {
        const char *wire;
        const char *text;
    } rows[] = {
        {"%", "%"},         {"100%", "100%"}, {"%4", "%4"}, {"%zz", "%zz"},
        {"%4x%41", "%4xA"}, {"%%41", "%A"},   {"%00", "?"}, {"%c3%a4", "\xc3\xa4"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char back[50];
        grpc_message_decode(back, sizeof back, rows[i].wire, strlen(rows[i].wire));
        cr_expect_str_eq(back, rows[i].text, "%s gives %s", rows[i].wire, back);
    }
}

Test(status, long_messages_are_cut_between_characters)
{
    char wire[8];
    cr_expect_eq(grpc_message_encode(wire, sizeof wire, "ab\xc3\xa4"), 2, "%s", wire);
    cr_expect_eq(grpc_message_encode(wire, sizeof wire, "a\xc3\xa4z"), 7, "%s", wire);
    cr_expect_str_eq(wire, "a%C3%A4");
    char back[4];
    cr_expect_eq(grpc_message_decode(back, sizeof back, "abcdef", 6), 3);
    cr_expect_str_eq(back, "abc");
}

Test(status, timeouts_are_written_in_eight_digits_and_never_too_short)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {
        {0, "0m"},
        {1, "1m"},
        {99999999, "99999999m"},
        {100000000, "100000S"},
        {100000001, "100001S"},
        {99999999000, "99999999S"},
        {99999999001, "1666667M"},
        {UINT64_MAX, "99999999H"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[GRPC_TIMEOUT_TEXT_MAX];
        cr_expect_str_eq(grpc_timeout_format(text, rows[i].ms), rows[i].text);
    }
}

Test(status, timeouts_are_read_in_every_unit_and_refused_if_malformed)
{
    static const struct {
        const char *text;
        bool is_fine;
        uint64_t ms;
    } rows[] = {
        {"1H", true, 3600000},    {"2M", true, 120000}, {"3S", true, 3000},
        {"4m", true, 4},          {"1u", true, 1},      {"1001u", true, 2},
        {"1n", true, 1},          {"0S", true, 0},      {"99999999H", true, 359999996400000},
        {"", false, 0},           {"S", false, 0},      {"5", false, 0},
        {"5s", false, 0},         {"-1S", false, 0},    {"1.5S", false, 0},
        {"123456789S", false, 0}, {" 1S", false, 0},    {"1S ", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t ms = 0;
        cr_expect_eq(grpc_timeout_parse(&ms, rows[i].text, strlen(rows[i].text)), rows[i].is_fine,
                     "\"%s\"", rows[i].text);
        cr_expect_eq(ms, rows[i].ms, "\"%s\"", rows[i].text);
    }
}
