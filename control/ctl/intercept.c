// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/flags.h"
#include "control/ctl/ctl.h"
#include "control/ctl/intercept/host.h"
#include "control/ctl/intercept/nft.h"
#include "control/ctl/intercept/routes.h"
#include "control/ctl/intercept/ruleset.h"
#include "control/ctl/intercept/verify.h"
#include "proto/contract.h"

const char ctl_intercept_usage[] =
    "usage: tabardctl intercept print|up|down|verify [flags]\n"
    "\n"
    "Redirects the TCP traffic of this network namespace, IPv4 and IPv6, to its sidecar: what "
    "comes\n"
    "in to the inbound port, what goes out to the outbound port. One nftables table, inet tabard, "
    "and\n"
    "the routes of the addresses from which the sidecar calls the service (protocol 133). print "
    "shows\n"
    "both and touches nothing; up loads them, whatever was there before; down removes them; verify "
    "shows\n"
    "that the kernel has the rules of these flags, and that calls are redirected. Loopback and the "
    "proxy's\n"
    "own traffic are left alone; calls to IPv6 link-local addresses are refused.\n"
    "\n"
    "  --outbound-port N              where the sidecar takes what goes out "
    "(" CONTRACT_OUTBOUND_PORT_TEXT ")\n"
    "  --inbound-port N               where it takes what comes in (" CONTRACT_INBOUND_PORT_TEXT
    ")\n"
    "  --proxy-uid N                  the user the proxy runs as; its traffic is exempt "
    "(" CONTRACT_PROXY_UID_TEXT ")\n"
    "  --exclude-uids LIST            other users whose traffic is exempt\n"
    "  --exclude-inbound-ports LIST   reached directly, besides " CONTRACT_METRICS_PORT_TEXT
    " and " CONTRACT_HEALTH_PORT_TEXT "\n"
    "  --include-inbound-ports LIST   only these are caught\n"
    "  --exclude-inbound-cidrs LIST   callers from there reach the service directly\n"
    "  --exclude-outbound-ports LIST  called directly\n"
    "  --include-outbound-ports LIST  only these are caught\n"
    "  --exclude-outbound-cidrs LIST  called directly\n"
    "  --include-outbound-cidrs LIST  only these are caught\n"
    "  --exclude-inbound-interfaces LIST  what comes in by them reaches the service directly\n"
    "  --service-sources LIST         addresses of settings.service_source, to make them this "
    "host's\n"
    "  --verify                       up: verifies afterwards\n"
    "  --caller-addresses             for its mode CALLER: brings answers to callers' addresses "
    "back\n"
    "\n"
    "LIST: 22,9000-9010 or 10.0.0.0/8,fd00::/8 or eth1,wg0; a flag may be repeated. What is "
    "excluded\n"
    "and included is excluded. Exit status: 0 done, 1 not done, 2 for a wrong flag.\n";

static bool set_port(void *out, const char *value, struct err *err)
{
    return ruleset_set_port(out, value, err);
}

static bool set_uid(void *out, const char *value, struct err *err)
{
    return ruleset_set_uid(out, value, err);
}

static bool add_ports(void *list, const char *value, struct err *err)
{
    return ruleset_add_ports(list, value, err);
}

static bool add_uids(void *list, const char *value, struct err *err)
{
    return ruleset_add_uids(list, value, err);
}

static bool add_cidrs(void *list, const char *value, struct err *err)
{
    return ruleset_add_cidrs(list, value, err);
}

static bool add_interfaces(void *list, const char *value, struct err *err)
{
    return ruleset_add_interfaces(list, value, err);
}

static bool add_addresses(void *list, const char *value, struct err *err)
{
    return ruleset_add_addresses(list, value, err);
}

// Reads this host and makes the routes that the ruleset wants, or removes all with is_down.
static bool change_routes(bool is_down, const struct ruleset *ruleset, struct err *err)
{
    struct rtnl rtnl;
    struct host host = {0};
    int error = rtnl_open(&rtnl);
    if (error != 0) {
        return err_set(err, "this host's routes can't be asked for: %s", strerror(error));
    }
    bool good = is_down ? routes_down(&rtnl, err)
                        : host_read(&host, &rtnl, err) && host_check(&host, ruleset, err) &&
                              routes_up(&rtnl, &host, ruleset, err);
    host_cleanup(&host);
    rtnl_close(&rtnl);
    return good;
}

