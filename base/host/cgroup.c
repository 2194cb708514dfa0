// SPDX-License-Identifier: Apache-2.0
#include "base/host/cgroup.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

const char *cgroup_own(char buf[CGROUP_TEXT_MAX])
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    size_t len = file == NULL ? 0 : fread(buf, 1, CGROUP_TEXT_MAX - 1, file);
    buf[len] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    return buf;
}

// Says whether a controller is among others, as in "cpu,cpuacct".
static bool has_controller(char *controllers, const char *controller)
{
    char *rest = NULL;
    for (char *at = strtok_r(controllers, ",", &rest); at != NULL;
         at = strtok_r(NULL, ",", &rest)) {
        if (strcmp(at, controller) == 0) {
            return true;
        }
    }
    return false;
}

// `group` is cut on the way.
static bool look_upwards(const char *mounted, char *group, bool is_v2, cgroup_look *look, void *ctx)
{
    char folder[PATH_MAX];
    while (true) {
        int len = snprintf(folder, sizeof folder, "%s%s", mounted, group);
        if (len < (int)sizeof folder && look(ctx, folder, is_v2)) {
            return true;
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            return false;
        }
        *slash = '\0';
    }
}

// Lines are "0::/a/b" of v2, and "4:cpu,cpuacct:/a/b" of v1.
void cgroup_each(const char *root, const char *groups, const char *controller, cgroup_look *look,
                 void *ctx)
{
    char text[CGROUP_TEXT_MAX];
    char mounted[PATH_MAX];
    char *rest = NULL;
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
        if (!is_v2 && !has_controller(controllers, controller)) {
            continue;
        }
        snprintf(mounted, sizeof mounted, "%s%s%s", root, is_v2 ? "" : "/",
                 is_v2 ? "" : controller);
        if (look_upwards(mounted, group, is_v2, look, ctx)) {
            return;
        }
    }
}
