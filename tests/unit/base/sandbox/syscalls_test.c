// SPDX-License-Identifier: Apache-2.0
#include "base/sandbox/syscalls.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sandbox/privileges.h"
#include "base/sandbox/violation.h"

TestSuite(syscalls, .timeout = 10);

// How a child ended that did something behind a filter.
struct ended {
    int status;    // of its exit, the errno value; -1: a signal
    int signal;    // 0: none
    int violation; // the system call that it told of; -1: none
};

static int tell_fd; // of the child

static const struct syscalls_rule rules[] = {
    SYSCALLS_ALLOW(sendto),
    SYSCALLS_ALLOW(exit_group),
    SYSCALLS_ALLOW(getppid),
    SYSCALLS_ALLOW(rt_sigreturn),
    SYSCALLS_REFUSE(getuid, EXDEV),
    SYSCALLS_ALLOW_IF(dup3, SYSCALLS_IS(0, 0), SYSCALLS_IS(1, 77)),
    SYSCALLS_ALLOW_IF(umask, SYSCALLS_BITS(0, 0700, 0)),
};

// Makes the system call in a child, after `first`, which may be NULL.
static struct ended make(void (*first)(void), long number, long a, long b)
{
    int fds[2];
    int status = 0;
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        const struct syscalls_filter filter = {rules, sizeof rules / sizeof rules[0],
                                               SCMP_ACT_TRAP};
        tell_fd = fds[1];
        if (first != NULL) {
            first();
        }
        if (!privileges_freeze(NULL) || !violation_tell(fds[1], NULL) ||
            !syscalls_load(&filter, NULL)) {
            _exit(255);
        }
        errno = 0;
        syscall(number, a, b, 0);
        syscall(SYS_exit_group, errno); // not _exit, before which a sanitizer has something to do
    }
    cr_assert(waitpid(pid, &status, 0) == pid);
    struct ended ended = {.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                          .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                          .violation = violation_read(fds[0])};
    close(fds[0]);
    close(fds[1]);
    return ended;
}

static bool has_seccomp(void)
{
    const char *why;
    if (!syscalls_can_filter(&why)) {
        cr_skip_test("%s", why);
    }
    return true;
}

Test(syscalls, what_is_listed_goes_on_and_what_is_not_ends_the_process_and_is_named)
{
    has_seccomp();
    struct ended ended = make(NULL, SYS_getppid, 0, 0);
    cr_expect(ended.status == 0 && ended.violation == -1, "%d", ended.status);
    ended = make(NULL, SYS_getpgid, 0, 0);
    cr_expect_eq(ended.signal, SIGSYS, "exit %d", ended.status);
    char buf[VIOLATION_TEXT_MAX];
    cr_expect_str_eq(violation_text(ended.violation, buf), "getpgid");
}

Test(syscalls, a_refused_one_gets_its_error)
{
    has_seccomp();
    struct ended ended = make(NULL, SYS_getuid, 0, 0);
    cr_expect(ended.signal == 0 && ended.status == EXDEV, "%d", ended.status);
}

Test(syscalls, arguments_are_held_to_what_is_listed)
{
    has_seccomp();
    cr_expect_eq(make(NULL, SYS_dup3, 0, 77).status, 0);
    cr_expect_eq(make(NULL, SYS_dup3, 0, 76).signal, SIGSYS);
    cr_expect_eq(make(NULL, SYS_dup3, 1, 77).signal, SIGSYS);
    cr_expect_eq(make(NULL, SYS_umask, 077, 0).status, 0);
    cr_expect_eq(make(NULL, SYS_umask, 0177, 0).signal, SIGSYS);
    // Of an int the upper half of the register is anybody's.
    cr_expect_eq(make(NULL, SYS_dup3, 0x100000000, 0x100000000 | 77).status, 0);
}

Test(syscalls, a_rule_that_another_makes_idle_is_refused)
{
    static const struct syscalls_rule both[] = {
        SYSCALLS_REFUSE_IF(umask, EPERM, SYSCALLS_IS(0, 0)),
        SYSCALLS_ALLOW(umask),
    };
    const struct syscalls_filter filter = {both, 2, SCMP_ACT_ALLOW};
    struct err err = {0};
    cr_expect_not(syscalls_load(&filter, &err));
    char wanted[100];
    snprintf(wanted, sizeof wanted, "a rule of system call %d counts for nothing beside another",
             (int)SYS_umask);
    cr_expect_str_eq(err.text, wanted);
}

static void block(void)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
}

Test(syscalls, who_blocks_the_signal_is_ended_all_the_same)
{
    has_seccomp();
    struct ended ended = make(block, SYS_getpgid, 0, 0);
    cr_expect_eq(ended.signal, SIGSYS);
    cr_expect_eq(ended.violation, -1, "nothing could tell");
}

static void fill_socket(void)
{
    while (send(tell_fd, "none", 4, MSG_DONTWAIT) > 0) {
    }
}

Test(syscalls, who_leaves_no_room_to_tell_is_ended_all_the_same)
{
    has_seccomp();
    struct ended ended = make(fill_socket, SYS_getpgid, 0, 0);
    cr_expect_eq(ended.signal, SIGSYS);
}

Test(syscalls, a_number_without_a_name_is_told_as_a_number)
{
    char buf[VIOLATION_TEXT_MAX];
    cr_expect_str_eq(violation_text(9999, buf), "number 9999");
}
