// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // sched_getaffinity
#include "control/agent/cpus.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUPS_LEN_MAX 16384
#define FILE_LEN_MAX   128

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

// Returns the least quota of a group and those above it. `group` is cut on the way. In a container
// the group may be mounted as the root itself, which is the last to be looked at.
static unsigned least_of(const char *root, char *group, bool is_v2)
{
    char folder[PATH_MAX];
    unsigned least = UINT_MAX;
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s%s", root, is_v2 ? "" : "/cpu", group);
        unsigned num = quota_of(folder, is_v2);
        least = num < least ? num : least;
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            return least;
        }
        *slash = '\0';
    }
}

// Says whether "cpu" is among controllers like "cpu,cpuacct".
static bool has_cpu(char *controllers)
{
    char *rest = NULL;
    for (char *at = strtok_r(controllers, ",", &rest); at != NULL;
         at = strtok_r(NULL, ",", &rest)) {
        if (strcmp(at, "cpu") == 0) {
            return true;
        }
    }
    return false;
}

// Lines are "0::/a/b" of v2, and "4:cpu,cpuacct:/a/b" of v1 (cgroups(7)).
unsigned cpus_of_quota(const char *root, const char *groups)
{
    char text[GROUPS_LEN_MAX];
    char *rest = NULL;
    unsigned least = UINT_MAX;
    snprintf(text, sizeof text, "%s", groups);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':');
        char *group = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (group == NULL) {
            continue;
        }
        *group++ = '\0';
        bool is_v2 = *++controllers == '\0';
        if (is_v2 || has_cpu(controllers)) {
            unsigned num = least_of(root, group, is_v2);
            least = num < least ? num : least;
        }
    }
    return least;
}

unsigned cpus_available(void)
{
    char text[GROUPS_LEN_MAX];
    cpu_set_t cpus;
    long num = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus)
                                                             : sysconf(_SC_NPROCESSORS_ONLN);
    FILE *file = fopen("/proc/self/cgroup", "re");
    size_t len = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    unsigned quota = cpus_of_quota("/sys/fs/cgroup", text);
    num = num < 1 ? 1 : num;
    return num < quota ? (unsigned)num : quota;
}
