// SPDX-License-Identifier: Apache-2.0
#include "proxy/rules/policy_rule.h"

#include <criterion/criterion.h>

TestSuite(policy_rule, .timeout = 10);

// A new field narrows a rule in some way. policy_rule.c must say in which, or policyd would hide
// callees that are allowed, and an ALLOW with this field alone would be refused.
Test(policy_rule, every_field_of_a_rule_is_decided_about)
{
    const ProtobufCMessageDescriptor *rule = &tabard__v1__policy__rule__descriptor;
    for (unsigned i = 0; i < rule->n_fields; i++) {
        cr_expect(policy_rule_is_decided(rule->fields[i].name), "%s: add a row for it",
                  rule->fields[i].name);
    }
    cr_expect_eq(rule->n_fields, 4, "and a row to the test below");
    cr_expect_not(policy_rule_is_decided("not_ports"));
}

Test(policy_rule, who_and_certainty_follow_from_the_fields_that_are_set)
{
    static const struct {
        bool principals, not_principals, source_ips, not_source_ips;
        bool names_callers, is_certain;
    } rows[] = {
        {0, 0, 0, 0, false, true}, {1, 0, 0, 0, true, true},   {0, 1, 0, 0, false, true},
        {0, 0, 1, 0, true, false}, {0, 0, 0, 1, false, false}, {1, 1, 0, 0, true, true},
        {1, 0, 0, 1, true, false}, {1, 0, 1, 0, true, false},  {0, 1, 0, 1, false, false},
    };
    char text[] = "any";
    char *one[] = {text};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Tabard__V1__Policy__Rule rule = TABARD__V1__POLICY__RULE__INIT;
        rule.principals = rule.not_principals = rule.source_ips = rule.not_source_ips = one;
        rule.n_principals = rows[i].principals;
        rule.n_not_principals = rows[i].not_principals;
        rule.n_source_ips = rows[i].source_ips;
        rule.n_not_source_ips = rows[i].not_source_ips;
        cr_expect_eq(policy_rule_names_callers(&rule), rows[i].names_callers, "row %zu", i);
        cr_expect_eq(policy_rule_is_certain(&rule), rows[i].is_certain, "row %zu", i);
    }
}
