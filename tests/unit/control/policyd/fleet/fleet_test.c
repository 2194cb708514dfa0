// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/port_range.h"
#include "control/policyd/fleet/fleet.h"
#include "proxy/rules/policy.h"

#define TIMEOUT 20

static struct fleet *read_one(const char *text, struct err *err)
{
    const struct fleet_piece piece = {.name = "fleet/a.yaml", .text = text, .len = strlen(text)};
    return fleet_new(&piece, 1, "demo.example", err);
}

struct refused {
    const char *text;
    const char *error; // within the message
};

Test(fleet, a_piece_may_say_that_it_names_nobody, .timeout = TIMEOUT)
{
    struct err err = {{0}, {0}};
    struct fleet *fleet = read_one("workloads: []\n", &err);
    cr_expect_not_null(fleet, "%s", err.text);
    fleet_free(fleet);
}

Test(fleet, refuses_what_a_sidecar_could_not_use_and_says_where, .timeout = TIMEOUT)
{
    static const struct refused rows[] = {
        {"workloads: [{spiffe_id: 'spiffe://demo.example'}]",
         "fleet/a.yaml:1:25: workloads[0].spiffe_id"},
        {"workloads: [{spiffe_id: 'spiffe://other.example/a'}]", "trust domain demo.example only"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/tabard/policyd'}]", "/tabard/"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a'}, {spiffe_id: "
         "'spiffe://demo.example/a'}]",
         "stands twice in this file"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', addresses: ['10.0.0.1/8']}]",
         "workloads[0].addresses[0]"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', ports: [70000]}]", "ports[0]"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', ports: [80, 80]}]",
         "ports[1]: 80 is listed twice"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', ports: [8080, 8000-8999]}]",
         "ports[1]: 8000-8999 and 8080 have ports in common"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', certificate_seconds: 1}]",
         "certificate_seconds"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', by_magic: true}]", "by_magic"},
        {"policies: [{targets: ['spiffe://demo.example']}]", "policies[0].policy: missing"},
        {"policies: [{policy: {name: p, action: ALLOW, mode: ENFORCE, rules: [{principals: "
         "['spiffe://demo.example']}]}}]",
         "policies[0].targets: missing"},
        {"policies: [{targets: ['spiffe://demo.example'], policy: {name: p, action: ALLOW, mode: "
         "ENFORCE, rules: [{}]}}]",
         "policies[0].policy.rules[0]"},
        {"policies: [{targets: ['demo.example'], policy: {name: p}}]", "policies[0].targets[0]"},
        {"policies: [{targets: ['spiffe://demo.example'], policy: {name: p, action: ALLOW, mode: "
         "ENFORCE, ports: [], rules: [{principals: ['spiffe://demo.example']}]}}]",
         "fleet/a.yaml:1:104: policies[0].policy.ports: the list is empty"},
        {"policies: [{targets: ['spiffe://demo.example'], policy: {name: p, action: ALLOW, mode: "
         "ENFORCE, rules: [{principals: [], source_ips: ['10.0.0.0/8']}]}}]",
         "policies[0].policy.rules[0].principals: the list is empty"},
        {"destinations: [{callers: [], destination: {name: d}}]",
         "destinations[0].callers: the list is empty"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', unix_uids: []}]",
         "workloads[0].unix_uids: the list is empty"},
        {"destinations: [{callers: ['spiffe://demo.example'], destination: {name: d, addresses: "
         "['10.0.0.1'], mode: MTLS}}]",
         "destinations[0].destination.identities"},
        {"destinations: [{destination: {name: d}}]", "destinations[0].callers: missing"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', addresses: ['10.0.0.0/8']}]\n"
         "destinations: [{callers: ['spiffe://demo.example'], destination: {name: d, addresses: "
         "['10.0.0.1'], mode: PLAINTEXT}}]",
         "may take"},
        {"", "fleet/a.yaml: is empty"},
        {"\n  \n", "fleet/a.yaml: is empty"},
        {"# written by a tool\n---\n", "fleet/a.yaml: is empty"},
        {"{}\n", "fleet/a.yaml: is empty"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {{0}, {0}};
        char text[1200];
        struct fleet *fleet = read_one(rows[i].text, &err);
        cr_expect_null(fleet, "row %zu was taken", i);
        cr_expect_not_null(strstr(err_text(&err, text, sizeof text), rows[i].error),
                           "row %zu says: %s", i, text);
        fleet_free(fleet);
    }
}

