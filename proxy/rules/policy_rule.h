// SPDX-License-Identifier: Apache-2.0
//
// What the fields of one rule narrow, decided once for each field: the index asks whether a rule
// names whom it is for, and policyd whether a rule's answer is known from who calls and which port
// alone. A field that nobody decided about makes both answers no.
#ifndef TABARD_PROXY_RULES_POLICY_RULE_H
#define TABARD_PROXY_RULES_POLICY_RULE_H

#include <stdbool.h>

#include "tabard/v1/mesh.pb-c.h"

// policy_rule_names_callers says whether a rule says whom it is for, so that an ALLOW with it lets
// in some and not everybody.
bool policy_rule_names_callers(const Tabard__V1__Policy__Rule *rule);

// policy_rule_is_certain says whether the identity of a caller and the port decide whether the rule
// matches: nothing else narrows it. Of a DENY that is not certain nobody can say that it denies
// before the call is made.
bool policy_rule_is_certain(const Tabard__V1__Policy__Rule *rule);

// policy_rule_is_decided says whether a field of a rule is known here, for the test that wants all
// of them.
bool policy_rule_is_decided(const char *field_name);

#endif
