// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // O_CLOEXEC's place in libuv's open
#include "proxy/proxy_syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/carry/socket.h"

#define SOCKET_TYPE_MASK 0xf // of socket(2)'s second argument; the rest are flags

#define ORIGINAL_DST 80 // SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST, for proxy/origin/origin.c

#define TCP_SOCKET(family, protocol)                                                               \
    SYSCALLS_ALLOW_IF(socket, SYSCALLS_IS(0, family),                                              \
                      SYSCALLS_BITS(1, SOCKET_TYPE_MASK, SOCK_STREAM), SYSCALLS_IS(2, protocol))

// shutdown(2) is for descriptors of 8 and more: below them are the log, which the agent shares, and
// the sockets to the agent. A rule compares bits alone, so one of them must be set.
enum { SHUTDOWN_LOWEST_BIT = 3, NUM_SHUTDOWN = 28 };

#define OPTION(level, name)                                                                        \
    SYSCALLS_ALLOW_IF(setsockopt, SYSCALLS_IS(1, level), SYSCALLS_IS(2, name))

#define OPTION_OF(level, name)                                                                     \
    SYSCALLS_ALLOW_IF(getsockopt, SYSCALLS_IS(1, level), SYSCALLS_IS(2, name))

static const struct syscalls_rule rules[] = {
    // What waits, and what is read and written: sockets, the log, a loop's own descriptors.
    SYSCALLS_ALLOW(epoll_wait),
    SYSCALLS_ALLOW(epoll_pwait),
    SYSCALLS_ALLOW(epoll_ctl),
    SYSCALLS_ALLOW(poll),
    SYSCALLS_ALLOW(ppoll),
    SYSCALLS_ALLOW(read),
    SYSCALLS_ALLOW(readv),
    SYSCALLS_ALLOW(write),
    SYSCALLS_ALLOW(writev),
    SYSCALLS_ALLOW(recvfrom),
    SYSCALLS_ALLOW(recvmsg),
    SYSCALLS_ALLOW_IF(sendto, SYSCALLS_BITS(3, MSG_FASTOPEN, 0)), // which calls past Landlock
    SYSCALLS_ALLOW_IF(sendmsg, SYSCALLS_BITS(2, MSG_FASTOPEN, 0)),
    SYSCALLS_ALLOW_IF(splice, SYSCALLS_IS(2, STDERR_FILENO)), // the log, another user's pipe
    SYSCALLS_ALLOW(close),
    SYSCALLS_ALLOW_IF(ioctl, SYSCALLS_IS(1, SIOCOUTQ)),
    SYSCALLS_ALLOW_IF(ioctl, SYSCALLS_IS(1, FIONBIO)),
    SYSCALLS_ALLOW_IF(ioctl, SYSCALLS_IS(1, SIOCGIFNAME)), // the text of a link-local address
    SYSCALLS_ALLOW_IF(fcntl, SYSCALLS_IS(1, F_GETFL)),

    // TCP, and no other sockets.
    TCP_SOCKET(AF_INET, 0),
    TCP_SOCKET(AF_INET, IPPROTO_TCP),
    TCP_SOCKET(AF_INET6, 0),
    TCP_SOCKET(AF_INET6, IPPROTO_TCP),
    SYSCALLS_ALLOW(bind),
    SYSCALLS_ALLOW(listen),
    SYSCALLS_ALLOW(accept),
    SYSCALLS_ALLOW(accept4),
    SYSCALLS_ALLOW(connect),
    SYSCALLS_ALLOW(getsockname),
    SYSCALLS_ALLOW(getpeername),
    OPTION_OF(SOL_SOCKET, SO_ERROR),
    OPTION_OF(SOL_SOCKET, SO_BINDTOIFINDEX),
    OPTION_OF(IPPROTO_TCP, TCP_INFO),
    OPTION_OF(IPPROTO_IP, ORIGINAL_DST),
    OPTION_OF(IPPROTO_IPV6, ORIGINAL_DST),
    OPTION_OF(IPPROTO_IPV6, IPV6_MULTICAST_IF), // the interface by which a connection came in
    OPTION(SOL_SOCKET, SO_REUSEADDR),
    OPTION(SOL_SOCKET, SO_REUSEPORT),
    OPTION(SOL_SOCKET, SO_LINGER),
    OPTION(SOL_SOCKET, SO_KEEPALIVE),
    OPTION(SOL_SOCKET, SO_OOBINLINE),
    OPTION(IPPROTO_TCP, TCP_NODELAY),
    OPTION(IPPROTO_TCP, TCP_KEEPIDLE),
    OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
    OPTION(IPPROTO_TCP, TCP_KEEPCNT),
    OPTION(IPPROTO_TCP, TCP_RTO_MAX_MS),
    OPTION(IPPROTO_IP, IP_TRANSPARENT),
    OPTION(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT),
    OPTION(IPPROTO_IPV6, IPV6_V6ONLY),
    OPTION(IPPROTO_IPV6, IPV6_FREEBIND),
    OPTION(IPPROTO_IPV6, IPV6_TRANSPARENT),

    // Memory, never to be run as code, and none of a file or a socket.
    SYSCALLS_ALLOW(brk),
    SYSCALLS_ALLOW_IF(mmap, SYSCALLS_BITS(2, PROT_EXEC, 0),
                      SYSCALLS_BITS(3, MAP_ANONYMOUS, MAP_ANONYMOUS)),
    SYSCALLS_ALLOW_IF(mprotect, SYSCALLS_BITS(2, PROT_EXEC, 0)),
    SYSCALLS_ALLOW(munmap),
    SYSCALLS_ALLOW(mremap),
    SYSCALLS_ALLOW(madvise),
    SYSCALLS_ALLOW(sched_getaffinity), // malloc counts CPUs

    // Time, chance and threads.
    SYSCALLS_ALLOW(clock_gettime), // where the vDSO can't tell
    SYSCALLS_ALLOW(clock_getres),
    SYSCALLS_ALLOW(gettimeofday),
    SYSCALLS_ALLOW(time),
    SYSCALLS_ALLOW(getrandom),
    SYSCALLS_ALLOW(sysinfo), // qsort(3) before glibc 2.37 asks how much memory there is
    SYSCALLS_ALLOW(futex),
    SYSCALLS_ALLOW(sched_yield),
    SYSCALLS_ALLOW(restart_syscall), // after SIGSTOP and SIGCONT
    SYSCALLS_ALLOW(rt_sigreturn),
    SYSCALLS_ALLOW(exit),
    SYSCALLS_ALLOW(exit_group),

    // abort(3), which ends the process.
    SYSCALLS_ALLOW(getpid),
    SYSCALLS_ALLOW(gettid),
    SYSCALLS_ALLOW(rt_sigprocmask),

    // A loop of libuv that has no spare descriptor opens a file to have one. It gets none, and
    // needs none: no listener is libuv's (proxy/acceptor.c).
    SYSCALLS_REFUSE_IF(openat, EACCES, SYSCALLS_IS(2, O_RDONLY | O_CLOEXEC)),
    SYSCALLS_REFUSE_IF(open, EACCES, SYSCALLS_IS(1, O_RDONLY | O_CLOEXEC)),
};

bool proxy_syscalls_load(struct err *err)
{
    struct syscalls_rule all[sizeof rules / sizeof rules[0] + NUM_SHUTDOWN + 1];
    size_t num = 0;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        all[num++] = rules[i];
    }
    // A signal to its own threads is how abort(3) ends it, and no other signal can be sent.
    all[num++] =
        (struct syscalls_rule)SYSCALLS_ALLOW_IF(tgkill, SYSCALLS_IS(0, (unsigned)getpid()));
    for (unsigned bit = SHUTDOWN_LOWEST_BIT; bit < SHUTDOWN_LOWEST_BIT + NUM_SHUTDOWN; bit++) {
        all[num++] = (struct syscalls_rule)SYSCALLS_ALLOW_IF(
            shutdown, SYSCALLS_BITS(0, 1u << bit, 1u << bit));
    }
    const struct syscalls_filter filter = {
        .rules = all, .num_rules = num, .otherwise = SCMP_ACT_TRAP};
    return syscalls_load(&filter, err);
}
