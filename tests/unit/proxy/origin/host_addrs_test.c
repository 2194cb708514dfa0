// SPDX-License-Identifier: Apache-2.0
//
// Which addresses are this host's, as its kernel says.
#include "proxy/origin/host_addrs.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <unistd.h>

#define NUM(array) (sizeof(array) / sizeof((array)[0]))

static struct host_addrs addrs; // large for a stack

static void setup(void)
{
    host_addrs_init(&addrs);
}

static void cleanup(void)
{
    host_addrs_cleanup(&addrs);
}

TestSuite(host_addrs, .init = setup, .fini = cleanup, .timeout = 10);

static struct addr addr_of(const char *text)
{
    struct addr addr = {.port = 80};
    struct err err;
    cr_assert(ip_parse(&addr.ip, text, &err), "%s", err.text);
    return addr;
}

Test(host_addrs, what_the_routing_calls_local_is_this_host_s_and_nothing_else)
{
    static const struct {
        const char *text;
        enum host_addrs_answer answer;
    } rows[] = {
        {"127.0.0.1", HOST_ADDRS_YES},
        {"127.200.3.4", HOST_ADDRS_YES}, // a block, no interface's
        {"192.0.2.1", HOST_ADDRS_NO},
        {"224.0.0.1", HOST_ADDRS_NO},
        {"240.0.0.1", HOST_ADDRS_NO},
        {"255.255.255.255", HOST_ADDRS_NO},
        {"2001:db8::1", HOST_ADDRS_NO},
        {"ff02::1", HOST_ADDRS_NO},
        {"127.255.255.255", HOST_ADDRS_NO}, // lo's broadcast address
    };
    for (size_t i = 0; i < NUM(rows); i++) {
        struct addr addr = addr_of(rows[i].text);
        for (int k = 0; k < 2; k++) { // the second answer is the kept one
            cr_expect_eq(host_addrs_ask(&addrs, &addr, 0, 5), rows[i].answer, "%s", rows[i].text);
        }
    }
}

Test(host_addrs, a_kernel_that_does_not_answer_is_neither_yes_nor_no)
{
    struct addr addr = addr_of("192.0.2.1");
    host_addrs_cleanup(&addrs);
    cr_expect_eq(host_addrs_ask(&addrs, &addr, 0, 5), HOST_ADDRS_UNKNOWN);
    addr.scope = 123456789; // an interface that isn't there
    host_addrs_init(&addrs);
    cr_expect_eq(host_addrs_ask(&addrs, &addr, 0, 5), HOST_ADDRS_UNKNOWN);
    cr_expect_eq(addrs.error, ENODEV);
}

// Puts the socket to the kernel out of order, so that only a kept answer can come.
static void break_socket(void)
{
    cr_assert_eq(close(mnl_socket_get_fd(addrs.rtnl.socket)), 0);
}

Test(host_addrs, an_answer_is_kept_for_a_second_and_no_longer)
{
    struct addr addr = addr_of("127.0.0.1");
    struct addr other = addr_of("127.0.0.2");
    cr_assert_eq(host_addrs_ask(&addrs, &addr, 0, 1000), HOST_ADDRS_YES);
    break_socket();
    cr_expect_eq(host_addrs_ask(&addrs, &addr, 0, 1999), HOST_ADDRS_YES);
    cr_expect_eq(host_addrs_ask(&addrs, &other, 0, 1999), HOST_ADDRS_UNKNOWN);
    cr_expect_eq(host_addrs_ask(&addrs, &addr, 1, 1999), HOST_ADDRS_UNKNOWN, "another mark");
    cr_expect_eq(host_addrs_ask(&addrs, &addr, 0, 2000), HOST_ADDRS_UNKNOWN);
    addrs.rtnl = (struct rtnl){0}; // its descriptor is closed
}

Test(host_addrs, any_number_of_addresses_is_answered)
{
    for (uint32_t i = 0; i < 20000; i++) {
        struct addr addr = {.ip = {{[10] = 0xff, [11] = 0xff, [12] = i % 2 ? 127 : 240}}};
        addr.ip.bytes[14] = (uint8_t)(i >> 8);
        addr.ip.bytes[15] = (uint8_t)i;
        enum host_addrs_answer want = i % 2 ? HOST_ADDRS_YES : HOST_ADDRS_NO;
        cr_expect_eq(host_addrs_ask(&addrs, &addr, 0, 5), want, "%u", i);
    }
}
