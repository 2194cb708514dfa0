// SPDX-License-Identifier: Apache-2.0
#include "base/data/port_range.h"

#include <criterion/criterion.h>
#include <string.h>

#define NUM(array) (sizeof(array) / sizeof((array)[0]))

TestSuite(port_range, .timeout = 20);

Test(port_range, text_message_and_memory_say_the_same)
{
    static const struct {
        const char *text;
        uint16_t first;
        uint16_t last;
        uint32_t value;
    } rows[] = {
        {"1", 1, 1, 1},
        {"8080", 8080, 8080, 8080},
        {"65535", 65535, 65535, 65535},
        {"8000-8999", 8000, 8999, 8999u << 16 | 8000},
        {"1-65535", 1, 65535, 0xffff0001},
        {"65534-65535", 65534, 65535, 0xfffffffe},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err = {{0}, {0}};
        struct port_range range, again;
        char text[PORT_RANGE_TEXT_MAX];
        cr_assert(port_range_parse(&range, rows[i].text, strlen(rows[i].text), &err), "%s",
                  err.text);
        cr_expect_eq(range.first, rows[i].first);
        cr_expect_eq(range.last, rows[i].last);
        cr_expect_eq(port_range_value(range), rows[i].value);
        cr_assert(port_range_of(&again, rows[i].value, &err));
        cr_expect_eq(memcmp(&again, &range, sizeof range), 0);
        cr_expect_str_eq(port_range_text(range, text), rows[i].text);
    }
}

Test(port_range, a_range_of_one_port_is_that_port)
{
    struct port_range range;
    cr_assert(port_range_parse(&range, "80-80", 5, NULL));
    cr_expect_eq(port_range_value(range), 80);
}

Test(port_range, what_is_no_range_is_refused_and_told_what_would_be_one)
{
    static const char *const rows[] = {"",
                                       "-",
                                       "0",
                                       "65536",
                                       "0-1",
                                       "1-",
                                       "-1",
                                       "1-65536",
                                       "1-2-3",
                                       "01",
                                       "1-02",
                                       "+1",
                                       " 1",
                                       "1 - 2",
                                       "1,2",
                                       "http",
                                       "80/tcp",
                                       "1:2",
                                       "1\xe2\x80\x93"
                                       "2",
                                       "8000-9k",
                                       "99999999999"};
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err = {{0}, {0}};
        struct port_range range;
        cr_expect_not(port_range_parse(&range, rows[i], strlen(rows[i]), &err), "%s", rows[i]);
        cr_expect_not_null(strstr(err.text, "is not a TCP port (1 to 65535) or a range of them, as "
                                            "in 8000-8999"),
                           "%s", err.text);
    }
    struct err err = {{0}, {0}};
    struct port_range range;
    cr_expect_not(port_range_parse(&range, "9000-8000", 9, &err));
    cr_expect_str_eq(err.text,
                     "the range 9000-8000 ends before it begins: write the lower port first");
}

Test(port_range, what_no_message_means_is_refused)
{
    // 0, a range from 0, one that ends at its beginning, and one that ends before it.
    static const uint32_t rows[] = {0, 80u << 16, 80u << 16 | 80, 80u << 16 | 81, 70000};
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err err = {{0}, {0}};
        struct port_range range;
        cr_expect_not(port_range_of(&range, rows[i], &err), "%u", rows[i]);
        cr_expect_not_null(strstr(err.text, "is not a TCP port (1 to 65535)"), "%s", err.text);
    }
}

#define RANGE(first, last) ((uint32_t)(last) << 16 | (first))

Test(port_range, a_list_is_put_in_order_and_lists_each_port_once)
{
    static const uint32_t values[] = {443, RANGE(8000, 8999), 80, RANGE(444, 500)};
    struct array list = {0};
    struct err err = {{0}, {0}};
    cr_assert(port_range_list(&list, values, NUM(values), &err), "%s", err.text);
    const struct port_range *ranges = list.items;
    cr_assert_eq(list.num, 4);
    cr_expect_eq(ranges[0].first, 80);
    cr_expect_eq(ranges[1].first, 443);
    cr_expect_eq(ranges[2].last, 500);
    cr_expect_eq(ranges[3].last, 8999);
    array_cleanup(&list);
    cr_expect(port_range_list(&list, NULL, 0, &err));

    static const struct {
        uint32_t values[3];
        const char *where;
        const char *text;
    } rows[] = {
        {{80, 81, 80}, "[2]", "80 is listed twice"},
        {{RANGE(80, 90), 1, RANGE(80, 90)}, "[2]", "80-90 is listed twice"},
        {{RANGE(80, 90), 85, 1}, "[1]", "80-90 and 85 have ports in common: list each port once"},
        {{90, RANGE(80, 90), 1}, "[1]", "80-90 and 90 have ports in common: list each port once"},
        {{1, 2, 0}, "[2]", "0 is not a TCP port (1 to 65535)"},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct err refused = {{0}, {0}};
        cr_expect_not(port_range_list(&list, rows[i].values, 3, &refused));
        cr_expect_str_eq(refused.where, rows[i].where);
        cr_expect_str_eq(refused.text, rows[i].text);
        array_cleanup(&list);
    }
}
