// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/port_map.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define NUM(array) (sizeof(array) / sizeof((array)[0]))

TestSuite(port_map, .timeout = 30);

Test(port_map, the_narrowest_range_that_has_the_port_counts)
{
    static const struct port_range ranges[] = {
        {1, 65535}, {80, 80}, {8000, 8999}, {8000, 8000}, {8100, 8199}, {8150, 8150}, {8999, 8999},
    };
    static const struct {
        uint16_t port;
        uint32_t value;
    } rows[] = {
        {1, 0},    {79, 0},   {80, 1},   {81, 0},    {7999, 0},  {8000, 3}, {8001, 2},
        {8099, 2}, {8100, 4}, {8149, 4}, {8150, 5},  {8151, 4},  {8199, 4}, {8200, 2},
        {8998, 2}, {8999, 6}, {9000, 0}, {65534, 0}, {65535, 0},
    };
    struct port_map map = {0};
    for (uint32_t i = 0; i < NUM(ranges); i++) {
        cr_assert_null(port_map_add(&map, ranges[i], i));
    }
    port_map_seal(&map);
    for (size_t i = 0; i < NUM(rows); i++) {
        const uint32_t *value = port_map_find(&map, rows[i].port);
        cr_assert_not_null(value, "port %u", rows[i].port);
        cr_expect_eq(*value, rows[i].value, "port %u: %u", rows[i].port, *value);
    }
    cr_expect_null(port_map_find(&map, 0));
    port_map_cleanup(&map);
}

Test(port_map, an_empty_one_has_nothing)
{
    struct port_map map = {0};
    port_map_seal(&map);
    cr_expect_null(port_map_find(&map, 80));
    port_map_cleanup(&map);
}

Test(port_map, two_ranges_are_the_same_or_meet_or_one_lies_in_the_other)
{
    static const struct port_range base = {100, 200};
    static const struct {
        struct port_range range;
        bool is_taken;
    } rows[] = {
        {{100, 200}, false}, {{50, 100}, false}, {{200, 300}, false}, {{99, 199}, false},
        {{101, 201}, false}, {{50, 99}, true},   {{201, 201}, true},  {{100, 199}, true},
        {{101, 200}, true},  {{100, 201}, true}, {{99, 200}, true},   {{1, 65535}, true},
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct port_map map = {0};
        cr_assert_null(port_map_add(&map, base, 7));
        const struct port_map_row *other = port_map_add(&map, rows[i].range, 8);
        cr_expect_eq(other == NULL, rows[i].is_taken, "row %zu", i);
        cr_expect(other == NULL || other->value == 7);
        cr_expect_eq(map.rows.num, rows[i].is_taken ? 2 : 1);
        port_map_cleanup(&map);
    }
}

Test(port_map, it_finds_what_looking_at_every_range_would)
{
    srand(20261128); // the same cases in every run
    for (int round = 0; round < 300; round++) {
        struct port_range taken[40];
        uint32_t num = 0;
        struct port_map map = {0};
        for (int i = 0; i < 40; i++) {
            uint16_t first = (uint16_t)(1 + rand() % 200);
            struct port_range range = {first, (uint16_t)(first + rand() % 60)};
            if (port_map_add(&map, range, num) == NULL) {
                taken[num++] = range;
            }
        }
        port_map_seal(&map);
        for (uint16_t port = 0; port < 300; port++) {
            const struct port_range *best = NULL;
            for (uint32_t i = 0; i < num; i++) {
                if (port_range_has(taken[i], port) &&
                    (best == NULL || port_range_holds(*best, taken[i]))) {
                    best = &taken[i];
                }
            }
            const uint32_t *value = port_map_find(&map, port);
            cr_assert_eq(value == NULL, best == NULL, "round %d, port %u", round, port);
            cr_assert(value == NULL || &taken[*value] == best, "round %d, port %u", round, port);
        }
        port_map_cleanup(&map);
    }
}
