// SPDX-License-Identifier: Apache-2.0
//
// What is said of namespaces, pods and objects of the mesh, by the lines that kubectl prints of
// them.
#include "control/ctl/kube/members.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "tests/unit/control/ctl/kube/said.h"

TestSuite(members, .timeout = 10, .init = said_begin, .fini = said_end);

#define STATUS "{\"version\":\"1.2.3\",\"image\":\"r/t:2\"}"

static const char *of_pods(const char *lines)
{
    char text[2048];
    snprintf(text, sizeof text, "%s", lines);
    members_check_pods(&said, text, "shop\nlobby\n", "1.2.3", "r/t:2");
    return said_take();
}

Test(members, pods_with_a_sidecar_that_is_ready_are_good)
{
    cr_expect_str_eq(
        of_pods("shop\tweb\tRunning\t\t\ttrue\t" STATUS "\n"
                "shop\tdb\tRunning\t\tdisabled\t\t\n"
                "shop\tnet\tRunning\ttrue\t\t\t\n"
                "shop\tjob\tSucceeded\t\t\tfalse\t" STATUS "\n"
                "shop\told\tFailed\t\t\tfalse\t" STATUS "\n"
                "shop\tnew\tPending\t\t\t\t" STATUS "\n"
                "shopping\tx\tRunning\t\t\t\t\n"
                "kube-system\tdns\tRunning\t\t\t\t\n"),
        "√ 2 pods have a sidecar that is ready and of version 1.2.3; 2 stand outside on purpose\n");
}

Test(members, of_a_pod_that_ends_nothing_is_said)
{
#define ENDS "\t2026-11-28T08:00:00Z\n"
    cr_expect_str_eq(
        of_pods("shop\tbehind\tRunning\t\t\ttrue\t{}" ENDS
                "shop\tunready\tRunning\t\t\tfalse\t" STATUS ENDS
                "shop\toutside\tRunning\t\t\t\t" ENDS "shop\tout\tRunning\t\tdisabled\t\t" ENDS
                "shop\tweb\tRunning\t\t\ttrue\t" STATUS "\n"),
        "√ 1 pods have a sidecar that is ready and of version 1.2.3; 0 stand outside on purpose\n");
}

Test(members, a_pod_that_was_not_restarted_since_the_label_is_named)
{
    cr_expect_str_eq(of_pods("shop\tweb\tRunning\t\t\t\t\nlobby\ta\tRunning\t\tenabled\t\t\n"),
                     "! 2 pods of the mesh's namespaces have no sidecar: shop/web, lobby/a; "
                     "kubectl rollout restart their "
                     "controllers\n");
}

Test(members, a_namespace_whose_label_is_misspelled_is_a_fault)
{
    char text[] = "shop\n";
    char none[] = "";
    members_check_labels(&said, text);
    members_check_labels(&said, none);
    cr_expect_str_eq(said_take(),
                     "× the label tabard.dev/inject of namespace shop is neither \"enabled\" nor "
                     "\"disabled\", so none of its pods can start: kubectl label namespace shop "
                     "tabard.dev/inject=enabled --overwrite\n");
}

Test(members, a_policy_that_concerns_nobody_is_named)
{
    char text[] = "MeshPolicy\tshop\tweb\tTrue\tTrue\t\t2 of 2 sidecars\n"
                  "MeshPolicy\tshop\tnobody\tTrue\tTrue\t\t0 of 0 sidecars\n";
    members_check_objects(&said, text);
    cr_expect_str_eq(said_take(), "! 1 MeshPolicies and MeshDestinations concern no sidecar: "
                                  "shop/nobody; do they select accounts and labels of pods that "
                                  "are in the mesh?\n"
                                  "√ 2 MeshPolicies and MeshDestinations are accepted and in "
                                  "force\n");
}

#define BEHIND(status) "shop\ta\tRunning\t\t\ttrue\t" status "\n"
#define RESTART        "; kubectl rollout restart their controllers\n"

Test(members, sidecars_of_another_version_or_image_or_of_none_are_behind)
{
    static const char *const rows[] = {
        BEHIND("{\"version\":\"1.2.2\",\"image\":\"r/t:2\"}"),
        BEHIND("{\"version\":\"1.2.3\",\"image\":\"r/t:1\"}"),
        BEHIND("{\"version\":\"1.2.3\"}"),
        BEHIND("{\"image\":\"r/t:2\"}"),
        BEHIND("{\"version\":1,\"image\":\"r/t:2\"}"),
        BEHIND("{}"),
        BEHIND("x"),
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *told = of_pods(rows[i]);
        cr_expect_str_eq(told,
                         "! 1 sidecars are not of policyd's version 1.2.3 and image r/t:2: "
                         "shop/a" RESTART,
                         "row %zu: %s", i, told);
    }
}

Test(members, a_few_of_the_sidecars_that_are_behind_are_named)
{
    cr_expect_str_eq(of_pods("shop\ta\tRunning\t\t\ttrue\t{}\nother\tb\tRunning\t\t\ttrue\t{}\n"
                             "shop\tc\tRunning\t\t\ttrue\t{}\n"
                             "shop\td\tRunning\t\t\ttrue\t" STATUS "\n"
                             "shop\te\tRunning\t\t\ttrue\t{}\n"),
                     "! 4 sidecars are not of policyd's version 1.2.3 and image r/t:2: "
                     "shop/a, other/b, shop/c and 1 more" RESTART);
}

Test(members, a_sidecar_that_is_not_ready_is_a_fault)
{
    cr_expect_not_null(strstr(of_pods("shop\ta\tRunning\t\t\tfalse\t" STATUS "\n"),
                              "× 1 sidecars are not ready: shop/a; "));
    cr_expect_not_null(strstr(of_pods("shop\ta\tRunning\t\t\t\t" STATUS "\n"),
                              "× 1 sidecars are not ready: shop/a; "));
}

Test(members, objects_that_are_refused_or_not_in_force_are_named_with_the_reason)
{
    char text[] = "MeshPolicy\tshop\ta\tTrue\tTrue\ttaken\t3 of 3\n"
                  "MeshPolicy\tshop\tb\tFalse\tFalse\trules[0]: bits are set\t\n"
                  "MeshDestination\tshop\tc\tTrue\tFalse\ttaken\t1 of 3 sidecars\n"
                  "MeshPolicy\tshop\td\t\t\t\t\n";
    members_check_objects(&said, text);
    cr_expect_str_eq(said_take(),
                     "× MeshPolicy shop/b is not accepted: rules[0]: bits are set\n"
                     "! MeshDestination shop/c is not in force everywhere: 1 of 3 sidecars\n"
                     "! MeshPolicy shop/d has no status: policyd has not seen it yet\n"
                     "√ 1 MeshPolicies and MeshDestinations are accepted and in force\n");
}

Test(members, lines_that_lack_fields_have_empty_ones)
{
    char text[] = "a\tb\n\nnever";
    char *rest = text;
    char *fields[3];
    cr_assert(members_next(&rest, fields, 3));
    cr_expect_str_eq(fields[0], "a");
    cr_expect_str_eq(fields[1], "b");
    cr_expect_str_eq(fields[2], "");
    cr_expect_not(members_next(&rest, fields, 3));
}

Test(members, the_pod_of_a_trial_is_json)
{
    json_t *pod = json_loads(members_trial_pod, 0, NULL);
    cr_expect_not_null(pod);
    json_decref(pod);
}
