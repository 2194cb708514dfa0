// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/metadata.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(metadata, .timeout = 10);

Test(metadata, items_come_back_in_order_and_are_found_and_counted)
{
    struct grpc_metadata list = {.num = 0};
    cr_assert(grpc_metadata_append(&list, "a", 1, "1", 1));
    cr_assert(grpc_metadata_append(&list, "longer-name", 11, "", 0));
    cr_assert(grpc_metadata_append(&list, "a", 1, "2", 1));
    struct grpc_metadata_item item;
    size_t at = 0;
    cr_expect(grpc_metadata_next(&list, &at, &item));
    cr_expect_str_eq(item.value, "1");
    cr_expect(grpc_metadata_next(&list, &at, &item));
    cr_expect_str_eq(item.name, "longer-name");
    cr_expect_eq(item.value_len, 0);
    cr_expect(grpc_metadata_next(&list, &at, &item));
    cr_expect_str_eq(item.value, "2");
    cr_expect_not(grpc_metadata_next(&list, &at, &item));
    cr_expect(grpc_metadata_find(&list, "a", &item));
    cr_expect_str_eq(item.value, "1");
    cr_expect_not(grpc_metadata_find(&list, "longer", &item));
    cr_expect_eq(grpc_metadata_num_of(&list, "a"), 2);
    cr_expect_eq(list.list_bytes, 2 * (32 + 2) + 32 + 11, "RFC 9113, section 6.5.2");
    grpc_metadata_cleanup(&list);
    cr_expect_null(list.bytes);
}

Test(metadata, names_and_values_that_the_wire_forbids_are_refused_in_words)
{
    static const struct {
        const char *name;
        const char *value;
        const char *why; // NULL: accepted
    } rows[] = {
        {"workload.spiffe.io", "true", NULL},
        {"x_y-z.9", "", NULL},
        {"Upper", "x", "only a-z"},
        {"", "x", "only a-z"},
        {":path", "x", "only a-z"},
        {"a b", "x", "only a-z"},
        {"te", "x", "own"},
        {"connection", "x", "own"},
        {"content-type", "x", "own"},
        {"grpc-status", "0", "own"},
        {"grpc-anything", "0", "own"},
        {"key-bin", "x", "binary"},
        {"a", "line\n", "printable"},
        {"a", "\xc3\xa4", "printable"},
        {"a", " x", "space"},
        {"a", "x ", "space"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct grpc_metadata list = {.num = 0};
        struct err err = {{0}, {0}};
        bool added = grpc_metadata_add_text(&list, rows[i].name, rows[i].value, &err);
        cr_expect_eq(added, rows[i].why == NULL, "%s: %s", rows[i].name, err.text);
        if (rows[i].why != NULL) {
            cr_expect_not_null(strstr(err.text, rows[i].why), "%s: %s", rows[i].name, err.text);
            cr_expect_eq(list.num, 0);
        }
        grpc_metadata_cleanup(&list);
    }
}

Test(metadata, bytes_are_base64_without_padding_under_a_name_in_bin)
{
    struct grpc_metadata list = {.num = 0};
    struct grpc_metadata_item item;
    struct err err = {{0}, {0}};
    cr_assert(grpc_metadata_add_bin(&list, "t-bin", (const uint8_t *)"\0\xff", 2, &err));
    cr_assert(grpc_metadata_find(&list, "t-bin", &item));
    cr_expect_str_eq(item.value, "AP8");
    cr_expect_not(grpc_metadata_add_bin(&list, "t", (const uint8_t *)"x", 1, &err));
    cr_expect_not_null(strstr(err.text, "-bin"), "%s", err.text);
    grpc_metadata_cleanup(&list);
}

Test(metadata, base64_is_read_with_and_without_padding)
{
    static const struct {
        const char *text;
        bool is_fine;
        const char *bytes;
        size_t len;
    } rows[] = {
        {"", true, "", 0},       {"QQ==", true, "A", 1},         {"QQ", true, "A", 1},
        {"QUI=", true, "AB", 2}, {"QUI", true, "AB", 2},         {"QUJD", true, "ABC", 3},
        {"Q", false, "", 0},     {"QUJDR", false, "", 0},        {"QU*D", false, "", 0},
        {"QU-_", false, "", 0},  {"QUJDQUJDQUJD", false, "", 0}, // over the room of 8
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t out[8];
        size_t len = 0;
        bool is_fine =
            grpc_base64_decode(out, sizeof out, &len, rows[i].text, strlen(rows[i].text));
        cr_expect_eq(is_fine, rows[i].is_fine, "\"%s\"", rows[i].text);
        if (rows[i].is_fine) {
            cr_expect_eq(len, rows[i].len, "\"%s\"", rows[i].text);
            cr_expect_eq(memcmp(out, rows[i].bytes, len), 0, "\"%s\"", rows[i].text);
        }
    }
}
