// SPDX-License-Identifier: Apache-2.0
//
// What one workload sees through the fleet's indexes.
#include <stdlib.h>

#include "base/data/port_range.h"
#include "base/must.h"
#include "control/policyd/fleet/fleet_impl.h"

// A policy that reaches a workload and speaks of the one whose sight is worked out; FLEET_NONE
// stands for a workload in OBSERVE, whatever its policies.
struct candidate {
    uint32_t workload;
    uint32_t policy;
};

struct search {
    const struct fleet *fleet;
    const struct spiffe_id *id;
    struct array candidates; // of candidate
    bool *has_policy;        // owned; by policy: its candidates are there
};

static bool on_number(void *ctx, uint32_t value)
{
    uint32_t *item = array_add(ctx, sizeof *item);
    *item = value;
    return true;
}

static bool excludes(const struct fleet *fleet, const struct fleet_rule *rule,
                     const struct spiffe_id *id)
{
    const struct spiffe_pattern *patterns =
        (const struct spiffe_pattern *)fleet->patterns.items + rule->first_pattern;
    for (uint32_t i = 0; i < rule->num_patterns; i++) {
        if (spiffe_pattern_matches(&patterns[i], id)) {
            return true;
        }
    }
    return false;
}

// A rule whose principals match: every workload that its policy targets becomes a candidate.
static bool on_rule(void *ctx, uint32_t number)
{
    struct search *search = ctx;
    const struct fleet *fleet = search->fleet;
    const struct fleet_rule *rule = &((const struct fleet_rule *)fleet->rules.items)[number];
    const struct fleet_policy *policy =
        &((const struct fleet_policy *)fleet->policies.items)[rule->policy];
    bool is_deny = policy->spec->policy->action == TABARD__V1__POLICY__ACTION__DENY;
    if ((is_deny && !rule->is_certain) || search->has_policy[rule->policy] ||
        excludes(fleet, rule, search->id)) {
        return true;
    }
    search->has_policy[rule->policy] = true;
    const struct spiffe_pattern *targets = policy->targets.items;
    for (uint32_t t = 0; t < policy->targets.num; t++) {
        uint32_t first, end;
        fleet_range(fleet, &targets[t], &first, &end);
        for (uint32_t w = first; w < end; w++) {
            if (fleet_workload(fleet, w)->spec->n_ports == 0 ||
                !fleet_policy_reaches(fleet, rule->policy, w)) {
                continue;
            }
            struct candidate *candidate = array_add(&search->candidates, sizeof *candidate);
            *candidate = (struct candidate){.workload = w, .policy = rule->policy};
        }
    }
    return true;
}

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *left = a;
    const struct candidate *right = b;
    return left->workload != right->workload
               ? (left->workload > right->workload ? 1 : -1)
               : (left->policy > right->policy) - (left->policy < right->policy);
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static const Tabard__V1__Policy *policy_of(const struct fleet *fleet,
                                           const struct candidate *candidate)
{
    return ((const struct fleet_policy *)fleet->policies.items)[candidate->policy].spec->policy;
}

// The ranges were checked when the fleet was read.
static struct port_range range_of(uint32_t value)
{
    struct port_range range = {0};
    port_range_of(&range, value, NULL);
    return range;
}

// Where some policies begin to speak, or end, on the way through the ports.
struct border {
    uint32_t port;
    int num_allow;
    int num_deny;
};

static int compare_borders(const void *a, const void *b)
{
    return compare_numbers(&((const struct border *)a)->port, &((const struct border *)b)->port);
}

// Adds the two borders of those ports of `range` that a policy speaks of by `own`.
static void add_borders(struct array *borders, const Tabard__V1__Policy *policy,
                        struct port_range own, struct port_range range)
{
    int is_deny = policy->action == TABARD__V1__POLICY__ACTION__DENY;
    uint32_t first = own.first > range.first ? own.first : range.first;
    uint32_t last = own.last < range.last ? own.last : range.last;
    if (first > last) {
        return;
    }
    struct border *border = array_add(borders, sizeof *border);
    *border = (struct border){first, !is_deny, is_deny};
    border = array_add(borders, sizeof *border);
    *border = (struct border){last + 1, -!is_deny, -is_deny};
}

// Adds to `ports` what the borders leave open: what one policy allows at least, and none denies.
// The last range goes to the last open port where there are too many.
static void add_open(const struct border *borders, uint32_t num, struct array *ports)
{
    struct border now = {.port = 0};
    uint32_t num_ranges = 0;
    for (uint32_t i = 0, opened = 0; i < num;) {
        bool was_open = now.num_allow > 0 && now.num_deny == 0;
        for (now.port = borders[i].port; i < num && borders[i].port == now.port; i++) {
            now.num_allow += borders[i].num_allow;
            now.num_deny += borders[i].num_deny;
        }
        bool is_open = now.num_allow > 0 && now.num_deny == 0;
        if (is_open && !was_open) {
            opened = now.port;
        } else if (was_open && !is_open) {
            struct port_range *range = num_ranges < FLEET_OPEN_RANGES_MAX
                                           ? array_add(ports, sizeof *range)
                                           : (struct port_range *)ports->items + ports->num - 1;
            range->first = num_ranges < FLEET_OPEN_RANGES_MAX ? (uint16_t)opened : range->first;
            range->last = (uint16_t)(now.port - 1);
            num_ranges++;
        }
    }
}

