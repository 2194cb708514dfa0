// SPDX-License-Identifier: Apache-2.0
//
// The routes that interception adds beside its nftables table: they make the addresses from which
// the sidecar calls the service this host's, and with --caller-addresses bring back the answers to
// callers' own addresses. All carry a protocol number of their own (ROUTES_PROTOCOL), by which
// routes_down finds them; `ip route show table all proto 133` shows them.
#ifndef TABARD_CONTROL_CTL_INTERCEPT_ROUTES_H
#define TABARD_CONTROL_CTL_INTERCEPT_ROUTES_H

#include <stdio.h>

#include "control/ctl/intercept/host.h"
#include "control/ctl/intercept/ruleset.h"
#include "net/rtnl/rtnl.h"

// routes_up makes the routes of `ruleset` and removes those of an earlier one. false sets err; some
// may have been made.
bool routes_up(struct rtnl *rtnl, const struct host *host, const struct ruleset *ruleset,
               struct err *err);

// routes_down removes them all. false sets err.
bool routes_down(struct rtnl *rtnl, struct err *err);

// routes_print writes as comments the commands that would make the same routes.
void routes_print(FILE *out, const struct ruleset *ruleset);

#endif