Test(fleet, two_pieces_may_not_name_the_same_workload, .timeout = TIMEOUT)
{
    const char *text = "workloads: [{spiffe_id: 'spiffe://demo.example/a'}]";
    const struct fleet_piece pieces[] = {{"fleet/a.yaml", text, strlen(text)},
                                         {"fleet/b.yaml", text, strlen(text)}};
    struct err err = {{0}, {0}};
    cr_assert_null(fleet_new(pieces, 2, "demo.example", &err));
    cr_expect_not_null(strstr(err.text, "fleet/b.yaml:1:"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "stands in fleet/a.yaml already"), "%s", err.text);
}

// A random fleet, seen through the index and through the sidecars' own decision.

#define NUM_WORKLOADS 24
#define NUM_POLICIES  40

static unsigned pick(unsigned *seed, unsigned num)
{
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 16) % num;
}

static void put_pattern(FILE *out, unsigned *seed)
{
    unsigned number = pick(seed, NUM_WORKLOADS);
    switch (pick(seed, 4)) {
    case 0:
        fprintf(out, "'spiffe://demo.example'");
        break;
    case 1:
        fprintf(out, "'spiffe://demo.example/ns/%u/'", number % 4);
        break;
    default:
        fprintf(out, "'spiffe://demo.example/ns/%u/w%u'", number % 4, number);
    }
}

static const char *const some_ports[] = {
    "",
    ", ports: [80, 443]",
    ", ports: [70-90, 443]",
    ", ports: [1-65535]",
    ", ports: [443, 79-80]",
};
static const char *const spoken_of[] = {
    "", "", "", "ports: [80], ", "ports: [80-442], ", "ports: [1-79, 81], ", "ports: [443-65535], ",
};

static char *random_fleet(unsigned seed)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    fprintf(out, "workloads:\n");
    for (unsigned i = 0; i < NUM_WORKLOADS; i++) {
        fprintf(out, "- {spiffe_id: 'spiffe://demo.example/ns/%u/w%u'%s}\n", i % 4, i,
                some_ports[i % (sizeof some_ports / sizeof some_ports[0])]);
    }
    fprintf(out, "policies:\n");
    for (unsigned i = 0; i < NUM_POLICIES; i++) {
        fprintf(out, "- {targets: [");
        put_pattern(out, &seed);
        fprintf(out, "], policy: {name: p%u, action: %s, mode: %s, %srules: [{principals: [", i,
                pick(&seed, 4) == 0 ? "DENY" : "ALLOW", pick(&seed, 5) == 0 ? "AUDIT" : "ENFORCE",
                spoken_of[pick(&seed, sizeof spoken_of / sizeof spoken_of[0])]);
        put_pattern(out, &seed);
        fprintf(out, "]");
        if (pick(&seed, 3) == 0) {
            fprintf(out, ", not_principals: [");
            put_pattern(out, &seed);
            fprintf(out, "]");
        }
        fprintf(out, "}]}}\n");
    }
    fclose(out);
    return text;
}

// The policies that target a workload, decided as its sidecar would. The rules name no addresses,
// so "may" and "does" are the same.
static bool naive_allows(const struct fleet *fleet, uint32_t callee, uint32_t caller, uint16_t port)
{
    Tabard__V1__Policy *mine[NUM_POLICIES];
    size_t num = 0;
    const struct fleet_policy *all = fleet->policies.items;
    for (uint32_t i = 0; i < fleet->policies.num; i++) {
        const struct spiffe_pattern *targets = all[i].targets.items;
        for (uint32_t t = 0; t < all[i].targets.num; t++) {
            if (spiffe_pattern_matches(&targets[t], &fleet_workload(fleet, callee)->id)) {
                mine[num++] = all[i].spec->policy;
                break;
            }
        }
    }
    struct policy_index *index = policy_index_new(mine, num, NULL);
    cr_assert_not_null(index);
    const struct policy_request request = {.peer = &fleet_workload(fleet, caller)->id,
                                           .port = port};
    bool is_allowed = policy_decide(index, &request, NULL, NULL).verdict == POLICY_ALLOWED;
    policy_index_free(index);
    return is_allowed;
}

static bool sees(const struct fleet_sight *sight, uint32_t callee, uint32_t port)
{
    const struct fleet_callee *callees = sight->callees.items;
    const uint32_t *ports = sight->ports.items;
    for (uint32_t i = 0; i < sight->callees.num; i++) {
        for (uint32_t p = 0; callees[i].workload == callee && p < callees[i].num_ports; p++) {
            struct port_range range;
            cr_assert(port_range_of(&range, ports[callees[i].first_port + p], NULL));
            if (port_range_has(range, (uint16_t)port)) {
                return true;
            }
        }
    }
    return false;
}

