// SPDX-License-Identifier: Apache-2.0
//
// What the kernel would print for a ruleset, to be compared with what it has. verify and upkeep
// call expected_list, nft_list and expected_compare.
#ifndef TABARD_CONTROL_INTERCEPT_EXPECTED_H
#define TABARD_CONTROL_INTERCEPT_EXPECTED_H

#include <stdbool.h>

#include "base/err.h"
#include "control/intercept/ruleset.h"

// expected_list makes `table`, of the ruleset's chains, for a moment; it does nothing meanwhile.
// *out is malloc'd, the caller's. false sets err.
bool expected_list(char **out, const struct ruleset *ruleset, const char *table, struct err *err);

// expected_compare compares two listings line by line, but for the tables' names. false sets err to
// the first difference.
bool expected_compare(const char *have, const char *want, struct err *err);

#endif
