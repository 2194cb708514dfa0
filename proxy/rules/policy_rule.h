// SPDX-License-Identifier: Apache-2.0
//
// Says how each field of a policy's rule narrows it, from one table. The index asks whether a rule
// names its callers; policyd asks whether the caller's identity and the port alone decide that a
// rule matches. A field that is missing in the table names nobody, and makes a rule that has it
// uncertain.
#ifndef TABARD_PROXY_RULES_POLICY_RULE_H
#define TABARD_PROXY_RULES_POLICY_RULE_H

#include <stdbool.h>

#include "tabard/v1/mesh.pb-c.h"

// policy_rule_names_callers says whether a rule names its callers, so that an ALLOW with it lets in
// some and not everybody.
bool policy_rule_names_callers(const Tabard__V1__Policy__Rule *rule);

// policy_rule_is_certain says whether the identity of a caller and the port decide whether the rule
// matches: nothing else narrows it. Whether a DENY denies by a rule that is not certain can't be
// known before the call.
bool policy_rule_is_certain(const Tabard__V1__Policy__Rule *rule);

// policy_rule_is_decided says whether the table has a field of this name, for the test that it has
// all of them.
bool policy_rule_is_decided(const char *field_name);

#endif
