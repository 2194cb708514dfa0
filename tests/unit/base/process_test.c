// SPDX-License-Identifier: Apache-2.0
#include "base/process.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/unit/support/temp.h"

static void put(const char *folder, const char *name, const char *text)
{
    char path[2 * TEMP_PATH_BYTES];
    snprintf(path, sizeof path, "%s", temp_folder);
    for (const char *part = folder; part != NULL && *part != '\0';) {
        const char *end = strchr(part + 1, '/');
        int len = end == NULL ? (int)strlen(part) : (int)(end - part);
        size_t at = strlen(path);
        snprintf(path + at, sizeof path - at, "%.*s", len, part);
        mkdir(path, 0700);
        part = end;
    }
    temp_write(path, name, text, strlen(text));
}

TestSuite(process, .timeout = 10, .init = temp_set_up, .fini = temp_tear_down);

Test(process, the_least_memory_of_a_group_and_those_above_it_counts)
{
    put("/a/b", "memory.max", "5000\n");
    put("/a", "memory.max", "max\n");
    cr_expect_eq(process_memory_max_at(temp_folder, "0::/a/b\n"), 5000);
    put("/a", "memory.max", "3000\n");
    cr_expect_eq(process_memory_max_at(temp_folder, "0::/a/b\n"), 3000);
    cr_expect_eq(process_memory_max_at(temp_folder, "0::/\n"), UINT64_MAX);
    put("/memory/pod", "memory.limit_in_bytes", "7000\n");
    cr_expect_eq(process_memory_max_at(temp_folder, "3:cpu:/x\n5:memory:/pod\n"), 7000);
    cr_expect_eq(process_memory_max_at(temp_folder, "nonsense\n\n0:\n"), UINT64_MAX);
    cr_expect_gt(process_memory_max(), 0);
}

Test(process, some_descriptors_are_kept_for_everything_else)
{
    static const struct {
        rlim_t limit;
        uint32_t expected;
    } rows[] = {{100, 75}, {1024, 768}, {4096, 3840}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct rlimit limit;
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = rows[i].limit;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        cr_expect_eq(process_descriptors_max(), rows[i].expected);
    }
}

Test(process, what_the_kernel_killed_for_want_of_memory_is_counted)
{
    char vmstat[2 * TEMP_PATH_BYTES];
    snprintf(vmstat, sizeof vmstat, "%s/vmstat", temp_folder);
    cr_expect_eq(process_oom_kills_at(temp_folder, "0::/a\n", vmstat), 0, "nobody says");
    put("", "vmstat", "pgfault 77\noom_kill 2\nzswpin 9\n");
    cr_expect_eq(process_oom_kills_at(temp_folder, "0::/a\n", vmstat), 2, "the host says");
    put("/a", "memory.events", "low 0\nhigh 0\nmax 5\noom 4\noom_kill 3\noom_group_kill 0\n");
    cr_expect_eq(process_oom_kills_at(temp_folder, "0::/a\n", vmstat), 3);
    put("/memory/pod", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n");
    cr_expect_eq(process_oom_kills_at(temp_folder, "4:cpu:/x\n5:memory:/pod\n0::/\n", vmstat), 6);
}

Test(process, what_a_parent_left_of_signals_is_undone)
{
    sigset_t mask;
    sigfillset(&mask);
    cr_assert_eq(sigprocmask(SIG_SETMASK, &mask, NULL), 0);
    signal(SIGCHLD, SIG_IGN);
    process_signals();
    cr_assert_eq(sigprocmask(SIG_SETMASK, NULL, &mask), 0);
    cr_expect(!sigismember(&mask, SIGTERM) && !sigismember(&mask, SIGCHLD));
    cr_expect_eq(signal(SIGCHLD, SIG_DFL), SIG_DFL);
}

Test(process, signals_that_a_manager_sends_to_a_whole_service_end_no_program)
{
    process_begin("test", LOG_LEVEL_ERROR);
    raise(SIGPIPE);
    raise(SIGXFSZ);
    raise(SIGHUP);
    raise(SIGUSR1);
    raise(SIGUSR2);
}
