// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // CLONE_NEWNS
#include "control/agent/agent_syscalls.h"

#include <errno.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

// Those that clone(2) can make. That of time is unshare's and clone3's alone.
#define NEW_NAMESPACES                                                                             \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

#define SOCKET_TYPE_MASK 0xf // of socket(2)'s second argument; the rest are flags

#define SOCKET(family, type)                                                                       \
    SYSCALLS_ALLOW_IF(socket, SYSCALLS_IS(0, family), SYSCALLS_BITS(1, SOCKET_TYPE_MASK, type))

// A filter of its own, since one list can't both allow a call and refuse it for an argument.
static const struct syscalls_rule refused[] = {
    SYSCALLS_REFUSE_IF(ioctl, EPERM, SYSCALLS_IS(1, TIOCSTI)),   // types into a terminal
    SYSCALLS_REFUSE_IF(ioctl, EPERM, SYSCALLS_IS(1, TIOCLINUX)), // pastes into one
};

static const struct syscalls_rule rules[] = {
    // Files.
    SYSCALLS_ALLOW(open),
    SYSCALLS_ALLOW(openat),
    SYSCALLS_ALLOW(openat2),
    SYSCALLS_ALLOW(creat),
    SYSCALLS_ALLOW(close),
    SYSCALLS_ALLOW(close_range),
    SYSCALLS_ALLOW(read),
    SYSCALLS_ALLOW(readv),
    SYSCALLS_ALLOW(pread64),
    SYSCALLS_ALLOW(preadv),
    SYSCALLS_ALLOW(write),
    SYSCALLS_ALLOW(writev),
    SYSCALLS_ALLOW(pwrite64),
    SYSCALLS_ALLOW(pwritev),
    SYSCALLS_ALLOW(lseek),
    SYSCALLS_ALLOW(splice),
    SYSCALLS_ALLOW(sendfile),
    SYSCALLS_ALLOW(copy_file_range),
    SYSCALLS_ALLOW(stat),
    SYSCALLS_ALLOW(lstat),
    SYSCALLS_ALLOW(fstat),
    SYSCALLS_ALLOW(newfstatat),
    SYSCALLS_ALLOW(statx),
    SYSCALLS_ALLOW(statfs),
    SYSCALLS_ALLOW(fstatfs),
    SYSCALLS_ALLOW(access),
    SYSCALLS_ALLOW(faccessat),
    SYSCALLS_ALLOW(faccessat2),
    SYSCALLS_ALLOW(readlink),
    SYSCALLS_ALLOW(readlinkat),
    SYSCALLS_ALLOW(getcwd),
    SYSCALLS_ALLOW(chdir),
    SYSCALLS_ALLOW(getdents),
    SYSCALLS_ALLOW(getdents64),
    SYSCALLS_ALLOW(rename),
    SYSCALLS_ALLOW(renameat),
    SYSCALLS_ALLOW(renameat2),
    SYSCALLS_ALLOW(unlink),
    SYSCALLS_ALLOW(unlinkat),
    SYSCALLS_ALLOW(mkdir),
    SYSCALLS_ALLOW(mkdirat),
    SYSCALLS_ALLOW(chmod),
    SYSCALLS_ALLOW(fchmod),
    SYSCALLS_ALLOW(fchmodat),
    SYSCALLS_ALLOW(umask),
    SYSCALLS_ALLOW(fsync),
    SYSCALLS_ALLOW(fdatasync),
    SYSCALLS_ALLOW(ftruncate),
    SYSCALLS_ALLOW(fallocate),
    SYSCALLS_ALLOW(fadvise64),
    SYSCALLS_ALLOW(flock),
    SYSCALLS_ALLOW(fcntl),
    SYSCALLS_ALLOW(ioctl),
    SYSCALLS_ALLOW(dup),
    SYSCALLS_ALLOW(dup2),
    SYSCALLS_ALLOW(dup3),
    SYSCALLS_ALLOW(pipe),
    SYSCALLS_ALLOW(pipe2),
    SYSCALLS_ALLOW(inotify_init),
    SYSCALLS_ALLOW(inotify_init1),
    SYSCALLS_ALLOW(inotify_add_watch),
    SYSCALLS_ALLOW(inotify_rm_watch),

    // Sockets: of the Internet, local ones, and the kernel's.
    SOCKET(AF_INET, SOCK_STREAM),
    SOCKET(AF_INET, SOCK_DGRAM), // names are asked by UDP
    SOCKET(AF_INET6, SOCK_STREAM),
    SOCKET(AF_INET6, SOCK_DGRAM),
    SYSCALLS_ALLOW_IF(socket, SYSCALLS_IS(0, AF_UNIX)),
    SYSCALLS_ALLOW_IF(socket, SYSCALLS_IS(0, AF_NETLINK)),
    SYSCALLS_ALLOW(socketpair),
    SYSCALLS_ALLOW(bind),
    SYSCALLS_ALLOW(listen),
    SYSCALLS_ALLOW(accept),
    SYSCALLS_ALLOW(accept4),
    SYSCALLS_ALLOW(connect),
    SYSCALLS_ALLOW(getsockname),
    SYSCALLS_ALLOW(getpeername),
    SYSCALLS_ALLOW(getsockopt),
    SYSCALLS_ALLOW(setsockopt),
    SYSCALLS_ALLOW(sendto),
    SYSCALLS_ALLOW(sendmsg),
    SYSCALLS_ALLOW(sendmmsg),
    SYSCALLS_ALLOW(recvfrom),
    SYSCALLS_ALLOW(recvmsg),
    SYSCALLS_ALLOW(recvmmsg),
    SYSCALLS_ALLOW(shutdown),

    // What waits.
    SYSCALLS_ALLOW(epoll_create),
    SYSCALLS_ALLOW(epoll_create1),
    SYSCALLS_ALLOW(epoll_ctl),
    SYSCALLS_ALLOW(epoll_wait),
    SYSCALLS_ALLOW(epoll_pwait),
    SYSCALLS_ALLOW(epoll_pwait2),
    SYSCALLS_ALLOW(poll),
    SYSCALLS_ALLOW(ppoll),
    SYSCALLS_ALLOW(select),
    SYSCALLS_ALLOW(pselect6),
    SYSCALLS_ALLOW(eventfd),
    SYSCALLS_ALLOW(eventfd2),
    SYSCALLS_ALLOW(timerfd_create),
    SYSCALLS_ALLOW(timerfd_settime),
    SYSCALLS_ALLOW(timerfd_gettime),

    // Memory. The loader and the modules of a name service map code.
    SYSCALLS_ALLOW(brk),
    SYSCALLS_ALLOW(mmap),
    SYSCALLS_ALLOW(mprotect),
    SYSCALLS_ALLOW(munmap),
    SYSCALLS_ALLOW(mremap),
    SYSCALLS_ALLOW(madvise),
    SYSCALLS_ALLOW(msync),
    SYSCALLS_ALLOW(mlock),
    SYSCALLS_ALLOW(mlock2),
    SYSCALLS_ALLOW(munlock),
    SYSCALLS_ALLOW(memfd_create),
    SYSCALLS_ALLOW(memfd_secret),

    // Threads, and one other program: in the namespaces where the agent is. clone3, whose flags no
    // filter can read, is refused like all that isn't listed, and the C library uses clone.
    SYSCALLS_ALLOW_IF(clone, SYSCALLS_BITS(0, NEW_NAMESPACES, 0)),
    SYSCALLS_ALLOW(fork),
    SYSCALLS_ALLOW(vfork),
    SYSCALLS_ALLOW(execve),
    SYSCALLS_ALLOW(wait4),
    SYSCALLS_ALLOW(waitid),
    SYSCALLS_ALLOW(exit),
    SYSCALLS_ALLOW(exit_group),
    SYSCALLS_ALLOW(set_tid_address),
    SYSCALLS_ALLOW(set_robust_list),
    SYSCALLS_ALLOW(rseq),
    SYSCALLS_ALLOW(arch_prctl),
    SYSCALLS_ALLOW(futex),
    SYSCALLS_ALLOW(membarrier),
    SYSCALLS_ALLOW(sched_yield),
    SYSCALLS_ALLOW(sched_getaffinity),
    SYSCALLS_ALLOW(sched_setaffinity),
    SYSCALLS_ALLOW(getcpu),
    SYSCALLS_ALLOW(restart_syscall),
    SYSCALLS_ALLOW(pidfd_open),
    SYSCALLS_ALLOW(pidfd_send_signal),

    // Signals.
    SYSCALLS_ALLOW(kill),
    SYSCALLS_ALLOW(tkill),
    SYSCALLS_ALLOW(tgkill),
    SYSCALLS_ALLOW(rt_sigaction),
    SYSCALLS_ALLOW(rt_sigprocmask),
    SYSCALLS_ALLOW(rt_sigreturn),
    SYSCALLS_ALLOW(rt_sigsuspend),
    SYSCALLS_ALLOW(rt_sigtimedwait),
    SYSCALLS_ALLOW(sigaltstack),

    // Who one is, and becoming less.
    SYSCALLS_ALLOW(getpid),
    SYSCALLS_ALLOW(getppid),
    SYSCALLS_ALLOW(gettid),
    SYSCALLS_ALLOW(getpgrp),
    SYSCALLS_ALLOW(getpgid),
    SYSCALLS_ALLOW(setsid),
    SYSCALLS_ALLOW(getuid),
    SYSCALLS_ALLOW(geteuid),
    SYSCALLS_ALLOW(getgid),
    SYSCALLS_ALLOW(getegid),
    SYSCALLS_ALLOW(getresuid),
    SYSCALLS_ALLOW(getresgid),
    SYSCALLS_ALLOW(getgroups),
    SYSCALLS_ALLOW(setgroups),
    SYSCALLS_ALLOW(setresuid),
    SYSCALLS_ALLOW(setresgid),
    SYSCALLS_ALLOW(capget),
    SYSCALLS_ALLOW(capset),
    SYSCALLS_ALLOW(prctl),
    SYSCALLS_ALLOW(seccomp),
    SYSCALLS_ALLOW(landlock_create_ruleset),
    SYSCALLS_ALLOW(landlock_add_rule),
    SYSCALLS_ALLOW(landlock_restrict_self),
    SYSCALLS_ALLOW(getrlimit),
    SYSCALLS_ALLOW(setrlimit),
    SYSCALLS_ALLOW(prlimit64),

    // Time, chance, and what the machine is.
    SYSCALLS_ALLOW(clock_gettime),
    SYSCALLS_ALLOW(clock_getres),
    SYSCALLS_ALLOW(clock_nanosleep),
    SYSCALLS_ALLOW(nanosleep),
    SYSCALLS_ALLOW(gettimeofday),
    SYSCALLS_ALLOW(time),
    SYSCALLS_ALLOW(times),
    SYSCALLS_ALLOW(getrusage),
    SYSCALLS_ALLOW(getrandom),
    SYSCALLS_ALLOW(uname),
    SYSCALLS_ALLOW(sysinfo),
};

bool agent_syscalls_load(struct err *err)
{
    const struct syscalls_filter first = {.rules = refused,
                                          .num_rules = sizeof refused / sizeof refused[0],
                                          .otherwise = SCMP_ACT_ALLOW};
    const struct syscalls_filter filter = {.rules = rules,
                                           .num_rules = sizeof rules / sizeof rules[0],
                                           .otherwise = SCMP_ACT_ERRNO(ENOSYS)};
    return syscalls_load(&first, err) && syscalls_load(&filter, err);
}
