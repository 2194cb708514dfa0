// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // sched_getaffinity
#include "control/agent/cpus.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/host/cgroup.h"

#define FILE_LEN_MAX 128

// Reads a short file. An empty text: there is none.
static char *read_short(char *buf, const char *folder, const char *name)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = len < (int)sizeof path ? fopen(path, "re") : NULL;
    if (file == NULL || fgets(buf, FILE_LEN_MAX, file) == NULL) {
        buf[0] = '\0';
    }
    if (file != NULL) {
        fclose(file);
    }
    return buf;
}

// Returns what a group may use, rounded up. UINT_MAX: as much as there is ("max", or -1 in v1).
static unsigned quota_of(const char *folder, bool is_v2)
{
    char text[FILE_LEN_MAX];
    long long period = 0;
    char *end = read_short(text, folder, is_v2 ? "cpu.max" : "cpu.cfs_quota_us");
    long long quota = strtoll(text, &end, 10);
    if (end == text || quota <= 0) {
        return UINT_MAX;
    }
    period = is_v2 ? strtoll(end, NULL, 10)
                   : strtoll(read_short(text, folder, "cpu.cfs_period_us"), NULL, 10);
    if (period <= 0) {
        return UINT_MAX;
    }
    long long num = quota / period + (quota % period != 0);
    return num < UINT_MAX ? (unsigned)num : UINT_MAX;
}

static bool take_quota(void *ctx, const char *folder, bool is_v2)
{
    unsigned *least = ctx;
    unsigned num = quota_of(folder, is_v2);
    *least = num < *least ? num : *least;
    return false;
}

unsigned cpus_of_quota(const char *root, const char *groups)
{
    unsigned least = UINT_MAX;
    cgroup_each(root, groups, "cpu", take_quota, &least);
    return least;
}

unsigned cpus_available(void)
{
    char text[CGROUP_TEXT_MAX];
    cpu_set_t cpus;
    long num = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus)
                                                             : sysconf(_SC_NPROCESSORS_ONLN);
    unsigned quota = cpus_of_quota(CGROUP_ROOT, cgroup_own(text));
    num = num < 1 ? 1 : num;
    return num < quota ? (unsigned)num : quota;
}
