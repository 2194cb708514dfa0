// SPDX-License-Identifier: Apache-2.0
//
// What is said of the objects that an install makes.
#include "control/ctl/kube/installed.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/version.h"
#include "tests/unit/control/ctl/kube/said.h"

#include "control/ctl/kube/definitions.h"

TestSuite(installed, .timeout = 10, .init = said_begin, .fini = said_end);

static json_t *definition(const char *name, const char *mark)
{
    return json_pack("{s:{s:s, s:{s:s}}}", "metadata", "name", name, "annotations",
                     "tabard.dev/definition", mark);
}

// Says what is said of the three definitions, one of them with another mark, or absent where the
// mark is NULL.
static const char *of_definitions(const char *other, const char *mark)
{
    json_t *items = json_array();
#define X(name, own)                                                                               \
    if (strcmp(name, other) != 0) {                                                                \
        json_array_append_new(items, definition(name, own));                                       \
    } else if (mark != NULL) {                                                                     \
        json_array_append_new(items, definition(name, mark));                                      \
    }
    DEFINITIONS(X)
#undef X
    json_t *list = json_pack("{s:o}", "items", items);
    installed_check_definitions(&said, list);
    json_decref(list);
    return said_take();
}

Test(installed, definitions_are_those_of_this_version_or_named)
{
    cr_expect_str_eq(of_definitions("", ""), "√ the definitions of MeshPolicy, MeshDestination and "
                                             "MeshSettings are those of this version\n");
    cr_expect_str_eq(of_definitions("meshsettings.tabard.dev", NULL),
                     "× the definitions meshsettings.tabard.dev are missing: install the chart "
                     "with crds.install=true\n");
    cr_expect_not_null(strstr(of_definitions("meshpolicies.tabard.dev", "0000000000000000"),
                              "! the definitions meshpolicies.tabard.dev are of another version "
                              "than this tabardctl " TABARD_VERSION));
    cr_expect_not_null(strstr(of_definitions("meshpolicies.tabard.dev", ""),
                              "! the definitions meshpolicies.tabard.dev"));
}

static const char *of_settings(const char *text)
{
    json_t *settings = json_loads(text, JSON_DECODE_ANY, NULL);
    installed_check_settings(&said, settings);
    json_decref(settings);
    return said_take();
}

Test(installed, a_mesh_without_settings_is_at_fault_and_one_that_observes_is_shown)
{
    cr_expect_str_eq(
        of_settings("{\"spec\":{\"trustDomain\":\"prod.example\",\"mode\":\"enforce\"}}"),
        "√ the mesh of trust domain prod.example enforces its policies\n");
    cr_expect_not_null(strstr(
        of_settings("{\"spec\":{\"trustDomain\":\"prod.example\",\"mode\":\"observe\"}}"),
        "! the mesh of trust domain prod.example observes, and denies nothing for policy's sake"));
    cr_expect_not_null(strstr(of_settings("null"), "× there is no MeshSettings `default`"));
}

static json_t *deployment(int wanted, int ready, int updated, const char *version)
{
    return json_pack("{s:{s:s, s:{s:s}}, s:{s:i}, s:{s:i, s:i}}", "metadata", "namespace", "mesh",
                     "labels", "app.kubernetes.io/version", version, "spec", "replicas", wanted,
                     "status", "readyReplicas", ready, "updatedReplicas", updated);
}

static const char *of_policyd(json_t *own, const char *pods_text)
{
    json_t *pods = json_loads(pods_text, 0, NULL);
    cr_assert_not_null(pods);
    installed_check_policyd(&said, own, pods);
    json_decref(pods);
    json_decref(own);
    return said_take();
}

#define POD(status) "{\"items\":[{\"metadata\":{\"name\":\"p1\"},\"status\":{" status "}}]}"

Test(installed, policyd_serves_or_the_reason_of_each_pod_is_said)
{
    cr_expect_str_eq(
        of_policyd(deployment(2, 2, 2, TABARD_VERSION), "{}"),
        "√ 2 of 2 policyd serve\n√ policyd and this tabardctl are of version " TABARD_VERSION "\n");
    cr_expect_not_null(strstr(of_policyd(deployment(2, 1, 2, TABARD_VERSION),
                                         POD("\"containerStatuses\":[{\"ready\":false,\"state\":{"
                                             "\"waiting\":{\"reason\":\"ImagePullBackOff\"}}}]")),
                              "! policyd's pod p1 does not serve: ImagePullBackOff; kubectl -n "
                              "mesh logs p1\n! 1 of 2 policyd serve, 2 of the newest: "));
    cr_expect_not_null(strstr(of_policyd(deployment(2, 0, 2, TABARD_VERSION),
                                         POD("\"conditions\":[{\"type\":\"PodScheduled\","
                                             "\"status\":\"False\",\"message\":\"no node\"}]")),
                              "× policyd's pod p1 does not serve: no node; kubectl -n mesh logs "
                              "p1\n× none of 2 policyd serves: "));
    cr_expect_not_null(strstr(
        of_policyd(deployment(2, 0, 2, TABARD_VERSION),
                   POD("\"containerStatuses\":[{\"ready\":false,\"state\":{\"running\":{}}}]")),
        "does not serve: it runs and is not ready; "));
    cr_expect_not_null(strstr(of_policyd(deployment(2, 2, 1, TABARD_VERSION), "{}"),
                              "! 2 of 2 policyd serve, 1 of the newest"));
    cr_expect_not_null(strstr(of_policyd(deployment(0, 0, 0, TABARD_VERSION), "{}"),
                              "× policyd has no replicas: "));
}

Test(installed, a_policyd_of_another_version_is_shown)
{
    cr_expect_not_null(
        strstr(of_policyd(deployment(1, 1, 1, "9.9.9"), "{}"),
               "! policyd is of version 9.9.9 and this tabardctl of " TABARD_VERSION));
}

static const char *of_webhook(const char *namespace, const char *ca, const char *failure_policy)
{
    json_t *configuration =
        json_pack("{s:[{s:{s:{s:s}, s:s}, s:s}]}", "webhooks", "clientConfig", "service",
                  "namespace", namespace, "caBundle", ca, "failurePolicy", failure_policy);
    installed_check_webhook(&said, configuration, "mesh");
    json_decref(configuration);
    return said_take();
}

Test(installed, a_webhook_that_cannot_work_is_at_fault)
{
    cr_expect_str_eq(of_webhook("mesh", "LS0t", "Fail"), "");
    cr_expect_not_null(strstr(of_webhook("other", "LS0t", "Fail"),
                              "× the webhook calls a policyd in the namespace other, not in mesh"));
    cr_expect_not_null(strstr(of_webhook("mesh", "", "Fail"), "× the webhook has no caBundle: "));
    cr_expect_not_null(
        strstr(of_webhook("mesh", "LS0t", "Ignore"), "! the webhook's failurePolicy is Ignore: "));
    json_t *none = json_null();
    installed_check_webhook(&said, none, "mesh");
    cr_expect_not_null(strstr(said_take(), "× there is no MutatingWebhookConfiguration `tabard`"));
}
