// SPDX-License-Identifier: Apache-2.0
#include "control/denials/denial_list.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(denial_list, .timeout = 10);

#define NUM_MAX 8

struct stage {
    Tabard__V1__Denial denials[NUM_MAX];
    Tabard__V1__Denial *list[NUM_MAX];
};

// A list of as many as there are peers, each counted once for each digit in `counts`.
static void stage_init(struct stage *stage, const char *const *peers, const char *counts)
{
    for (size_t i = 0; i < strlen(counts); i++) {
        tabard__v1__denial__init(&stage->denials[i]);
        stage->denials[i].peer = (char *)peers[i];
        stage->denials[i].count = (uint64_t)(counts[i] - '0');
        stage->list[i] = &stage->denials[i];
    }
}

// Says whether each of the first `num` is in the list once: none is lost, and none freed twice.
static bool is_whole(const struct stage *stage, size_t num)
{
    for (size_t i = 0; i < num; i++) {
        size_t found = 0;
        for (size_t k = 0; k < num; k++) {
            found += stage->list[k] == &stage->denials[i];
        }
        if (found != 1) {
            return false;
        }
    }
    return true;
}

Test(denial_list, the_most_frequent_comes_first_and_equal_ones_in_the_order_of_their_names)
{
    struct stage stage;
    stage_init(&stage, (const char *[]){"c", "a", "d", "b"}, "2292");
    cr_assert_eq(denial_list_merge(stage.list, 4), 4);
    static const char *const wanted[] = {"d", "a", "b", "c"};
    for (size_t i = 0; i < 4; i++) {
        cr_expect_str_eq(stage.list[i]->peer, wanted[i]);
    }
    cr_expect(is_whole(&stage, 4));
}

Test(denial_list, what_was_added_to_another_stands_behind_and_nothing_is_lost)
{
    struct stage stage;
    stage_init(&stage, (const char *[]){"b", "a", "b", "c", "b", "a"}, "123456");
    cr_assert_eq(denial_list_merge(stage.list, 6), 3);
    cr_expect(is_whole(&stage, 6));
    static const char *const wanted[] = {"b", "a", "c"};
    static const uint64_t counts[] = {9, 8, 4};
    for (size_t i = 0; i < 3; i++) {
        cr_expect_str_eq(stage.list[i]->peer, wanted[i]);
        cr_expect_eq(stage.list[i]->count, counts[i]);
    }
}

Test(denial_list, a_rule_of_number_0_is_not_the_default)
{
    struct stage stage;
    stage_init(&stage, (const char *[]){"a", "a", "a"}, "111");
    stage.denials[0].deciding_case = TABARD__V1__DENIAL__DECIDING_RULE;
    stage.denials[1].deciding_case = TABARD__V1__DENIAL__DECIDING_RULE;
    stage.denials[1].rule = 1;
    cr_expect_eq(denial_list_merge(stage.list, 3), 3);
}

Test(denial_list, the_dates_are_the_widest_and_the_generation_the_newest)
{
    struct stage stage;
    stage_init(&stage, (const char *[]){"a", "a", "a"}, "111");
    static const int64_t dates[][2] = {{20, 30}, {10, 25}, {15, 40}};
    for (size_t i = 0; i < 3; i++) {
        stage.denials[i].first_unix_ms = dates[i][0];
        stage.denials[i].last_unix_ms = dates[i][1];
        stage.denials[i].generation = 5 + (i == 1);
    }
    cr_assert_eq(denial_list_merge(stage.list, 3), 1);
    cr_expect_eq(stage.list[0]->first_unix_ms, 10);
    cr_expect_eq(stage.list[0]->last_unix_ms, 40);
    cr_expect_eq(stage.list[0]->generation, 6);
}

Test(denial_list, none_and_one_are_lists_too)
{
    struct stage stage;
    stage_init(&stage, (const char *[]){"a"}, "1");
    cr_expect_eq(denial_list_merge(NULL, 0), 0);
    cr_expect_eq(denial_list_merge(stage.list, 1), 1);
    cr_expect(is_whole(&stage, 1));
}
