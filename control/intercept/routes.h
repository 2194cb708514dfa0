// SPDX-License-Identifier: Apache-2.0
//
// The routes that interception adds beside its nftables table: they make the addresses from which
// the sidecar calls the service this host's, and with --caller-addresses bring back the answers to
// callers' own addresses. All carry a protocol number of their own (ROUTES_PROTOCOL), by which
// routes_down finds them; `ip route show table all proto 133` shows them.
#ifndef TABARD_CONTROL_INTERCEPT_ROUTES_H
#define TABARD_CONTROL_INTERCEPT_ROUTES_H

#include <stdio.h>

#include "control/intercept/host.h"
#include "control/intercept/ruleset.h"
#include "net/rtnl/rtnl.h"

// routes_up makes the routes of `ruleset` and removes those of an earlier one. false sets err; some
// may have been made.
bool routes_up(struct rtnl *rtnl, const struct host *host, const struct ruleset *ruleset,
               struct err *err);

enum routes_state {
    ROUTES_HOLD,
    ROUTES_LACK, // those of link-local callers by an interface that came or changed
    ROUTES_LOST,
};

// routes_check says whether all routes that `ruleset` wants on this host are there. It changes
// nothing and needs no capability. It sets err to one that isn't there, if not all are.
enum routes_state routes_check(struct rtnl *rtnl, const struct host *host,
                               const struct ruleset *ruleset, struct err *err);

// routes_are_there says whether any of interception's own is there, as a sign that `up` was called
// in this network namespace.
bool routes_are_there(struct rtnl *rtnl);

// routes_down removes them all. false sets err.
bool routes_down(struct rtnl *rtnl, struct err *err);

// routes_print writes as comments the commands that would make the same routes.
void routes_print(FILE *out, const struct ruleset *ruleset);

#endif
