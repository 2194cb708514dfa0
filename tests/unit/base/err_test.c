// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(err, .timeout = 10);

Test(err, a_message_clears_the_path_of_the_one_before)
{
    struct err err = {{0}, {0}};
    char buf[64];
    cr_expect_not(err_set_at(&err, "a.b", "x"));
    cr_expect_str_eq(err_text(&err, buf, sizeof buf), "a.b: x");
    cr_expect_not(err_set(&err, "%d apples", 3));
    cr_expect_str_eq(err_text(&err, buf, sizeof buf), "3 apples");
}

Test(err, context_goes_before_the_message_and_parents_before_the_path)
{
    struct err err = {{0}, {0}};
    char buf[64];
    err_set(&err, "70000 is no port");
    err_prefix_where(&err, "[%d]", 0);
    err_prefix_where(&err, "ports");
    err_prefix_where(&err, "policies[%zu]", (size_t)2);
    cr_expect_str_eq(err.where, "policies[2].ports[0]");
    cr_expect_not(err_prefix(&err, "update %d", 7));
    cr_expect_str_eq(err_text(&err, buf, sizeof buf),
                     "policies[2].ports[0]: update 7: 70000 is no port");
}

Test(err, nobody_has_to_want_the_message)
{
    cr_expect_not(err_set(NULL, "x"));
    cr_expect_not(err_set_at(NULL, "y", "x"));
    cr_expect_not(err_prefix(NULL, "x"));
    cr_expect_not(err_prefix_where(NULL, "x"));
}

Test(err, a_message_may_be_made_of_itself)
{
    struct err err = {{0}, {0}};
    err_set_at(&err, "a", "first");
    err_set_at(&err, err.where, "%s, then %s", err.text, err.text);
    cr_expect_str_eq(err.text, "first, then first");
    cr_expect_str_eq(err.where, "a");
    err_prefix(&err, "%s", err.text);
    cr_expect_str_eq(err.text, "first, then first: first, then first");
    err_prefix_where(&err, "%s", err.where);
    cr_expect_str_eq(err.where, "a.a");
}

Test(err, what_a_peer_sends_stays_in_one_line)
{
    struct err err = {{0}, {0}};
    err_set(&err, "\"%s\" is bad", "a\r\nb\x1b[0m\x7f");
    cr_expect_str_eq(err.text, "\"a??b?[0m?\" is bad");
    err_prefix(&err, "%s", "x\ny");
    cr_expect_str_eq(err.text, "x?y: \"a??b?[0m?\" is bad");
}

Test(err, long_text_is_cut_at_its_end)
{
    struct err err = {{0}, {0}};
    char long_text[2000];
    char buf[16];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    err_set_at(&err, long_text, "%s", long_text);
    cr_expect_eq(strlen(err.text), sizeof err.text - 1);
    cr_expect_eq(strlen(err.where), sizeof err.where - 1);
    err_prefix(&err, "%s", long_text);
    err_prefix_where(&err, "%s", long_text);
    cr_expect_eq(strlen(err.text), sizeof err.text - 1);
    cr_expect_eq(strlen(err.where), sizeof err.where - 1);
    cr_expect_eq(strlen(err_text(&err, buf, sizeof buf)), sizeof buf - 1);
}
