// SPDX-License-Identifier: Apache-2.0
//
// Lists the TCP connections of this network namespace that pass by the sidecar, though the rules
// would catch them: those that were opened while the rules were not there. It asks the kernel for
// all sockets (sock_diag(7)), which needs no capability, and takes some milliseconds where there
// are thousands. Any thread.
#ifndef TABARD_CONTROL_INTERCEPT_PASSING_H
#define TABARD_CONTROL_INTERCEPT_PASSING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/data/array.h"
#include "base/err.h"
#include "control/intercept/ruleset.h"

// passing_list fills the empty `out` with those that there are now; with none also where the kernel
// doesn't tell. A connection that comes in by an interface that the ruleset leaves alone can't be
// told from others: then those that come in are not listed. The caller calls array_cleanup.
void passing_list(struct array *out, const struct ruleset *ruleset);

// passing_num_new returns how many of a list are not in an earlier one.
size_t passing_num_new(const struct array *now, const struct array *before);

// passing_forget lets the next packet of what passed by meet the rules. It needs CAP_NET_ADMIN, and
// leaves alone what is redirected, what the proxy calls, and what stays on loopback. false sets
// err: the kernel doesn't tell what it tracks.
bool passing_forget(const struct ruleset *ruleset, struct err *err);

#endif
