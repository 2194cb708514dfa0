// SPDX-License-Identifier: Apache-2.0
//
// Which addresses are this host's, over a list of interfaces that the test makes up.
#include <criterion/criterion.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "proxy/conn/origin.h"

TestSuite(origin, .timeout = 10);

// The list: so many entries without an address of IP, then 10.0.0.0 and those that follow it.
static size_t num_links;
static size_t num_addrs;

struct entry {
    struct ifaddrs link; // first
    struct sockaddr_storage sa;
};

// These two stand in for libc's.
int getifaddrs(struct ifaddrs **out)
{
    struct entry *entries = calloc(num_links + num_addrs, sizeof *entries);
    for (size_t i = 0; i < num_links + num_addrs; i++) {
        struct sockaddr_in *sa = (struct sockaddr_in *)&entries[i].sa;
        sa->sin_family = i < num_links ? AF_PACKET : AF_INET;
        sa->sin_addr.s_addr = htonl(0x0a000000 + (uint32_t)(i - num_links));
        entries[i].link.ifa_addr = (struct sockaddr *)sa;
        entries[i].link.ifa_next = i + 1 < num_links + num_addrs ? &entries[i + 1].link : NULL;
    }
    *out = &entries[0].link;
    return 0;
}

void freeifaddrs(struct ifaddrs *list)
{
    free(list);
}

static struct ip v4(uint32_t number)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(number)};
    struct addr addr = {.port = 0};
    cr_assert(addr_from_sockaddr(&addr, (const struct sockaddr *)&sa));
    return addr.ip;
}

Test(origin, links_without_an_address_take_no_place_from_addresses)
{
    struct host_addrs addrs = {.num = 0};
    num_links = HOST_ADDRS_MAX;
    num_addrs = 2;
    struct ip last = v4(0x0a000001);
    struct ip other = v4(0x0a000002);
    cr_expect(host_addrs_has(&addrs, &last, 1));
    cr_expect_not(host_addrs_has(&addrs, &other, 1));
    host_addrs_cleanup(&addrs);
}

Test(origin, addresses_beyond_the_limit_are_not_kept)
{
    struct host_addrs addrs = {.num = 0};
    num_links = 1;
    num_addrs = HOST_ADDRS_MAX + 1;
    struct ip last = v4(0x0a000000 + HOST_ADDRS_MAX - 1);
    struct ip beyond = v4(0x0a000000 + HOST_ADDRS_MAX);
    cr_expect(host_addrs_has(&addrs, &last, 1));
    cr_expect_not(host_addrs_has(&addrs, &beyond, 1));
    cr_expect_eq(addrs.num, HOST_ADDRS_MAX);
    host_addrs_cleanup(&addrs);
}