// Decides the ports of `range` of one workload over the policies that target it and speak of the
// caller. Adds what is open to `ports`, in as few ranges as there can be.
static void decide(const struct fleet *fleet, const struct candidate *candidates, uint32_t num,
                   struct port_range range, struct array *ports)
{
    struct array borders = {0}; // struct border
    for (uint32_t i = 0; i < num; i++) {
        const Tabard__V1__Policy *policy = policy_of(fleet, &candidates[i]);
        for (size_t p = 0; p < policy->n_ports; p++) {
            add_borders(&borders, policy, range_of(policy->ports[p]), range);
        }
        if (policy->n_ports == 0) {
            add_borders(&borders, policy, range, range);
        }
    }
    if (borders.num > 1) {
        qsort(borders.items, borders.num, sizeof(struct border), compare_borders);
    }
    add_open(borders.items, borders.num, ports);
    array_cleanup(&borders);
}

static void add_callee(const struct fleet *fleet, const struct candidate *candidates, uint32_t num,
                       struct fleet_sight *out)
{
    const Tabard__V1__Workload *spec = fleet_workload(fleet, candidates->workload)->spec;
    uint32_t first = out->ports.num;
    struct array open = {0}; // struct port_range
    // FLEET_NONE, the highest number, is the last of the candidates.
    bool is_observed = candidates[num - 1].policy == FLEET_NONE;
    for (size_t p = 0; p < spec->n_ports && is_observed; p++) {
        struct port_range *range = array_add(&open, sizeof *range);
        *range = range_of(spec->ports[p]);
    }
    for (size_t p = 0; p < spec->n_ports && !is_observed; p++) {
        decide(fleet, candidates, num, range_of(spec->ports[p]), &open);
    }
    const struct port_range *ranges = open.items;
    for (uint32_t i = 0; i < open.num; i++) {
        uint32_t *value = array_add(&out->ports, sizeof *value);
        *value = port_range_value(ranges[i]);
    }
    array_cleanup(&open);
    if (out->ports.num > first) {
        struct fleet_callee *callee = array_add(&out->callees, sizeof *callee);
        *callee = (struct fleet_callee){candidates->workload, first, out->ports.num - first};
    }
}

// Sorts, and keeps each number once.
static void sort_out(struct array *numbers)
{
    uint32_t *items = numbers->items;
    uint32_t num = 0;
    if (numbers->num > 1) {
        qsort(items, numbers->num, sizeof *items, compare_numbers);
    }
    for (uint32_t i = 0; i < numbers->num; i++) {
        if (num == 0 || items[num - 1] != items[i]) {
            items[num++] = items[i];
        }
    }
    numbers->num = num;
}

// Adds the workloads in OBSERVE, which everybody may call.
static void add_observed(struct search *search)
{
    const uint32_t *observed = search->fleet->observed.items;
    for (uint32_t i = 0; i < search->fleet->observed.num; i++) {
        struct candidate *candidate = array_add(&search->candidates, sizeof *candidate);
        *candidate = (struct candidate){.workload = observed[i], .policy = FLEET_NONE};
    }
}

// Keeps those policies that reach the workload's variant.
static void keep_reaching(const struct fleet *fleet, uint32_t workload, struct array *policies)
{
    uint32_t *items = policies->items;
    uint32_t num = 0;
    for (uint32_t i = 0; i < policies->num; i++) {
        if (fleet_policy_reaches(fleet, items[i], workload)) {
            items[num++] = items[i];
        }
    }
    policies->num = num;
}

void fleet_sight_init(struct fleet_sight *out, const struct fleet *fleet, uint32_t workload)
{
    *out = (struct fleet_sight){.callees = {.num = 0}};
    struct search search = {.fleet = fleet, .id = &fleet_workload(fleet, workload)->id};
    const uint32_t *anybody = fleet->anybody.items;
    search.has_policy = must_alloc(fleet->policies.num, sizeof *search.has_policy);
    multimap_each_match(&fleet->by_principal, search.id, on_rule, &search);
    for (uint32_t i = 0; i < fleet->anybody.num; i++) {
        on_rule(&search, anybody[i]);
    }
    add_observed(&search);
    struct candidate *candidates = search.candidates.items;
    uint32_t num = search.candidates.num;
    if (num > 1) {
        qsort(candidates, num, sizeof *candidates, compare_candidates);
    }
    for (uint32_t i = 0, end; i < num; i = end) {
        for (end = i; end < num && candidates[end].workload == candidates[i].workload;) {
            end++;
        }
        add_callee(fleet, candidates + i, end - i, out);
    }
    multimap_each_match(&fleet->by_target, search.id, on_number, &out->policies);
    multimap_each_match(&fleet->by_caller, search.id, on_number, &out->destinations);
    array_cleanup(&search.candidates);
    free(search.has_policy);
    sort_out(&out->policies);
    sort_out(&out->destinations);
    keep_reaching(fleet, workload, &out->policies);
    fleet_see_services(out, fleet, workload);
}

void fleet_sight_cleanup(struct fleet_sight *sight)
{
    array_cleanup(&sight->callees);
    array_cleanup(&sight->ports);
    array_cleanup(&sight->policies);
    array_cleanup(&sight->destinations);
    array_cleanup(&sight->services);
}