static bool up(const struct ruleset *ruleset, const char *text, struct err *err)
{
    return nft_check(err) && change_routes(false, ruleset, err) && nft_load(text, err);
}

static bool down(const char *text, struct err *err)
{
    return nft_check(err) && nft_load(text, err) && change_routes(true, NULL, err);
}

// What was asked for.
struct asked {
    const char *action;
    bool verifies; // after up
};

static int run(const struct asked *asked, const struct ruleset *ruleset)
{
    struct err err = {{0}, {0}};
    const char *action = asked->action;
    bool is_print = strcmp(action, "print") == 0;
    bool is_down = strcmp(action, "down") == 0;
    bool is_up = strcmp(action, "up") == 0;
    bool is_verify = strcmp(action, "verify") == 0;
    if (!is_print && !is_down && !is_up && !is_verify) {
        err_set(&err, "intercept: \"%s\" is none of print, up, down, verify", action);
        return ctl_fail(CTL_USAGE, &err);
    }
    char *text = is_down ? ruleset_down() : ruleset_up(ruleset);
    bool good = true;
    if (is_print) {
        printf("%s", text);
        routes_print(stdout, ruleset);
    } else if (is_down) {
        good = down(text, &err);
    } else if (is_up) {
        good = up(ruleset, text, &err);
    }
    free(text);
    if (!good) {
        err_prefix(&err, "intercept %s", action);
    } else if (is_verify || (is_up && asked->verifies)) {
        good = verify(ruleset, &err) || err_prefix(&err, "intercept verify");
    }
    return good ? CTL_OK : ctl_fail(CTL_FAILED, &err);
}

int ctl_intercept(int argc, char **argv)
{
    static struct ruleset ruleset; // large for a stack
    struct asked asked = {0};
    ruleset_init(&ruleset);
    const struct flag flags[] = {
        {.name = "outbound-port", .set = set_port, .ctx = &ruleset.outbound_port},
        {.name = "inbound-port", .set = set_port, .ctx = &ruleset.inbound_port},
        {.name = "proxy-uid", .set = set_uid, .ctx = &ruleset.proxy_uid},
        {.name = "exclude-uids", .set = add_uids, .ctx = &ruleset.exclude_uids},
        {.name = "exclude-inbound-ports", .set = add_ports, .ctx = &ruleset.exclude_inbound_ports},
        {.name = "include-inbound-ports", .set = add_ports, .ctx = &ruleset.include_inbound_ports},
        {.name = "exclude-inbound-cidrs", .set = add_cidrs, .ctx = &ruleset.exclude_inbound_cidrs},
        {.name = "exclude-outbound-ports",
         .set = add_ports,
         .ctx = &ruleset.exclude_outbound_ports},
        {.name = "include-outbound-ports",
         .set = add_ports,
         .ctx = &ruleset.include_outbound_ports},
        {.name = "exclude-outbound-cidrs",
         .set = add_cidrs,
         .ctx = &ruleset.exclude_outbound_cidrs},
        {.name = "include-outbound-cidrs",
         .set = add_cidrs,
         .ctx = &ruleset.include_outbound_cidrs},
        {.name = "exclude-inbound-interfaces",
         .set = add_interfaces,
         .ctx = &ruleset.exclude_inbound_interfaces},
        {.name = "service-sources", .set = add_addresses, .ctx = &ruleset.service_sources},
        {.name = "verify", .out_given = &asked.verifies},
        {.name = "caller-addresses", .out_given = &ruleset.has_caller_addresses},
    };
    size_t num_operands = 0;
    struct err err = {{0}, {0}};
    if (!flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, &asked.action, 1,
                     &num_operands, &err) ||
        !ruleset_check(&ruleset, &err)) {
        err_prefix(&err, "intercept");
        return ctl_fail(CTL_USAGE, &err);
    }
    if (num_operands == 0) {
        err_set(&err, "intercept: one of print, up, down, verify is missing");
        return ctl_fail(CTL_USAGE, &err);
    }
    return run(&asked, &ruleset);
}
