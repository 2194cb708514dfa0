// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // sched_setaffinity
#include "control/agent/cpus.h"

#include <criterion/criterion.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/unit/support/temp.h"

// Writes a file of a control group; an empty group is the root.
static void put(const char *group, const char *name, const char *text)
{
    char path[2 * TEMP_PATH_BYTES];
    size_t root_len = (size_t)snprintf(path, sizeof path, "%s%s", temp_folder, group);
    for (char *at = strchr(path + strlen(temp_folder) + 1, '/'); at != NULL && root_len > 0;
         at = strchr(at + 1, '/')) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
    mkdir(path, 0700);
    temp_write(path, name, text, strlen(text));
}

TestSuite(cpus, .timeout = 10, .init = temp_set_up, .fini = temp_tear_down);

Test(cpus, a_quota_of_version_2_is_rounded_up)
{
    static const struct {
        const char *text;
        unsigned expected;
    } rows[] = {{"max 100000\n", UINT_MAX}, {"50000 100000\n", 1},
                {"100000 100000\n", 1},     {"100001 100000\n", 2},
                {"150000 100000\n", 2},     {"800000 100000\n", 8},
                {"1000 1000000\n", 1},      {"100000 0\n", UINT_MAX},
                {"100000\n", UINT_MAX},     {"", UINT_MAX},
                {"-5 100000\n", UINT_MAX},  {"words\n", UINT_MAX}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put("/pod", "cpu.max", rows[i].text);
        cr_expect_eq(cpus_of_quota(temp_folder, "0::/pod\n"), rows[i].expected, "row %zu", i);
    }
}

Test(cpus, the_least_of_a_group_and_those_above_it_counts)
{
    put("/slice/pod", "cpu.max", "300000 100000\n");
    put("/slice", "cpu.max", "max 100000\n");
    cr_expect_eq(cpus_of_quota(temp_folder, "0::/slice/pod\n"), 3);
    put("/slice", "cpu.max", "200000 100000\n");
    cr_expect_eq(cpus_of_quota(temp_folder, "0::/slice/pod\n"), 2);
    put("", "cpu.max", "100000 100000\n"); // the container's own, mounted as the root
    cr_expect_eq(cpus_of_quota(temp_folder, "0::/\n"), 1);
    cr_expect_eq(cpus_of_quota(temp_folder, "0::/not/there\n"), 1);
}

Test(cpus, version_1_has_it_in_two_files_of_its_cpu_controller)
{
    put("/cpu/pod", "cpu.cfs_quota_us", "250000\n");
    put("/cpu/pod", "cpu.cfs_period_us", "100000\n");
    put("/cpu/free", "cpu.cfs_quota_us", "-1\n");
    put("/cpu/free", "cpu.cfs_period_us", "100000\n");
    cr_expect_eq(cpus_of_quota(temp_folder, "5:memory:/x\n4:cpu,cpuacct:/pod\n"), 3);
    cr_expect_eq(cpus_of_quota(temp_folder, "4:cpuset:/pod\n"), UINT_MAX, "another controller");
    cr_expect_eq(cpus_of_quota(temp_folder, "4:cpu,cpuacct:/free\n"), UINT_MAX);
    cr_expect_eq(cpus_of_quota(temp_folder, "nonsense\n\n0:\n"), UINT_MAX);
}

Test(cpus, the_affinity_of_the_process_counts)
{
    cpu_set_t one;
    cpu_set_t all;
    cr_assert_eq(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++) {
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
        }
    }
    cr_expect(cpus_available() >= 1 && cpus_available() <= (unsigned)CPU_COUNT(&all));
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_expect_eq(cpus_available(), 1);
}
