// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define DESCRIPTORS_RESERVED 256
#define GROUPS_LEN_MAX       16384

void process_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGCHLD, SIG_DFL);
}

void process_begin(const char *program, enum log_level level)
{
    static const int passed_over[] = {SIGPIPE, SIGXFSZ, SIGHUP, SIGUSR1, SIGUSR2};
    struct rlimit limit;
    log_init(program, level);
    for (size_t i = 0; i < sizeof passed_over / sizeof passed_over[0]; i++) {
        signal(passed_over[i], SIG_IGN);
    }
    process_signals();
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void process_harden(void)
{
#ifndef __SANITIZE_ADDRESS__ // LeakSanitizer works as a debugger
    prctl(PR_SET_DUMPABLE, 0);
#endif
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

uint32_t process_descriptors_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > UINT32_MAX) {
        return UINT32_MAX;
    }
    uint32_t all = (uint32_t)limit.rlim_cur;
    return all - (all / 4 < DESCRIPTORS_RESERVED ? all / 4 : DESCRIPTORS_RESERVED);
}

// Reads a file with one number. UINT64_MAX: there is no file, or no number ("max").
static uint64_t read_number(const char *path)
{
    uint64_t number = UINT64_MAX;
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fscanf(file, "%" SCNu64, &number) != 1) {
            number = UINT64_MAX;
        }
        fclose(file);
    }
    return number;
}

// Returns the least limit of a group and those above it. `group` is cut on the way.
static uint64_t least_of(const char *root, const char *controller, char *group, const char *name)
{
    char path[PATH_MAX];
    uint64_t least = UINT64_MAX;
    while (true) {
        snprintf(path, sizeof path, "%s%s%s/%s", root, controller, group, name);
        uint64_t number = read_number(path);
        least = number < least ? number : least;
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            return least;
        }
        *slash = '\0';
    }
}

// Returns the next group of /proc/self/cgroup that limits memory, or NULL. Its lines are
// "0::/a/b" of v2, and "5:memory:/a/b" of v1.
static char *memory_group_next(char **rest, bool *out_is_v2)
{
    for (char *line = strtok_r(NULL, "\n", rest); line != NULL; line = strtok_r(NULL, "\n", rest)) {
        char *names = strchr(line, ':');
        char *group = names == NULL ? NULL : strchr(names + 1, ':');
        if (group == NULL) {
            continue;
        }
        *group++ = '\0';
        *out_is_v2 = names[1] == '\0';
        if (*out_is_v2 || strstr(names, "memory") != NULL) {
            return group;
        }
    }
    return NULL;
}

uint64_t process_memory_max_at(const char *root, const char *groups)
{
    char text[GROUPS_LEN_MAX];
    char *rest = text;
    bool is_v2 = false;
    uint64_t least = UINT64_MAX;
    snprintf(text, sizeof text, "%s", groups);
    for (char *group; (group = memory_group_next(&rest, &is_v2)) != NULL;) {
        uint64_t number = is_v2 ? least_of(root, "", group, "memory.max")
                                : least_of(root, "/memory", group, "memory.limit_in_bytes");
        least = number < least ? number : least;
    }
    return least;
}

// Reads the number behind a name in a file of such lines. false: there is no such file or line.
static bool read_named(const char *path, const char *name, uint64_t *out)
{
    char word[64];
    bool is_found = false;
    FILE *file = fopen(path, "re");
    while (file != NULL && !is_found && fscanf(file, "%63s %" SCNu64, word, out) == 2) {
        is_found = strcmp(word, name) == 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    return is_found;
}

uint64_t process_oom_kills_at(const char *root, const char *groups, const char *vmstat)
{
    char text[GROUPS_LEN_MAX];
    char path[PATH_MAX];
    char *rest = text;
    bool is_v2 = false;
    uint64_t num = 0;
    snprintf(text, sizeof text, "%s", groups);
    for (char *group; (group = memory_group_next(&rest, &is_v2)) != NULL;) {
        snprintf(path, sizeof path, "%s%s%s/%s", root, is_v2 ? "" : "/memory", group,
                 is_v2 ? "memory.events" : "memory.oom_control");
        if (read_named(path, "oom_kill", &num)) {
            return num;
        }
    }
    return read_named(vmstat, "oom_kill", &num) ? num : 0;
}

// Reads /proc/self/cgroup into `text`.
static const char *own_groups(char text[GROUPS_LEN_MAX])
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    size_t len = file == NULL ? 0 : fread(text, 1, GROUPS_LEN_MAX - 1, file);
    text[len] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    return text;
}

uint64_t process_memory_max(void)
{
    char text[GROUPS_LEN_MAX];
    return process_memory_max_at("/sys/fs/cgroup", own_groups(text));
}

uint64_t process_oom_kills(void)
{
    char text[GROUPS_LEN_MAX];
    return process_oom_kills_at("/sys/fs/cgroup", own_groups(text), "/proc/vmstat");
}
