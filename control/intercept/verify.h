// SPDX-License-Identifier: Apache-2.0
//
// Shows that interception holds in this network namespace: that the kernel has exactly the rules
// that the flags ask for, and that calls of each IP family end at the outbound port. `tabardctl
// intercept verify` calls it, and `up --verify`, before any program of the service runs.
#ifndef TABARD_CONTROL_INTERCEPT_VERIFY_H
#define TABARD_CONTROL_INTERCEPT_VERIFY_H

#include <stdbool.h>

#include "base/err.h"
#include "control/intercept/ruleset.h"

// verify makes, for a moment, a second table that does nothing, lets the kernel print both and
// compares them; then it calls an address of each family by which this host is reached. Where the
// sidecar doesn't listen yet, it listens in its place and looks at what arrives. What it did goes
// to standard output, a line each. What comes in can't be tried from inside: there the comparison
// alone counts. false sets err: the first thing that isn't as it must be.
bool verify(const struct ruleset *ruleset, struct err *err);

#endif
