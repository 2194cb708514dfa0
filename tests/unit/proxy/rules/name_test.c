// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/name.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(name, .timeout = 10);

Test(name, a_byte_is_good_or_bad_wherever_it_stands)
{
    for (int byte = 1; byte < 256; byte++) {
        bool is_good = byte > ' ' && byte < 0x7f && strchr("\"'\\#=", byte) == NULL;
        for (size_t at = 0; at < 4; at++) {
            char name[] = "abcd";
            struct err err = {{0}, {0}};
            name[at] = (char)byte;
            cr_expect_eq(name_check(name, 4, &err), is_good, "byte %d at %zu", byte, at);
            cr_expect_str_eq(err.where, is_good ? "" : "name");
        }
    }
}

Test(name, length_holds_at_its_limit_and_not_beyond)
{
    struct err err = {{0}, {0}};
    cr_expect(name_check("abcd", 4, &err));
    cr_expect_not(name_check("abcde", 4, &err));
    cr_expect_str_eq(err.text, "the name has 5 bytes, over the limit of 4");
    cr_expect_not(name_check("", 4, &err));
    cr_expect_str_eq(err.text, "there is no name");
}

Test(name, one_that_another_has_is_refused_with_the_other)
{
    struct keymap names = {0};
    struct err err = {{0}, {0}};
    cr_expect(name_add(&names, "a", 4, "policies", 7, &err));
    cr_expect(name_add(&names, "b", 4, "policies", 8, &err));
    cr_expect_not(name_add(&names, "a", 4, "policies", 9, &err));
    cr_expect_str_eq(err.text, "the name \"a\" is that of policies[7] too");
    keymap_cleanup(&names);
}
