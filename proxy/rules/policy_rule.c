// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/policy_rule.h"

#include <stddef.h>
#include <string.h>

#include "base/pb/pb_text.h"

// One row for each field of Policy.Rule.
struct decision {
    const char *name;
    bool names_callers;  // it lists callers, and nobody else matches
    bool is_of_identity; // the caller's id alone decides whether it matches
};

static const struct decision decisions[] = {
    {"principals", .names_callers = true, .is_of_identity = true},
    {"not_principals", .names_callers = false, .is_of_identity = true},
    {"source_ips", .names_callers = true, .is_of_identity = false},
    {"not_source_ips", .names_callers = false, .is_of_identity = false},
};

static const struct decision *decision_of(const char *field_name)
{
    for (size_t i = 0; i < sizeof decisions / sizeof decisions[0]; i++) {
        if (strcmp(decisions[i].name, field_name) == 0) {
            return &decisions[i];
        }
    }
    return NULL;
}

bool policy_rule_names_callers(const Tabard__V1__Policy__Rule *rule)
{
    const ProtobufCMessageDescriptor *descriptor = rule->base.descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const struct decision *decision = decision_of(descriptor->fields[i].name);
        if (decision != NULL && decision->names_callers &&
            pb_text_is_set(&rule->base, &descriptor->fields[i])) {
            return true;
        }
    }
    return false;
}

bool policy_rule_is_certain(const Tabard__V1__Policy__Rule *rule)
{
    const ProtobufCMessageDescriptor *descriptor = rule->base.descriptor;
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const struct decision *decision = decision_of(descriptor->fields[i].name);
        if ((decision == NULL || !decision->is_of_identity) &&
            pb_text_is_set(&rule->base, &descriptor->fields[i])) {
            return false;
        }
    }
    return true;
}

bool policy_rule_is_decided(const char *field_name)
{
    return decision_of(field_name) != NULL;
}
