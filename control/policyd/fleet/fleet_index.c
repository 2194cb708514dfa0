// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "control/policyd/fleet/fleet_impl.h"
#include "proxy/rules/policy_rule.h"

// Numbers the variants, of which "" is one.
static void index_variants(struct fleet *fleet)
{
    struct fleet_workload *rows = fleet->workloads.items;
    for (uint32_t i = 0; i < fleet->workloads.num; i++) {
        const char *variant = rows[i].spec->variant;
        struct keymap_key key = keymap_key_of(variant, strlen(variant), 0);
        uint32_t next = fleet->variants.num_keys;
        bool is_new = false;
        uint32_t *at = keymap_put(&fleet->variants, &key, &is_new);
        *at = is_new ? next : *at;
        rows[i].variant = *at;
    }
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static bool index_policy_variants(const struct fleet *fleet, struct fleet_policy *policy,
                                  struct err *err)
{
    for (size_t i = 0; i < policy->spec->n_variants; i++) {
        const char *variant = policy->spec->variants[i];
        struct keymap_key key = keymap_key_of(variant, strlen(variant), 0);
        const uint32_t *at = keymap_find(&fleet->variants, &key);
        if (at == NULL) {
            return err_set(err, "policy %s: no workload has the variant \"%s\"",
                           policy->spec->policy->name, variant);
        }
        uint32_t *number = array_add(&policy->variants, sizeof *number);
        *number = *at;
    }
    if (policy->variants.num > 1) {
        qsort(policy->variants.items, policy->variants.num, sizeof(uint32_t), compare_numbers);
    }
    return true;
}

static void index_observed(struct fleet *fleet)
{
    for (uint32_t i = 0; i < fleet->workloads.num; i++) {
        const Tabard__V1__Workload *spec = fleet_workload(fleet, i)->spec;
        if (spec->enforcement == TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE && spec->n_ports > 0) {
            uint32_t *number = array_add(&fleet->observed, sizeof *number);
            *number = i;
        }
    }
}

static void index_workloads(struct fleet *fleet)
{
    if (fleet->workloads.num > 1) {
        qsort(fleet->workloads.items, fleet->workloads.num, sizeof(struct fleet_workload),
              fleet_compare_workloads);
    }
    for (uint32_t i = 0; i < fleet->workloads.num; i++) {
        const struct fleet_workload *row = fleet_workload(fleet, i);
        struct keymap_key key = keymap_key_of(row->id.text, row->id.text_len, 0);
        bool is_new = false;
        uint32_t *at = keymap_put(&fleet->by_id, &key, &is_new);
        *at = is_new ? i : *at;
        for (size_t u = 0; u < row->spec->n_unix_uids; u++) {
            multimap_add(&fleet->by_uid, &row->spec->unix_uids[u], sizeof(uint32_t), 0, i);
        }
    }
}

static bool index_rule(struct fleet *fleet, const Tabard__V1__Policy__Rule *spec, uint32_t policy,
                       struct err *err)
{
    struct spiffe_pattern pattern;
    uint32_t number = fleet->rules.num;
    struct fleet_rule *rule = array_add(&fleet->rules, sizeof *rule);
    *rule = (struct fleet_rule){.policy = policy,
                                .first_pattern = fleet->patterns.num,
                                .num_patterns = (uint32_t)spec->n_not_principals,
                                .has_no_principals = spec->n_principals == 0,
                                .is_certain = policy_rule_is_certain(spec)};
    for (size_t i = 0; i < spec->n_not_principals; i++) {
        struct spiffe_pattern *not_this = array_add(&fleet->patterns, sizeof *not_this);
        if (!spiffe_pattern_parse(not_this, spec->not_principals[i],
                                  strlen(spec->not_principals[i]), err)) {
            return false;
        }
    }
    for (size_t i = 0; i < spec->n_principals; i++) {
        if (!spiffe_pattern_parse(&pattern, spec->principals[i], strlen(spec->principals[i]),
                                  err)) {
            return false;
        }
        multimap_add_pattern(&fleet->by_principal, &pattern, number);
    }
    if (rule->has_no_principals) {
        uint32_t *item = array_add(&fleet->anybody, sizeof *item);
        *item = number;
    }
    return true;
}

static bool index_policies(struct fleet *fleet, struct err *err)
{
    struct fleet_policy *policies = fleet->policies.items;
    for (uint32_t i = 0; i < fleet->policies.num; i++) {
        if (!index_policy_variants(fleet, &policies[i], err)) {
            return false;
        }
        const struct spiffe_pattern *targets = policies[i].targets.items;
        const Tabard__V1__Policy *policy = policies[i].spec->policy;
        for (uint32_t t = 0; t < policies[i].targets.num; t++) {
            multimap_add_pattern(&fleet->by_target, &targets[t], i);
        }
        bool is_enforced = policy->mode == TABARD__V1__POLICY__MODE__ENFORCE;
        for (size_t r = 0; is_enforced && r < policy->n_rules; r++) {
            if (!index_rule(fleet, policy->rules[r], i, err)) {
                return false;
            }
        }
    }
    return true;
}

static bool index_destinations(struct fleet *fleet, struct err *err)
{
    const Tabard__V1__FleetDestination **all = fleet->destinations.items;
    for (uint32_t i = 0; i < fleet->destinations.num; i++) {
        for (size_t c = 0; c < all[i]->n_callers; c++) {
            struct spiffe_pattern pattern;
            if (!spiffe_pattern_parse(&pattern, all[i]->callers[c], strlen(all[i]->callers[c]),
                                      err)) {
                return false;
            }
            multimap_add_pattern(&fleet->by_caller, &pattern, i);
        }
    }
    return true;
}

bool fleet_index(struct fleet *fleet, struct err *err)
{
    index_workloads(fleet);
    index_variants(fleet);
    index_observed(fleet);
    return index_policies(fleet, err) && index_destinations(fleet, err) &&
           fleet_index_services(fleet, err);
}
