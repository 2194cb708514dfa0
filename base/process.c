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

#include "base/host/cgroup.h"
#include "base/secret/secret.h"

#define DESCRIPTORS_RESERVED 256

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

static void on_overflow(size_t locked_len)
{
    log_warn("msg=\"a key lies in memory that is not locked: the locked memory is full\" "
             "locked_bytes=%zu",
             locked_len);
}

size_t process_keep_secrets(void)
{
    struct secret_facts facts = secret_open(on_overflow);
    if (facts.locked_len < SECRET_BYTES) {
        log_warn("msg=\"the memory for keys is not all locked: what lies beyond may reach swap; "
                 "raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK\" locked_bytes=%zu wanted_bytes=%d",
                 facts.locked_len, SECRET_BYTES);
    }
    if (!facts.is_left_out) {
        log_warn("msg=\"this kernel can't leave keys out of core files and children\"");
    }
    return facts.locked_len;
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

static bool take_memory_max(void *ctx, const char *folder, bool is_v2)
{
    char path[PATH_MAX];
    uint64_t *least = ctx;
    snprintf(path, sizeof path, "%s/%s", folder, is_v2 ? "memory.max" : "memory.limit_in_bytes");
    uint64_t number = read_number(path);
    *least = number < *least ? number : *least;
    return false;
}

uint64_t process_memory_max_at(const char *root, const char *groups)
{
    uint64_t least = UINT64_MAX;
    cgroup_each(root, groups, "memory", take_memory_max, &least);
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

struct oom_kills {
    uint64_t num;
    bool is_known;
};

static bool take_oom_kills(void *ctx, const char *folder, bool is_v2)
{
    char path[PATH_MAX];
    struct oom_kills *kills = ctx;
    snprintf(path, sizeof path, "%s/%s", folder, is_v2 ? "memory.events" : "memory.oom_control");
    kills->is_known = read_named(path, "oom_kill", &kills->num);
    return kills->is_known;
}

uint64_t process_oom_kills_at(const char *root, const char *groups, const char *vmstat)
{
    struct oom_kills kills = {.num = 0};
    cgroup_each(root, groups, "memory", take_oom_kills, &kills);
    return kills.is_known || read_named(vmstat, "oom_kill", &kills.num) ? kills.num : 0;
}

uint64_t process_memory_max(void)
{
    char text[CGROUP_TEXT_MAX];
    return process_memory_max_at(CGROUP_ROOT, cgroup_own(text));
}

uint64_t process_oom_kills(void)
{
    char text[CGROUP_TEXT_MAX];
    return process_oom_kills_at(CGROUP_ROOT, cgroup_own(text), "/proc/vmstat");
}
