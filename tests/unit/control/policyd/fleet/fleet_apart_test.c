// SPDX-License-Identifier: Apache-2.0
//
// Pieces of which more are bad than are judged one by one.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "control/policyd/fleet/fleet.h"

#define DOMAIN "demo.example"
#define POLICY(name, action, caller)                                                               \
    "- {targets: ['spiffe://demo.example/a'], policy: {name: " name ", action: " action            \
    ", mode: ENFORCE, rules: [{principals: ['" caller "']}]}}\n"
#define WEB "spiffe://demo.example/web"

static struct err err;

static struct fleet_piece piece(const char *name, const char *text)
{
    return (struct fleet_piece){.name = name, .text = text, .len = strlen(text)};
}

static bool has_policy(const struct fleet *fleet, const char *name)
{
    const struct fleet_policy *policies = fleet->policies.items;
    for (uint32_t i = 0; i < fleet->policies.num; i++) {
        if (strcmp(policies[i].spec->policy->name, name) == 0) {
            return true;
        }
    }
    return false;
}

Test(fleet_apart, a_piece_with_too_many_faults_stays_whole_and_holds_up_no_other, .timeout = 20)
{
    char many[100 * FLEET_FAULTS_MAX * 4] = "policies:\n" POLICY("brought", "ALLOW", WEB);
    const struct fleet_piece before[] = {
        piece("fleet/a.yaml", "policies:\n" POLICY("old", "DENY", WEB)),
        piece("fleet/b.yaml", "workloads: [{spiffe_id: 'spiffe://demo.example/a'}]\n")};
    struct fleet *in_force = fleet_new(before, 2, DOMAIN, &err);
    cr_assert_not_null(in_force, "%s", err.text);
    for (int i = 0; i < FLEET_FAULTS_MAX + 2; i++) {
        size_t len = strlen(many);
        snprintf(
            many + len, sizeof many - len,
            "- {targets: [x], policy: {name: p%d, action: DENY, mode: ENFORCE, rules: [{}]}}\n", i);
    }
    const struct fleet_piece now[] = {piece("fleet/a.yaml", many),
                                      piece("fleet/b.yaml",
                                            "workloads: [{spiffe_id: 'spiffe://demo.example/a'}]\n"
                                            "policies:\n" POLICY("new", "DENY", WEB))};
    struct fleet_faults faults;
    struct fleet *fleet = fleet_new_apart(now, 2, DOMAIN, in_force, &faults, &err);
    cr_assert_not_null(fleet, "%s", err.text);
    cr_expect_eq(faults.num, FLEET_FAULTS_MAX);
    cr_expect(has_policy(fleet, "old") && has_policy(fleet, "new"));
    cr_expect_not(has_policy(fleet, "brought"));
    cr_expect_not(fleet_same_content(fleet, in_force));
    // The same once more changes nothing.
    struct fleet *again = fleet_new_apart(now, 2, DOMAIN, fleet, &faults, &err);
    cr_assert_not_null(again, "%s", err.text);
    cr_expect(fleet_same_content(again, fleet));
    fleet_free(again);
    fleet_free(fleet);
    fleet_free(in_force);
}

Test(fleet_apart, where_nothing_was_in_force_what_is_bad_is_left_out, .timeout = 20)
{
    const struct fleet_piece now[] = {piece("fleet/a.yaml", "policies: ["),
                                      piece("fleet/b.yaml",
                                            "workloads: [{spiffe_id: 'spiffe://demo.example/a'}]\n"
                                            "policies:\n" POLICY("good", "ALLOW", WEB)
                                                POLICY("bad", "ALLOW", "nobody"))};
    const struct fleet_piece none = piece("fleet/b.yaml", "workloads: []\n");
    struct fleet *in_force = fleet_new(&none, 1, DOMAIN, &err);
    struct fleet_faults faults;
    struct fleet *fleet = fleet_new_apart(now, 2, DOMAIN, in_force, &faults, &err);
    cr_assert_not_null(fleet, "%s", err.text);
    cr_expect_eq(faults.num, 2);
    cr_expect(strstr(faults.texts[1], "fleet/b.yaml:4:") == faults.texts[1], "%s", faults.texts[1]);
    cr_expect_eq(fleet->policies.num, 1);
    fleet_free(fleet);
    fleet_free(in_force);
}

Test(fleet_apart, a_name_that_was_misspelt_takes_nobodys_identity_away, .timeout = 20)
{
    const struct fleet_piece before =
        piece("fleet/a.yaml", "workloads: [{spiffe_id: 'spiffe://demo.example/a'}, {spiffe_id: "
                              "'spiffe://demo.example/b'}]\n"
                              "policies:\n" POLICY("old", "DENY", WEB));
    const struct fleet_piece now =
        piece("fleet/a.yaml", "workloads: [{spiffe_id: 'spiffe:/demo.example/a'}, {spiffe_id: "
                              "'spiffe://demo.example/c'}]\n");
    struct fleet_faults faults;
    struct fleet *in_force = fleet_new(&before, 1, DOMAIN, &err);
    cr_assert_not_null(in_force, "%s", err.text);
    struct fleet *fleet = fleet_new_apart(&now, 1, DOMAIN, in_force, &faults, &err);
    cr_assert_not_null(fleet, "%s", err.text);
    cr_expect_eq(faults.num, 2, "the DENY that stays is told, too");
    cr_expect_eq(fleet->workloads.num, 3);
    cr_expect(has_policy(fleet, "old"), "no DENY leaves with it");
    fleet_free(fleet);
    fleet_free(in_force);
}

Test(fleet_apart, a_deny_that_moved_to_what_is_refused_stays_where_another_piece_is_bad_too)
{
    const struct fleet_piece before[] = {
        piece("fleet/a.yaml", "policies:\n" POLICY("old", "DENY", WEB)),
        piece("fleet/b.yaml", "workloads: [{spiffe_id: 'spiffe://demo.example/a'}]\n")};
    const struct fleet_piece now[] = {
        piece("fleet/a.yaml", "policies: []\n"), piece("fleet/b.yaml", "policies: ["),
        piece("fleet/c.yaml", "policies:\n- {targets: [x], policy: {name: old, action: DENY, "
                              "mode: ENFORCE, rules: [{}]}}\n")};
    struct fleet_faults faults;
    struct fleet *in_force = fleet_new(before, 2, DOMAIN, &err);
    cr_assert_not_null(in_force, "%s", err.text);
    struct fleet *fleet = fleet_new_apart(now, 3, DOMAIN, in_force, &faults, &err);
    cr_assert_not_null(fleet, "%s", err.text);
    cr_expect(has_policy(fleet, "old"));
    fleet_free(fleet);
    fleet_free(in_force);
}
