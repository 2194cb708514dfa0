// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/kube/sidecars.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct sidecars sidecars;

static void cleanup(void)
{
    sidecars_cleanup(&sidecars);
}

TestSuite(sidecars, .timeout = 10, .fini = cleanup);

static void add_pods(const char *lines)
{
    char text[4096];
    snprintf(text, sizeof text, "%s", lines);
    sidecars_add_pods(&sidecars, text, NULL);
}

static void add_services(const char *lines)
{
    char text[4096];
    snprintf(text, sizeof text, "%s", lines);
    sidecars_add_services(&sidecars, text);
}

static const struct sidecar *sidecar_at(uint32_t i)
{
    cr_assert_lt(i, sidecars.list.num);
    return &((const struct sidecar *)sidecars.list.items)[i];
}

#define SINCE "2026-11-28T04:00:00Z"

Test(sidecars, a_workload_is_named_by_its_owner_and_a_deployment_by_its_replica_set)
{
    static const char *const rows[][2] = {
        {"ReplicaSet\tweb-6b6db75d9c\t6b6db75d9c", "deployment/web"},
        {"ReplicaSet\tweb-6b6db75d9c\t", "replicaset/web-6b6db75d9c"}, // made by hand
        {"ReplicaSet\tmine\t6b6db75d9c", "replicaset/mine"},
        {"ReplicaSet\t-6b6db75d9c\t6b6db75d9c", "replicaset/-6b6db75d9c"},
        {"StatefulSet\tdb\t", "statefulset/db"},
        {"Job\tbackup\t", "job/backup"},
        {"\t\t", "pod/web-x"},
    };
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[256];
        snprintf(line, sizeof line, "shop\tweb-x\tRunning\t10.1.2.3\t%s\t" SINCE "\n", rows[i][0]);
        add_pods(line);
        cr_expect_str_eq(sidecar_at(i)->workload, rows[i][1]);
        cr_expect_str_eq(sidecar_at(i)->namespace, "shop");
        cr_expect_str_eq(sidecar_at(i)->pod, "web-x");
    }
}

Test(sidecars, only_sidecars_that_run_are_asked)
{
    add_pods("shop\ta\tRunning\t10.1.2.1\t\t\t\t" SINCE "\n"
             "shop\tb\tRunning\t10.1.2.2\t\t\t\t\n"            // none, or not started
             "shop\tc\tSucceeded\t10.1.2.3\t\t\t\t" SINCE "\n" // what it was is over
             "shop\td\tPending\t10.1.2.4\t\t\t\t" SINCE "\n"); // the user's own init containers run
    cr_assert_eq(sidecars.list.num, 2);
    cr_expect_str_eq(sidecar_at(0)->pod, "a");
    cr_expect_str_eq(sidecar_at(1)->pod, "d");
}

Test(sidecars, the_pods_of_other_namespaces_give_their_names_alone)
{
    char text[] = "shop\ta\tRunning\t10.1.2.1\t\t\t\t" SINCE "\n"
                  "lobby\tb\tRunning\t10.1.2.2\t\t\t\t" SINCE "\n";
    sidecars_add_pods(&sidecars, text, "shop");
    cr_assert_eq(sidecars.list.num, 1);
    cr_expect_str_eq(sidecar_at(0)->pod, "a");
    cr_expect_str_eq(sidecars_owner(&sidecars, "10.1.2.2"), "lobby/pod/b");
}

Test(sidecars, addresses_are_their_workload_s_or_their_service_s)
{
    add_pods("shop\tweb-1\tRunning\t10.1.2.1 fd00::1\tReplicaSet\tweb-h\th\t\n"
             "lobby\tx\tRunning\t10.1.2.2\t\t\t\t\n"
             "lobby\told\tFailed\t10.1.2.9\t\t\t\t\n"
             "lobby\tnew\tPending\t\t\t\t\t\n");
    add_services("shop\tweb\t10.96.0.1 fd00:96::1\nshop\tall\tNone\n");
    cr_expect_str_eq(sidecars_owner(&sidecars, "10.1.2.1"), "shop/deployment/web");
    cr_expect_str_eq(sidecars_owner(&sidecars, "fd00::1"), "shop/deployment/web");
    cr_expect_str_eq(sidecars_owner(&sidecars, "10.1.2.2"), "lobby/pod/x");
    cr_expect_str_eq(sidecars_owner(&sidecars, "fd00:96::1"), "shop/service/web");
    cr_expect_null(sidecars_owner(&sidecars, "10.1.2.9"), "a pod that is over has no address");
    cr_expect_null(sidecars_owner(&sidecars, "None"));
    cr_expect_null(sidecars_owner(&sidecars, ""));
}

Test(sidecars, lines_that_are_cut_or_empty_are_none)
{
    add_pods("shop\n");
    add_pods("");
    add_services("shop\tweb\n");
    cr_expect_eq(sidecars.list.num, 0);
}
