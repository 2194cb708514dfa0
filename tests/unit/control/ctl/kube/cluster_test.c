// SPDX-License-Identifier: Apache-2.0
//
// What is said of a cluster, by what kubectl tells of it.
#include "control/ctl/kube/cluster.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/control/ctl/kube/said.h"

TestSuite(cluster, .timeout = 10, .init = said_begin, .fini = said_end);

#define NOW 1795837449 // 2026-11-28T03:44:09Z

Test(cluster, a_version_below_1_29_is_a_fault_that_says_why)
{
    static const struct {
        const char *version;
        const char *said;
    } rows[] = {
        {"{\"serverVersion\":{\"major\":\"1\",\"minor\":\"35\",\"gitVersion\":\"v1.35.4\"}}",
         "√ the API server is of Kubernetes v1.35.4 (1.29 or newer is needed)\n"},
        {"{\"serverVersion\":{\"major\":\"1\",\"minor\":\"29+\",\"gitVersion\":\"v1.29.1-eks\"}}",
         "√ the API server is of Kubernetes v1.29.1-eks (1.29 or newer is needed)\n"},
        {"{\"serverVersion\":{\"major\":\"2\",\"minor\":\"0\",\"gitVersion\":\"v2.0.0\"}}",
         "√ the API server is of Kubernetes v2.0.0 (1.29 or newer is needed)\n"},
        {"{\"serverVersion\":{\"major\":\"1\",\"minor\":\"28\",\"gitVersion\":\"v1.28.9\"}}",
         "× the API server is of Kubernetes v1.28.9: sidecars are native ones, which need 1.29 or "
         "newer; upgrade the "
         "cluster\n"},
        {"{\"clientVersion\":{}}",
         "× the API server's version is not known: kubectl version says none\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *version = json_loads(rows[i].version, 0, NULL);
        cluster_check_version(&said, version);
        cr_expect_str_eq(said_take(), rows[i].said);
        json_decref(version);
    }
}

Test(cluster, times_are_read_as_kubernetes_writes_them)
{
    cr_expect_eq(cluster_time("2026-11-28T03:44:09Z"), NOW);
    cr_expect_eq(cluster_time("2026-11-28T03:44:09.931123Z"), NOW);
    cr_expect_eq(cluster_time("2026-11-28T03:44:09+01:00"), -1);
    cr_expect_eq(cluster_time("2026-11-28"), -1);
    cr_expect_eq(cluster_time(""), -1);
}

static void check_clocks(const char *server_time, const char *renewed, time_t here)
{
    json_t *leases = json_pack("{s:[{s:{s:s}, s:{s:s}}]}", "items", "metadata", "name", "n1",
                               "spec", "renewTime", renewed);
    cluster_check_clocks(&said, server_time, leases, here, here);
    json_decref(leases);
}

Test(cluster, clocks_that_agree_are_good)
{
    check_clocks("2026-11-28T03:44:09Z", "2026-11-28T03:44:01.5Z", NOW);
    cr_expect_str_eq(
        said_take(),
        "√ the clocks of this machine, of the API server and of 1 node agree within 10 s\n");
    check_clocks("2026-11-28T03:44:19Z", "2026-11-28T03:44:15Z", NOW);
    cr_expect_eq(said.num_good, 1);
}

Test(cluster, a_clock_that_is_ahead_or_behind_is_named_with_its_seconds)
{
    check_clocks("2026-11-28T03:45:09Z", "2026-11-28T03:45:05Z", NOW);
    cr_expect_str_eq(said_take(),
                     "! the API server's clock is 60 s ahead of this machine's; set both by NTP\n");
    check_clocks("2026-11-28T03:43:08Z", "2026-11-28T03:43:05Z", NOW);
    cr_expect_str_eq(said_take(),
                     "! the API server's clock is 60 s behind this machine's; set both by NTP\n");
    check_clocks("2026-11-28T03:44:09Z", "2026-11-28T03:44:29Z", NOW);
    cr_expect_not_null(
        strstr(said_take(), "! the clock of node n1 is 20 s ahead of the API server's: "));
    check_clocks("2026-11-28T03:44:09Z", "2026-11-28T03:40:00Z", NOW);
    cr_expect_not_null(strstr(
        said_take(),
        "! node n1 has not renewed its lease for a while: it is down, or its clock is late"));
    check_clocks("2026-11-28T03:44:09Z", "soon", NOW);
    cr_expect_not_null(strstr(said_take(), "! node n1 has not renewed"));
    check_clocks("", "", NOW);
    cr_expect_str_eq(said_take(), "! the API server's time is not known: it says \"\"\n");
}

// What an API server answers that allows everything but what `resource` names, or leaves that out.
static char *answers(const char *resource, const char *instead)
{
    char *wanted = cluster_rights_wanted("mesh");
    json_t *list = json_loads(wanted, 0, NULL);
    static char text[4096];
    size_t i = 0;
    const json_t *item = NULL;
    text[0] = '\0';
    json_array_foreach(json_object_get(list, "items"), i, item)
    {
        const json_t *attributes =
            json_object_get(json_object_get(item, "spec"), "resourceAttributes");
        const char *name = json_string_value(json_object_get(attributes, "resource"));
        bool is_other = strcmp(name, resource) == 0;
        size_t len = strlen(text);
        snprintf(text + len, sizeof text - len, "%s\t%s\n", name, is_other ? instead : "true");
    }
    json_decref(list);
    free(wanted);
    return text;
}

Test(cluster, a_right_that_is_missing_is_named)
{
    cluster_check_rights(&said, answers("", ""));
    cr_expect_str_eq(said_take(), "√ you may create what an install creates\n");
    cluster_check_rights(&said, answers("clusterroles", "false"));
    cr_expect_str_eq(
        said_take(),
        "× you may not create clusterroles: let an administrator of the cluster install\n");
    cluster_check_rights(&said, answers("secrets", ""));
    cr_expect_str_eq(said_take(),
                     "× you may not create secrets: let an administrator of the cluster install\n");
    cluster_check_rights(&said, "");
    cr_expect_not_null(strstr(
        said_take(),
        "× you may not create namespaces, customresourcedefinitions, clusterroles and 12 more"));
}

Test(cluster, rights_within_a_namespace_are_asked_for_there)
{
    static const char *const wide[] = {
        "namespaces",          "customresourcedefinitions",     "clusterroles",
        "clusterrolebindings", "mutatingwebhookconfigurations", "tokenreviews"};
    static const char *const within[] = {
        "roles",       "rolebindings",         "serviceaccounts", "services", "configmaps",
        "deployments", "poddisruptionbudgets", "networkpolicies", "secrets"};
    char *wanted = cluster_rights_wanted("mesh");
    char part[100];
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        snprintf(part, sizeof part, "\"resource\":\"%s\"}", wide[i]);
        cr_expect_not_null(strstr(wanted, part), "%s in %s", part, wanted);
    }
    for (size_t i = 0; i < sizeof within / sizeof within[0]; i++) {
        snprintf(part, sizeof part, "\"resource\":\"%s\",\"namespace\":\"mesh\"}", within[i]);
        cr_expect_not_null(strstr(wanted, part), "%s in %s", part, wanted);
    }
    free(wanted);
}

Test(cluster, what_a_terminal_would_obey_is_shown_as_a_question_mark)
{
    findings_good(&said, "a\x1b[31m\nb\x7f");
    cr_expect_str_eq(said_take(), "√ a?[31m?b?\n");
}
