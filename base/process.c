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

uint64_t process_memory_max_at(const char *root, const char *groups)
{
    char text[GROUPS_LEN_MAX];
    char *rest = NULL;
    uint64_t least = UINT64_MAX;
    snprintf(text, sizeof text, "%s", groups);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        // "0::/a/b" is of v2, "5:memory:/a/b" of v1.
        char *names = strchr(line, ':');
        char *group = names == NULL ? NULL : strchr(names + 1, ':');
        if (group == NULL) {
            continue;
        }
        *group++ = '\0';
        bool is_v2 = names[1] == '\0';
        if (is_v2 || strstr(names, "memory") != NULL) {
            uint64_t number = is_v2 ? least_of(root, "", group, "memory.max")
                                    : least_of(root, "/memory", group, "memory.limit_in_bytes");
            least = number < least ? number : least;
        }
    }
    return least;
}

uint64_t process_memory_max(void)
{
    char text[GROUPS_LEN_MAX];
    FILE *file = fopen("/proc/self/cgroup", "re");
    size_t len = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    text[len] = '\0';
    if (file != NULL) {
        fclose(file);
    }
    return process_memory_max_at("/sys/fs/cgroup", text);
}