static bool has(const Tabard__V1__Workload *workload, uint16_t port)
{
    struct port_range range;
    for (size_t i = 0; i < workload->n_ports; i++) {
        if (port_range_of(&range, workload->ports[i], NULL) && port_range_has(range, port)) {
            return true;
        }
    }
    return false;
}

Test(fleet, what_is_open_of_a_range_is_told_in_as_few_ranges_as_there_can_be, .timeout = TIMEOUT)
{
    struct err err = {{0}, {0}};
    struct fleet_sight sight;
    struct fleet *fleet = read_one(
        "workloads: [{spiffe_id: 'spiffe://demo.example/a'}, {spiffe_id: "
        "'spiffe://demo.example/b', ports: [8000-8999, 80, 9000]}]\n"
        "policies:\n"
        "- {targets: ['spiffe://demo.example/b'], policy: {name: p, action: ALLOW, mode: ENFORCE, "
        "ports: [8000-8099, 8100-8999, 9000], rules: [{principals: "
        "['spiffe://demo.example/a']}]}}\n"
        "- {targets: ['spiffe://demo.example/b'], policy: {name: q, action: DENY, mode: ENFORCE, "
        "ports: [8500-8501], rules: [{principals: ['spiffe://demo.example']}]}}\n",
        &err);
    cr_assert_not_null(fleet, "%s", err.text);
    fleet_sight_init(&sight, fleet, fleet_find(fleet, "spiffe://demo.example/a", 23));
    cr_assert_eq(sight.callees.num, 1);
    static const uint32_t want[] = {8499u << 16 | 8000, 8999u << 16 | 8502, 9000};
    cr_assert_eq(sight.ports.num, 3);
    cr_expect_eq(memcmp(sight.ports.items, want, sizeof want), 0);
    fleet_sight_cleanup(&sight);
    fleet_free(fleet);
}

Test(fleet, what_a_workload_sees_is_what_the_others_would_let_in, .timeout = TIMEOUT)
{
    static const uint16_t ports[] = {1, 69, 70, 79, 80, 81, 90, 91, 442, 443, 444, 65535};
    unsigned num_seen = 0;
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct err err = {{0}, {0}};
        char *text = random_fleet(seed);
        struct fleet *fleet = read_one(text, &err);
        cr_assert_not_null(fleet, "seed %u: %s %s", seed, err.where, err.text);
        for (uint32_t caller = 0; caller < fleet->workloads.num; caller++) {
            struct fleet_sight sight;
            fleet_sight_init(&sight, fleet, caller);
            for (uint32_t callee = 0; callee < fleet->workloads.num; callee++) {
                for (size_t p = 0; p < sizeof ports / sizeof ports[0]; p++) {
                    bool has_port = has(fleet_workload(fleet, callee)->spec, ports[p]);
                    bool naive = has_port && naive_allows(fleet, callee, caller, ports[p]);
                    num_seen += naive;
                    cr_expect_eq(sees(&sight, callee, ports[p]), naive,
                                 "seed %u: %s calls %s:%u: %d", seed,
                                 fleet_workload(fleet, caller)->spec->spiffe_id,
                                 fleet_workload(fleet, callee)->spec->spiffe_id, ports[p], naive);
                }
            }
            fleet_sight_cleanup(&sight);
        }
        fleet_free(fleet);
        free(text);
    }
    cr_expect_gt(num_seen, 500, "the fleets allow next to nothing: %u", num_seen);
}

Test(fleet, a_rule_by_address_may_let_in_and_is_not_sure_to_keep_out, .timeout = TIMEOUT)
{
    struct err err = {{0}, {0}};
    struct fleet_sight sight;
    struct fleet *fleet = read_one(
        "workloads: [{spiffe_id: 'spiffe://demo.example/a'}, {spiffe_id: "
        "'spiffe://demo.example/b', "
        "ports: [80]}]\n"
        "policies:\n"
        "- {targets: ['spiffe://demo.example/b'], policy: {name: p, action: ALLOW, mode: ENFORCE, "
        "rules: [{source_ips: ['10.0.0.0/8']}]}}\n"
        "- {targets: ['spiffe://demo.example/b'], policy: {name: q, action: DENY, mode: ENFORCE, "
        "rules: [{source_ips: ['10.1.0.0/16']}]}}\n",
        &err);
    cr_assert_not_null(fleet, "%s", err.text);
    fleet_sight_init(&sight, fleet, fleet_find(fleet, "spiffe://demo.example/a", 23));
    cr_expect_eq(sight.callees.num, 1);
    fleet_sight_cleanup(&sight);
    fleet_free(fleet);
}
