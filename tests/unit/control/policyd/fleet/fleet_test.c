// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/port_range.h"
#include "base/pb/pb_text.h"
#include "control/policyd/fleet/fleet.h"
#include "proxy/rules/policy.h"

#define TIMEOUT 20

static struct fleet *read_one(const char *text, struct err *err)
{
    const struct fleet_piece piece = {.name = "fleet/a.yaml", .text = text, .len = strlen(text)};
    return fleet_new(&piece, 1, "demo.example", err);
}

// The same as one message, which may have variants.
static struct fleet *read_message(const char *text, struct err *err)
{
    Tabard__V1__FleetConfig *config = (Tabard__V1__FleetConfig *)pb_text_parse(
        &tabard__v1__fleet_config__descriptor, text, strlen(text), "text", NULL, err);
    cr_assert_not_null(config, "%s", err->text);
    return fleet_new_of(config, "demo.example", err);
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
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', variant: v}]",
         "workloads[0].variant: not in a file"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a'}]\n"
         "policies: [{targets: ['spiffe://demo.example'], variants: [v], policy: {name: p, action: "
         "ALLOW, mode: ENFORCE, rules: [{principals: ['spiffe://demo.example']}]}}]",
         "policies[0].variants: not in a file"},
        {"services: [{name: s, ports: [{port: 80, targets: [80]}]}]",
         "services[0].addresses: missing"},
        {"services: [{name: s, addresses: ['10.0.0.0/24']}]", "services[0].addresses[0]"},
        {"services: [{name: s, addresses: ['10.0.0.1']}]", "services[0].ports: missing"},
        {"services: [{name: s, addresses: ['10.0.0.1'], ports: [{port: 80}]}]",
         "services[0].ports[0].targets: missing"},
        {"services: [{name: s, addresses: ['10.0.0.1'], ports: [{port: 80, targets: ['80-90']}]}]",
         "services[0].ports[0].targets[0]"},
        {"services: [{name: s, addresses: ['10.0.0.1'], ports: [{port: 80, targets: [80]}, {port: "
         "80, targets: [81]}]}]",
         "services[0].ports[1].port: 80 is listed twice"},
        {"services: [{name: s, addresses: ['10.0.0.1'], ports: [{port: 80, targets: [80]}]}]",
         "services[0].members: missing"},
        {"services: [{name: s, addresses: ['10.0.0.1'], ports: [{port: 80, targets: [80]}], "
         "members: [{spiffe_id: 'spiffe://demo.example/a'}]}]",
         "service s: the fleet doesn't name its member spiffe://demo.example/a"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a'}]\n"
         "services:\n"
         "- {name: s, addresses: ['10.0.0.1'], ports: [{port: 80, targets: [80]}], members: "
         "[{spiffe_id: 'spiffe://demo.example/a'}]}\n"
         "- {name: t, addresses: ['10.0.0.1'], ports: [{port: 81, targets: [80]}], members: "
         "[{spiffe_id: 'spiffe://demo.example/a'}]}\n",
         "service t: 10.0.0.1 is an address of another service"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a'}]\n"
         "destinations: [{callers: ['spiffe://demo.example'], destination: {name: s, addresses: "
         "['10.0.0.1'], mode: PLAINTEXT}}]\n"
         "services: [{name: s, addresses: ['10.0.0.1'], ports: [{port: 80, targets: [80]}], "
         "members: [{spiffe_id: 'spiffe://demo.example/a'}]}]\n",
         "services[0].name: s stands twice"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', addresses: ['10.0.0.0/8']}]\n"
         "services: [{name: s, addresses: ['10.0.0.1'], ports: [{port: 80, targets: [80]}], "
         "members: [{spiffe_id: 'spiffe://demo.example/a'}]}]\n",
         "service s: 10.0.0.1 is an address that a workload's sidecars may take"},
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
    const struct fleet_piece pieces[] = {{"fleet/a.yaml", text, strlen(text), NULL},
                                         {"fleet/b.yaml", text, strlen(text), NULL}};
    struct err err = {{0}, {0}};
    cr_assert_null(fleet_new(pieces, 2, "demo.example", &err));
    cr_expect_not_null(strstr(err.text, "fleet/b.yaml:1:"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "stands in fleet/a.yaml already"), "%s", err.text);
}

