// SPDX-License-Identifier: Apache-2.0
//
// Which hosts are refused, of those that a test machine can't make.
#include "control/intercept/host.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(host, .timeout = 10);

static struct ruleset ruleset; // large for a stack
static struct host host;

static struct host_interface *add(uint32_t index, const char *name)
{
    struct host_interface *interface = array_add(&host.interfaces, sizeof *interface);
    interface->index = index;
    interface->is_up = true;
    interface->takes_ip6 = true;
    snprintf(interface->name, sizeof interface->name, "%s", name);
    return interface;
}

Test(host, one_that_belongs_to_a_vrf_is_refused_and_may_be_left_alone)
{
    struct err err = {{0}, {0}};
    ruleset_init(&ruleset);
    add(1, "lo")->is_loopback = true;
    add(3, "red")->is_vrf = true;
    add(4, "eth0")->master = 3;
    cr_expect_not(host_check(&host, &ruleset, &err));
    cr_expect_not_null(strstr(err.text, "red belongs to a VRF"), "%s", err.text);
    cr_assert(ruleset_add_interfaces(&ruleset.exclude_inbound_interfaces, "red", &err));
    cr_expect_not(host_check(&host, &ruleset, &err));
    cr_expect_not_null(strstr(err.text, "eth0 belongs to a VRF"), "%s", err.text);
    cr_assert(ruleset_add_interfaces(&ruleset.exclude_inbound_interfaces, "eth0", &err));
    cr_expect(host_check(&host, &ruleset, &err));
    host_cleanup(&host);
}

Test(host, the_interfaces_of_the_machine_at_hand_are_read)
{
    struct err err = {{0}, {0}};
    struct rtnl rtnl;
    cr_assert_eq(rtnl_open(&rtnl), 0);
    cr_assert(host_read(&host, &rtnl, &err), "%s", err.text);
    const struct host_interface *interfaces = host.interfaces.items;
    size_t num_loopback = 0;
    for (uint32_t i = 0; i < host.interfaces.num; i++) {
        num_loopback += interfaces[i].is_loopback;
        cr_expect(interfaces[i].index > 0 && interfaces[i].name[0] != '\0');
    }
    cr_expect_eq(num_loopback, 1);
    host_cleanup(&host);
    rtnl_close(&rtnl);
}
