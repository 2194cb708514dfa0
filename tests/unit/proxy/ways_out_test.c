// SPDX-License-Identifier: Apache-2.0
//
// What somebody tries who has taken the proxy over.
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sandbox/syscalls.h"
#include "base/sandbox/violation.h"
#include "tests/unit/proxy/sandboxed.h"

TestSuite(ways_out, .timeout = 60);

// System calls by which somebody who has taken the proxy over would get further, most of them with
// arguments that are harmless to whoever may make them.
static const char *const ways_out[] = {
    // Other processes, above all the agent's: its memory, its descriptors, its end.
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_open",
    "pidfd_getfd",
    "pidfd_send_signal",
    "kcmp",
    "tkill",
    "tgkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "process_madvise",
    "setpriority",
    "sched_setscheduler",
    "prlimit64",
    // Programs and code.
    "execveat",
    "memfd_create",
    "memfd_secret",
    "fork",
    "vfork",
    "clone3",
    "uselib",
    "pkey_mprotect",
    "remap_file_pages",
    "personality",
    "modify_ldt",
    "arch_prctl",
    "prctl",
    "seccomp",
    "set_thread_area",
    // What the kernel's own faults are found in.
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "io_setup",
    "io_submit",
    "userfaultfd",
    "bpf",
    "perf_event_open",
    "keyctl",
    "add_key",
    "request_key",
    "vmsplice",
    "tee",
    "fanotify_init",
    "inotify_init1",
    "timerfd_create",
    "timer_create",
    "signalfd4",
    "eventfd2",
    "epoll_create1",
    "membarrier",
    "rseq",
    "mbind",
    "move_pages",
    "migrate_pages",
    "set_mempolicy",
    "lookup_dcookie",
    "quotactl",
    "syslog",
    "acct",
    "init_module",
    "finit_module",
    "kexec_load",
    "reboot",
    "iopl",
    "ioperm",
    "swapon",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    // Files, by name, by handle, by a new mount, and descriptors of others.
    "name_to_handle_at",
    "open_by_handle_at",
    "openat2",
    "creat",
    "unlinkat",
    "renameat2",
    "linkat",
    "symlinkat",
    "mknodat",
    "fchmodat",
    "fchownat",
    "truncate",
    "readlinkat",
    "getdents64",
    "newfstatat",
    "statx",
    "chdir",
    "chroot",
    "pivot_root",
    "mount",
    "umount2",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fspick",
    "mount_setattr",
    "setns",
    "unshare",
    "dup",
    "dup3",
    "pipe2",
    "sendfile",
    "copy_file_range",
    "setxattr",
    "fallocate",
    "ftruncate",
    "flock",
    "fsync",
    // Sockets of other kinds, and other ways to talk.
    "socketpair",
    "sendmmsg",
    "recvmmsg",
    "shmget",
    "semget",
    "msgget",
    "mq_open",
    // What was given up.
    "setuid",
    "setgid",
    "setgroups",
    "setfsuid",
    "capset",
    "setrlimit",
    "setsid",
    "setpgid",
    "landlock_create_ruleset",
    "landlock_restrict_self",
    "rt_sigaction",
    "sigaltstack",
    "ptrace",
    "close_range",
};

static int way_out;    // the number of the one that is tried
static long other_pid; // of a process that isn't the proxy's

static int try_way_out(void)
{
    return sandboxed_result(syscall(way_out, other_pid, 0, 0, 0, 0, 0));
}

Test(ways_out, no_way_out_that_is_known_is_left)
{
    sandboxed_need_seccomp();
    sandboxed_need_product();
    unsigned num_tried = 0;
    other_pid = getpid();
    for (size_t i = 0; i < sizeof ways_out / sizeof ways_out[0]; i++) {
        char buf[VIOLATION_TEXT_MAX];
        way_out = seccomp_syscall_resolve_name(ways_out[i]);
        if (way_out < 0) {
            continue; // this machine has none
        }
        num_tried++;
        struct outcome outcome =
            sandboxed_try(AT_END_IN_WORKER, try_way_out, (struct proxy_sandbox_spec){0});
        cr_expect_eq(outcome.error, -1, "%s: %s", ways_out[i], strerror(outcome.error));
        cr_expect_str_eq(violation_text(outcome.violation, buf), ways_out[i]);
    }
    cr_expect_gt(num_tried, 100);
}

#ifdef __x86_64__
static int call_as_i386(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory"); // getpid
    return result > 0 ? 0 : (int)-result;
}

static int call_as_x32(void)
{
    return sandboxed_result(syscall(0x40000000 | SYS_getpid));
}

Test(ways_out, system_calls_of_another_word_size_end_it_at_once)
{
    sandboxed_need_seccomp();
    sandboxed_need_product();
    static int (*const attempts[])(void) = {call_as_i386, call_as_x32};
    for (size_t i = 0; i < 2; i++) {
        struct outcome outcome =
            sandboxed_try(AT_END_IN_WORKER, attempts[i], (struct proxy_sandbox_spec){0});
        cr_expect_eq(outcome.error, -1, "%zu: %s", i, strerror(outcome.error));
        cr_expect_eq(outcome.violation, -1, "no handler runs");
    }
}
#endif