// A random fleet, seen through the index and through the sidecars' own decision.

#define NUM_WORKLOADS 24
#define NUM_POLICIES  40
#define NUM_SERVICES  8

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

static const char *const some_variants[] = {"", ", variant: v1", ", variant: v2"};
static const char *const reached[] = {"", "", "", "variants: [v1], ", "variants: [v2, v1], "};

static void put_workloads(FILE *out)
{
    fprintf(out, "workloads:\n");
    for (unsigned i = 0; i < NUM_WORKLOADS; i++) {
        for (unsigned v = 0; v < 1 + i % 3; v++) {
            fprintf(out, "- {spiffe_id: 'spiffe://demo.example/ns/%u/w%u'%s%s%s}\n", i % 4, i,
                    some_ports[i % (sizeof some_ports / sizeof some_ports[0])], some_variants[v],
                    (i + v) % 11 == 0 ? ", enforcement: OBSERVE" : "");
        }
    }
}

static void put_services(FILE *out, unsigned *seed)
{
    fprintf(out, "services:\n");
    for (unsigned i = 0; i < NUM_SERVICES; i++) {
        fprintf(out,
                "- {name: s%u, addresses: ['10.0.0.%u'], has_strangers: %s, ports: [{port: 80, "
                "targets: [%u, 443]}, {port: 443, targets: [79, 81]}], members: [",
                i, i, pick(seed, 3) == 0 ? "true" : "false", 70 + pick(seed, 20));
        for (unsigned m = pick(seed, NUM_WORKLOADS), end = m + 1 + pick(seed, 3); m < end; m++) {
            unsigned number = m % NUM_WORKLOADS;
            fprintf(out, "{spiffe_id: 'spiffe://demo.example/ns/%u/w%u'%s}, ", number % 4, number,
                    some_variants[pick(seed, 1 + number % 3)]);
        }
        fprintf(out, "]}\n");
    }
}

