// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "control/agent/interception/opens.h"

struct row {
    char text[200];
    uint64_t opens;
};

ParameterizedTestParameters(opens, the_text_of_the_kernel_gives_both_numbers_added_up)
{
    static struct row rows[] = {
        {"Ip: Forwarding\nIp: 2\nTcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens X\n"
         "Tcp: 1 -1 40 2 9\nUdp: A\nUdp: 1\n",
         42},
        {"Ip: A\nIp: 1\nTcp: PassiveOpens ActiveOpens\nTcp: 1 2\n", 3},
        {"Ip: A\nIp: 1\nTcp: Other\nTcp: 7\n", 0},
        {"Ip: A\nIp: 1\nTcp: ActiveOpens PassiveOpens\nTcp: 5\n", 5},
        {"Ip: A\nIp: 1\nTcp: ActiveOpens\n", 0},
        {"", 0},
    };
    return cr_make_param_array(struct row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct row *row, opens, the_text_of_the_kernel_gives_both_numbers_added_up,
                  .timeout = 10)
{
    cr_expect_eq(opens_parse(row->text), row->opens, "%s", row->text);
}
