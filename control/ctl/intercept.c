// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/ctl/ctl.h"
#include "control/intercept/asked.h"
#include "control/intercept/host.h"
#include "control/intercept/nft.h"
#include "control/intercept/passing.h"
#include "control/intercept/record.h"
#include "control/intercept/routes.h"
#include "control/intercept/ruleset.h"
#include "control/intercept/verify.h"
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

// Makes the rules of the words in argv, and records these before, so that whoever sees the rules
// change knows that it was meant. What failed leaves the record of what was there.
static bool up(const struct ruleset *ruleset, int argc, char **argv, struct err *err)
{
    struct err why = {{0}, {0}};
    if (!nft_check(err)) {
        return false;
    }
    int turn = record_begin();
    char *before = record_read(NULL);
    if (!record_write(argc, argv, &why)) {
        fprintf(stderr, "tabardctl: intercept up: the agent can't put these rules back: %s\n",
                why.text);
    }
    char *text = ruleset_up(ruleset);
    bool good = change_routes(false, ruleset, err) && nft_load(text, err);
    if (!good) {
        record_restore(before);
    } else if (before != NULL && !passing_forget(ruleset, &why)) {
        fprintf(stderr, "tabardctl: intercept up: %s\n", why.text);
    }
    record_end(turn);
    free(text);
    free(before);
    return good;
}

static bool down(struct err *err)
{
    if (!nft_check(err)) {
        return false;
    }
    int turn = record_begin();
    char *before = record_read(NULL);
    char *text = ruleset_down();
    record_restore(NULL);
    bool good = nft_load(text, err) && change_routes(true, NULL, err);
    if (!good) {
        record_restore(before);
    }
    record_end(turn);
    free(text);
    free(before);
    return good;
}

static void print(const struct ruleset *ruleset)
{
    char *text = ruleset_up(ruleset);
    printf("%s", text);
    routes_print(stdout, ruleset);
    free(text);
}

int ctl_intercept(int argc, char **argv)
{
    static struct asked asked; // large for a stack
    struct err err = {{0}, {0}};
    if (!asked_parse(&asked, argc, argv, &err)) {
        err_prefix(&err, "intercept");
        return ctl_fail(CTL_USAGE, &err);
    }
    if (asked.action == NULL) {
        err_set(&err, "intercept: one of print, up, down, verify is missing");
        return ctl_fail(CTL_USAGE, &err);
    }
    const char *action = asked.action;
    bool is_up = strcmp(action, "up") == 0;
    bool is_verify = strcmp(action, "verify") == 0;
    bool good = true;
    if (strcmp(action, "print") == 0) {
        print(&asked.ruleset);
    } else if (strcmp(action, "down") == 0) {
        good = down(&err);
    } else if (is_up) {
        good = up(&asked.ruleset, argc, argv, &err);
    } else if (!is_verify) {
        err_set(&err, "intercept: \"%s\" is none of print, up, down, verify", action);
        return ctl_fail(CTL_USAGE, &err);
    }
    if (!good) {
        err_prefix(&err, "intercept %s", action);
    } else if (is_verify || (is_up && asked.verifies)) {
        good = verify(&asked.ruleset, &err) || err_prefix(&err, "intercept verify");
    }
    return good ? CTL_OK : ctl_fail(CTL_FAILED, &err);
}
