// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <string.h>

#include "control/intercept/record.h"

static struct asked asked; // large for a stack

Test(record, the_words_of_up_give_the_ruleset_that_it_loaded, .timeout = 10)
{
    cr_expect(record_parse(&asked,
                           "up\n--proxy-uid\n1400\n--exclude-inbound-ports\n22,9000-9010\n"
                           "--caller-addresses\n--verify\n",
                           NULL));
    cr_expect_eq(asked.ruleset.proxy_uid, 1400);
    cr_expect_eq(asked.ruleset.exclude_inbound_ports.num, 3);
    cr_expect_eq(asked.ruleset.exclude_inbound_ports.ranges[0].first, 22);
    cr_expect(asked.ruleset.has_caller_addresses);
    cr_expect_null(asked.action);
}

Test(record, words_that_no_up_would_take_are_refused_and_named, .timeout = 10)
{
    static const char *const rows[][2] = {
        {"up\n--exclude-uid\n0\n", "--exclude-uid"},
        {"up\n--proxy-uid\n0\n", "root"},
        {"up\nagain\n", "again"},
        {"up\n--proxy-uid\n", "--proxy-uid"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {{0}, {0}};
        cr_expect_not(record_parse(&asked, rows[i][0], &err), "%s", rows[i][0]);
        cr_expect_not_null(strstr(err.text, rows[i][1]), "%s", err.text);
    }
}

Test(record, no_words_are_the_defaults, .timeout = 10)
{
    cr_expect(record_parse(&asked, "", NULL));
    cr_expect_eq(asked.ruleset.outbound_port, 15001);
}