static char *random_fleet(unsigned seed)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    put_workloads(out);
    fprintf(out, "policies:\n");
    for (unsigned i = 0; i < NUM_POLICIES; i++) {
        fprintf(out, "- {targets: [");
        put_pattern(out, &seed);
        fprintf(out, "], %spolicy: {name: p%u, action: %s, mode: %s, %srules: [{principals: [",
                reached[pick(&seed, sizeof reached / sizeof reached[0])], i,
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
    put_services(out, &seed);
    fclose(out);
    return text;
}

// Says whether a workload's sidecars enforce a policy, by its texts.
static bool naive_reaches(const struct fleet_policy *policy, const struct fleet_workload *workload)
{
    const struct spiffe_pattern *targets = policy->targets.items;
    bool is_variant = policy->spec->n_variants == 0;
    for (size_t v = 0; v < policy->spec->n_variants; v++) {
        is_variant = is_variant || strcmp(policy->spec->variants[v], workload->spec->variant) == 0;
    }
    for (uint32_t t = 0; t < policy->targets.num; t++) {
        if (is_variant && spiffe_pattern_matches(&targets[t], &workload->id)) {
            return true;
        }
    }
    return false;
}

static struct policy_index *index_of(const struct fleet *fleet, uint32_t callee)
{
    Tabard__V1__Policy *mine[NUM_POLICIES];
    size_t num = 0;
    const struct fleet_policy *all = fleet->policies.items;
    for (uint32_t i = 0; i < fleet->policies.num; i++) {
        if (naive_reaches(&all[i], fleet_workload(fleet, callee))) {
            mine[num++] = all[i].spec->policy;
        }
    }
    struct policy_index *index = policy_index_new(mine, num, NULL);
    cr_assert_not_null(index);
    return index;
}

static struct policy_index *indexes[3 * NUM_WORKLOADS]; // by callee, of the fleet under test

// The policies that reach a workload, decided as its sidecar would. The rules name no addresses,
// so "may" and "does" are the same.
static bool naive_allows(const struct fleet *fleet, uint32_t callee, uint32_t caller, uint16_t port)
{
    const struct policy_request request = {.peer = &fleet_workload(fleet, caller)->id,
                                           .port = port};
    return policy_decide(indexes[callee], &request, NULL, NULL).verdict == POLICY_ALLOWED ||
           fleet_workload(fleet, callee)->spec->enforcement ==
               TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE;
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

static bool naive_serves(const struct fleet *fleet, const Tabard__V1__FleetService *service,
                         uint32_t caller, uint32_t port)
{
    bool is_observed = fleet_workload(fleet, caller)->spec->enforcement ==
                       TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE;
    for (size_t p = 0; p < service->n_ports && !(is_observed && service->has_strangers); p++) {
        for (size_t m = 0; m < service->n_members && service->ports[p]->port == port; m++) {
            char *key = fleet_key(service->members[m]->spiffe_id, service->members[m]->variant);
            uint32_t callee = fleet_find_key(fleet, key, strlen(key));
            free(key);
            cr_assert_neq(callee, FLEET_NONE);
            for (size_t t = 0; t < service->ports[p]->n_targets; t++) {
                uint16_t target = (uint16_t)service->ports[p]->targets[t];
                if (has(fleet_workload(fleet, callee)->spec, target) &&
                    naive_allows(fleet, callee, caller, target)) {
                    return true;
                }
            }
        }
    }
    return false;
}

static bool serves(const struct fleet_sight *sight, uint32_t service, uint32_t port)
{
    const struct fleet_served *served = sight->services.items;
    const uint32_t *ports = sight->ports.items;
    for (uint32_t i = 0; i < sight->services.num; i++) {
        for (uint32_t p = 0; served[i].service == service && p < served[i].num_ports; p++) {
            if (ports[served[i].first_port + p] == port) {
                return true;
            }
        }
    }
    return false;
}

static bool enforces(const struct fleet_sight *sight, uint32_t policy)
{
    const uint32_t *policies = sight->policies.items;
    for (uint32_t i = 0; i < sight->policies.num; i++) {
        if (policies[i] == policy) {
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

Test(fleet, what_others_open_in_very_many_ranges_costs_a_caller_few, .timeout = TIMEOUT)
{
    enum { POLICIES = 60, PORTS = 500 };
    static char text[POLICIES * (PORTS * 7 + 256)];
    struct err err = {{0}, {0}};
    struct fleet_sight sight;
    size_t len = (size_t)sprintf(text, "workloads: [{spiffe_id: 'spiffe://demo.example/a'}, "
                                       "{spiffe_id: 'spiffe://demo.example/b', ports: [1-65535]}]\n"
                                       "policies:\n");
    for (unsigned i = 0; i < POLICIES; i++) {
        len += (size_t)sprintf(text + len,
                               "- {targets: ['spiffe://demo.example/b'], policy: {name: p%u, "
                               "action: ALLOW, mode: ENFORCE, rules: [{principals: "
                               "['spiffe://demo.example']}], ports: [",
                               i);
        for (unsigned p = 0; p < PORTS; p++) {
            len += (size_t)sprintf(text + len, "%s%u", p == 0 ? "" : ",", 1 + 2 * (i * PORTS + p));
        }
        len += (size_t)sprintf(text + len, "]}}\n");
    }
    struct fleet *fleet = read_one(text, &err);
    cr_assert_not_null(fleet, "%s %s", err.where, err.text);
    fleet_sight_init(&sight, fleet, fleet_find(fleet, "spiffe://demo.example/a", 23));
    cr_expect_eq(sight.ports.num, FLEET_OPEN_RANGES_MAX, "%u", sight.ports.num);
    cr_expect(sees(&sight, 1, 1) && sees(&sight, 1, 3) && sees(&sight, 1, 2 * POLICIES * PORTS - 1),
              "what is open is never left out");
    cr_expect_not(sees(&sight, 1, 2) || sees(&sight, 1, 2 * POLICIES * PORTS));
    fleet_sight_cleanup(&sight);
    fleet_free(fleet);
}

// 200 ports of 64 targets, of which none is open at any of 800 members with 250 ranges each.
Test(fleet, a_service_of_very_many_targets_is_seen_in_no_time, .timeout = 5)
{
    enum { MEMBERS = 800, RANGES = 250, PORTS = 200, TARGETS = 64, SERVICES = 8 };
    static char text[SERVICES * PORTS * TARGETS * 7 + 2000000];
    struct err err = {{0}, {0}};
    struct fleet_sight sight;
    size_t len = (size_t)sprintf(text, "policies: [{targets: ['spiffe://demo.example'], policy: "
                                       "{name: p, action: ALLOW, mode: ENFORCE, rules: "
                                       "[{principals: ['spiffe://demo.example']}], ports: [");
    for (unsigned i = 0; i < RANGES; i++) {
        len += (size_t)sprintf(text + len, "%s%u", i == 0 ? "" : ",", 1 + 2 * i);
    }
    len += (size_t)sprintf(text + len, "]}}]\nworkloads: [{spiffe_id: 'spiffe://demo.example/a'}");
    for (unsigned i = 0; i < MEMBERS; i++) {
        len += (size_t)sprintf(
            text + len, ",{spiffe_id: 'spiffe://demo.example/m%u', variant: v%u, ports: [1-65535]}",
            i % 60, i);
    }
    len += (size_t)sprintf(text + len, "]\nservices:\n");
    for (unsigned s = 0; s < SERVICES; s++) {
        len +=
            (size_t)sprintf(text + len, "- {name: s%u, addresses: ['10.0.0.%u'], members: [", s, s);
        for (unsigned i = 0; i < MEMBERS; i++) {
            len += (size_t)sprintf(text + len,
                                   "%s{spiffe_id: 'spiffe://demo.example/m%u', variant: v%u}",
                                   i == 0 ? "" : ",", i % 60, i);
        }
        len += (size_t)sprintf(text + len, "], ports: [{port: 9, targets: [499]}");
        for (unsigned p = 0; p < PORTS; p++) {
            len += (size_t)sprintf(text + len, ",{port: %u, targets: [2", 1000 + p);
            for (unsigned t = 1; t < TARGETS; t++) {
                len += (size_t)sprintf(text + len, ",%u", 2 + 2 * t);
            }
            len += (size_t)sprintf(text + len, "]}");
        }
        len += (size_t)sprintf(text + len, "]}\n");
    }
    struct fleet *fleet = read_message(text, &err);
    cr_assert_not_null(fleet, "%s %s", err.where, err.text);
    fleet_sight_init(&sight, fleet, fleet_find(fleet, "spiffe://demo.example/a", 23));
    cr_expect_eq(sight.services.num, SERVICES);
    cr_expect(serves(&sight, 0, 9) && !serves(&sight, 0, 1000));
    fleet_sight_cleanup(&sight);
    fleet_free(fleet);
}

// Compares one workload's sight with what the texts say. Counts what is open.
static void compare_callees(const struct fleet *fleet, const struct fleet_sight *sight,
                            uint32_t caller, unsigned *num_seen)
{
    static const uint16_t ports[] = {1, 69, 70, 79, 80, 81, 90, 91, 442, 443, 444, 65535};
    for (uint32_t callee = 0; callee < fleet->workloads.num; callee++) {
        for (size_t p = 0; p < sizeof ports / sizeof ports[0]; p++) {
            bool has_port = has(fleet_workload(fleet, callee)->spec, ports[p]);
            bool naive = has_port && naive_allows(fleet, callee, caller, ports[p]);
            *num_seen += naive;
            cr_expect_eq(sees(sight, callee, ports[p]), naive, "%s calls %s:%u: %d",
                         fleet_workload(fleet, caller)->key, fleet_workload(fleet, callee)->key,
                         ports[p], naive);
        }
    }
}

static void compare_rest(const struct fleet *fleet, const struct fleet_sight *sight,
                         uint32_t caller, unsigned *num_served)
{
    const struct fleet_service *services = fleet->services.items;
    const struct fleet_policy *policies = fleet->policies.items;
    for (uint32_t i = 0; i < fleet->services.num; i++) {
        for (uint32_t port = 80; port <= 443; port += 363) {
            bool naive = naive_serves(fleet, services[i].spec, caller, port);
            *num_served += naive;
            cr_expect_eq(serves(sight, i, port), naive, "%s calls %s:%u: %d",
                         fleet_workload(fleet, caller)->key, services[i].spec->name, port, naive);
        }
    }
    for (uint32_t i = 0; i < fleet->policies.num; i++) {
        cr_expect_eq(enforces(sight, i), naive_reaches(&policies[i], fleet_workload(fleet, caller)),
                     "%s enforces %s", fleet_workload(fleet, caller)->key,
                     policies[i].spec->policy->name);
    }
}

Test(fleet, what_a_workload_sees_is_what_the_others_would_let_in, .timeout = TIMEOUT)
{
    unsigned num_seen = 0;
    unsigned num_served = 0;
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct err err = {{0}, {0}};
        char *text = random_fleet(seed);
        struct fleet *fleet = read_message(text, &err);
        cr_assert_not_null(fleet, "seed %u: %s %s", seed, err.where, err.text);
        for (uint32_t i = 0; i < fleet->workloads.num; i++) {
            indexes[i] = index_of(fleet, i);
        }
        for (uint32_t caller = 0; caller < fleet->workloads.num; caller++) {
            struct fleet_sight sight;
            fleet_sight_init(&sight, fleet, caller);
            compare_callees(fleet, &sight, caller, &num_seen);
            compare_rest(fleet, &sight, caller, &num_served);
            fleet_sight_cleanup(&sight);
        }
        for (uint32_t i = 0; i < fleet->workloads.num; i++) {
            policy_index_free(indexes[i]);
        }
        fleet_free(fleet);
        free(text);
    }
    cr_expect_gt(num_seen, 500, "the fleets allow next to nothing: %u", num_seen);
    cr_expect_gt(num_served, 500, "the fleets serve next to nothing: %u", num_served);
}

Test(fleet, one_message_may_have_variants_but_none_that_nobody_has, .timeout = TIMEOUT)
{
    static const struct refused rows[] = {
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', variant: v}, {spiffe_id: "
         "'spiffe://demo.example/a', variant: v}]",
         "workloads[1].spiffe_id: spiffe://demo.example/a#v stands twice"},
        {"workloads: [{spiffe_id: 'spiffe://demo.example/a', variant: v}]\n"
         "policies: [{targets: ['spiffe://demo.example'], variants: [w], policy: {name: p, action: "
         "DENY, mode: ENFORCE, rules: [{principals: ['spiffe://demo.example']}]}}]",
         "policy p: no workload has the variant \"w\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {{0}, {0}};
        char text[1200];
        cr_expect_null(read_message(rows[i].text, &err), "row %zu was taken", i);
        cr_expect_not_null(strstr(err_text(&err, text, sizeof text), rows[i].error),
                           "row %zu says: %s", i, text);
    }
}

Test(fleet, a_destination_at_a_service_s_address_takes_its_place_for_its_callers,
     .timeout = TIMEOUT)
{
    struct err err = {{0}, {0}};
    struct fleet *fleet = read_one(
        "workloads:\n"
        "- {spiffe_id: 'spiffe://demo.example/a'}\n"
        "- {spiffe_id: 'spiffe://demo.example/b'}\n"
        "- {spiffe_id: 'spiffe://demo.example/s', ports: [8080], enforcement: OBSERVE}\n"
        "destinations: [{callers: ['spiffe://demo.example/a'], destination: {name: d, addresses: "
        "['10.0.0.1'], mode: PLAINTEXT}}]\n"
        "services: [{name: s, addresses: ['10.0.0.1'], ports: [{port: 80, targets: [8080]}], "
        "members: [{spiffe_id: 'spiffe://demo.example/s'}]}]\n",
        &err);
    cr_assert_not_null(fleet, "%s", err.text);
    struct fleet_sight sight;
    fleet_sight_init(&sight, fleet, fleet_find(fleet, "spiffe://demo.example/a", 23));
    cr_expect_eq(sight.destinations.num, 1);
    cr_expect_eq(sight.services.num, 0, "a gets the address twice, and refuses all it is sent");
    fleet_sight_cleanup(&sight);
    fleet_sight_init(&sight, fleet, fleet_find(fleet, "spiffe://demo.example/b", 23));
    cr_expect_eq(sight.destinations.num, 0);
    cr_expect_eq(sight.services.num, 1);
    fleet_sight_cleanup(&sight);
    fleet_free(fleet);
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
