// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // syscall
#include "base/sandbox/violation.h"

#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1 // siginfo_t.si_code: a filter trapped a system call
#endif

static int tell_fd = -1;

static void on_sigsys(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number;
    (void)context;
    if (info->si_code == SYS_SECCOMP) {
        int32_t number = info->si_syscall;
        // Whoever filled the socket before keeps the number to itself, and holds nothing up.
        ssize_t len = send(tell_fd, &number, sizeof number, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)len;
        // No filter allows this. The handler is reset and the signal blocked by now, so the kernel
        // ends the process.
        syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
    }
    abort(); // somebody else sent the signal
}

bool violation_tell(int fd, struct err *err)
{
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_RESETHAND};
    tell_fd = fd;
    sigfillset(&action.sa_mask);
    return sigaction(SIGSYS, &action, NULL) == 0 || err_set(err, "SIGSYS: %s", strerror(errno));
}

int violation_read(int fd)
{
    int32_t number = -1;
    ssize_t len = recv(fd, &number, sizeof number, MSG_DONTWAIT);
    return len == sizeof number ? number : -1;
}

const char *violation_text(int number, char buf[VIOLATION_TEXT_MAX])
{
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
    if (name != NULL) {
        snprintf(buf, VIOLATION_TEXT_MAX, "%s", name);
    } else {
        snprintf(buf, VIOLATION_TEXT_MAX, "number %d", number);
    }
    free(name);
    return buf;
}
