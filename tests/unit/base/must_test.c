// SPDX-License-Identifier: Apache-2.0
#include "base/must.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

Test(must, memory_is_zeroed_and_grows_with_what_is_in_it, .timeout = 10)
{
    uint32_t *numbers = must_alloc(3, sizeof *numbers);
    cr_expect(numbers[0] == 0 && numbers[1] == 0 && numbers[2] == 0);
    numbers[2] = 7;
    numbers = must_grow(numbers, 1000, sizeof *numbers);
    cr_expect_eq(numbers[2], 7);
    free(numbers);
}

Test(must, nothing_is_something_to_free, .timeout = 10)
{
    void *pieces[] = {must_alloc(0, 8), must_alloc(8, 0), must_grow(NULL, 0, 8),
                      must_copy(NULL, 0)};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        cr_expect_not_null(pieces[i]);
        free(pieces[i]);
    }
}

Test(must, copies_are_copies, .timeout = 10)
{
    char text[] = "text";
    char *copy = must_strdup(text);
    char *two = must_copy(text, 2);
    memset(text, 'x', 4);
    cr_expect_str_eq(copy, "text");
    cr_expect_arr_eq(two, "te", 2);
    free(copy);
    free(two);
}

Test(must, a_size_that_no_memory_holds_aborts, .signal = SIGABRT, .timeout = 10)
{
    char *ptr = NULL;
    ptr = must_grow(ptr, SIZE_MAX / 2, 4);
    free(ptr);
}

Test(must, what_a_library_could_not_allocate_aborts, .signal = SIGABRT, .timeout = 10)
{
    void *none = NULL;
    must_have(none);
}
