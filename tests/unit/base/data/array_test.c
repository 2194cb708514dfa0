// SPDX-License-Identifier: Apache-2.0
#include "base/data/array.h"

#include <criterion/criterion.h>

TestSuite(array, .timeout = 10);

Test(array, items_stay_in_order_while_it_grows_and_new_ones_are_zero)
{
    struct array array = {0};
    for (uint32_t i = 0; i < 10000; i++) {
        uint64_t *item = array_add(&array, sizeof *item);
        cr_assert_eq(*item, 0);
        *item = i * 3 + 1;
    }
    cr_expect_eq(array.num, 10000);
    for (uint32_t i = 0; i < 10000; i++) {
        cr_assert_eq(((const uint64_t *)array.items)[i], i * 3 + 1);
    }
    array_cleanup(&array);
    cr_expect_eq(array.num, 0);
    array_cleanup(&array);
}
