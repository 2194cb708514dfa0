// SPDX-License-Identifier: Apache-2.0
//
// The proxy's sandbox from inside, layer by layer.
#define _GNU_SOURCE // setresuid, splice
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sandbox/landlock.h"
#include "base/sandbox/privileges.h"
#include "base/sandbox/syscalls.h"
#include "base/sandbox/violation.h"
#include "tests/unit/proxy/sandboxed.h"
#include "tests/unit/support/tcp.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static uint16_t tcp_port;  // somebody listens there
static uint16_t free_port; // nobody does
static struct sockaddr_un abstract = {.sun_family = AF_UNIX, .sun_path = "\0tabard-sandbox-test"};

static void set_up(void)
{
    log_init("test", LOG_LEVEL_ERROR + 1);
    tcp_listen(&tcp_port);
    free_port = tcp_free_port();
    snprintf(abstract.sun_path + 1, sizeof abstract.sun_path - 1, "tabard-sandbox-%d", getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(fd, (const struct sockaddr *)&abstract, sizeof abstract) == 0);
    cr_assert(listen(fd, 8) == 0);
}

TestSuite(proxy_sandbox, .timeout = 30, .init = set_up);

static void need_landlock(int needed)
{
    const char *why;
    int abi = landlock_abi(&why);
    if (abi < needed) {
        cr_skip_test("Landlock of version %d is here, and %d needed", abi, needed);
    }
}

static void need_root(void)
{
    if (geteuid() != 0) {
        cr_skip_test("needs root: nobody else becomes another user");
    }
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int bind_to(uint16_t port)
{
    struct sockaddr_in addr = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    return sandboxed_result(bind(fd, (const struct sockaddr *)&addr, sizeof addr));
}

static int open_passwd(void)
{
    return sandboxed_result(open("/etc/passwd", O_RDONLY));
}

static int make_file(void)
{
    return sandboxed_result(open("/tmp/tabard-sandbox-test", O_WRONLY | O_CREAT, 0600));
}

static int signal_parent(void)
{
    return sandboxed_result(kill(getppid(), 0));
}

static int call_abstract(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return sandboxed_result(connect(fd, (const struct sockaddr *)&abstract, sizeof abstract));
}

static int bind_any_free_port(void)
{
    return bind_to(0);
}

static int bind_another_port(void)
{
    return bind_to(free_port);
}

static int call_tcp(void)
{
    struct sockaddr_in addr = loopback(tcp_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    return sandboxed_result(connect(fd, (const struct sockaddr *)&addr, sizeof addr));
}

static int become_root(void)
{
    return sandboxed_result(setresuid(0, 0, 0));
}

static int change_root(void)
{
    return sandboxed_result(chroot("/"));
}

static int look_at_privileges(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : EPERM;
}

static int look_for_low_ports(void)
{
    return privileges_has(CAP_NET_BIND_SERVICE) ? 0 : EPERM;
}

static int look_at_dumps(void)
{
    struct rlimit core = {1, 1};
    getrlimit(RLIMIT_CORE, &core);
    return prctl(PR_GET_DUMPABLE) == 0 && core.rlim_max == 0 ? 0 : EPERM;
}

Test(proxy_sandbox, another_user_without_capabilities_new_privileges_and_dumps)
{
    need_root();
    struct proxy_sandbox_spec spec = {.uid = 1337};
    cr_expect_eq(sandboxed_try(AFTER_BEGIN, become_root, spec).error, EPERM);
    cr_expect_eq(sandboxed_error(AFTER_BEGIN, change_root), EPERM, "even a root has none");
    cr_expect_eq(sandboxed_error(AFTER_BEGIN, look_at_privileges), 0);
#ifdef __SANITIZE_ADDRESS__
    int dumps = EPERM; // LeakSanitizer works as a debugger
#else
    int dumps = 0;
#endif
    cr_expect_eq(sandboxed_error(AFTER_BEGIN, look_at_dumps), dumps);
}

Test(proxy_sandbox, low_ports_are_kept_by_who_has_them_and_becomes_nobody_else)
{
    need_root();
    struct proxy_sandbox_spec spec = {.uid = 1337};
    cr_expect_eq(sandboxed_try(AFTER_BEGIN, look_for_low_ports, spec).error, EPERM);
    cr_expect_eq(sandboxed_error(AFTER_BEGIN, look_for_low_ports), 0);
}

Test(proxy_sandbox, landlock_alone_leaves_no_file_to_open)
{
    need_landlock(1);
    sandboxed_need_product();
    cr_expect_eq(sandboxed_error(AFTER_BEGIN, open_passwd), 0);
    cr_expect_eq(sandboxed_error(AFTER_FILES, open_passwd), EACCES);
    cr_expect_eq(sandboxed_error(AFTER_FILES, make_file), EACCES);
}

Test(proxy_sandbox, landlock_alone_leaves_nobody_outside_to_signal_or_to_call_by_an_abstract_name)
{
    need_landlock(LANDLOCK_ABI_SCOPES);
    cr_expect_eq(sandboxed_error(AFTER_BEGIN, signal_parent), 0);
    cr_expect_eq(sandboxed_error(AFTER_FILES, signal_parent), EPERM);
    cr_expect_eq(sandboxed_error(AFTER_BEGIN, call_abstract), 0);
    cr_expect_eq(sandboxed_error(AFTER_FILES, call_abstract), EPERM);
}

Test(proxy_sandbox,
     a_worker_calls_and_binds_no_port_of_its_choice_and_the_main_thread_binds_and_does_not_call)
{
    need_landlock(LANDLOCK_ABI_PORTS);
    cr_expect_eq(sandboxed_error(AFTER_FILES, bind_another_port), 0);
    cr_expect_eq(sandboxed_error(IN_WORKER, bind_another_port), EACCES);
    cr_expect_eq(sandboxed_error(IN_WORKER, bind_any_free_port), 0);
    cr_expect_eq(sandboxed_error(IN_WORKER, call_tcp), 0);
    cr_expect_eq(sandboxed_error(AT_END_IN_WORKER, bind_another_port), EACCES);
    cr_expect_eq(sandboxed_error(AT_END_IN_WORKER, call_tcp), 0);
    cr_expect_eq(sandboxed_error(AT_END, call_tcp), EACCES);
    cr_expect_eq(sandboxed_error(AT_END, bind_another_port), 0, "a snapshot may name it");
}

static int open_to_write(void)
{
    return sandboxed_result(open("/etc/passwd", O_RDWR | O_CLOEXEC));
}

// As libuv does when the host is out of descriptors.
static int open_as_libuv(void)
{
    return sandboxed_result(open("/", O_RDONLY | O_CLOEXEC));
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, 40);
}

// Enough, in elements of enough bytes, for the C library to ask how much memory there is.
static int sort_much(void)
{
    static unsigned char many[100][40];
    many[0][0] = 1;
    qsort(many, 100, 40, compare);
    return many[99][0] == 1 ? 0 : EINVAL;
}

static int execute(void)
{
    char *none[] = {NULL};
    return sandboxed_result(execve("/bin/true", none, none));
}

static int trace(void)
{
    return sandboxed_result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

// Not by fork(), which blocks the signal by which the end could be named since glibc 2.41.
static int make_process(void)
{
    return sandboxed_result((int)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static void *nothing(void *ctx)
{
    return ctx;
}

static int make_thread(void)
{
    pthread_t thread;
    return pthread_create(&thread, NULL, nothing, NULL);
}

static int udp(void)
{
    return sandboxed_result(socket(AF_INET, SOCK_DGRAM, 0));
}

static int local_socket(void)
{
    return sandboxed_result(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int netlink(void)
{
    return sandboxed_result(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int multipath(void)
{
    return sandboxed_result(socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP));
}

static int other_option(void)
{
    return sandboxed_result(setsockopt(0, IPPROTO_TCP, TCP_ULP, "tls", 3));
}

static int type_into_terminal(void)
{
    return sandboxed_result(ioctl(0, TIOCSTI, "x"));
}

static int call_by_sending(void)
{
    struct sockaddr_in addr = loopback(tcp_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    return sandboxed_result(
        sendto(fd, "x", 1, MSG_FASTOPEN, (const struct sockaddr *)&addr, sizeof addr));
}

static int call_by_sending_message(void)
{
    struct sockaddr_in addr = loopback(tcp_port);
    struct iovec part = {.iov_base = (char[]){"x"}, .iov_len = 1};
    struct msghdr message = {
        .msg_name = &addr, .msg_namelen = sizeof addr, .msg_iov = &part, .msg_iovlen = 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    return sandboxed_result(sendmsg(fd, &message, MSG_FASTOPEN));
}

static int silence_log(void)
{
    return sandboxed_result(shutdown(STDERR_FILENO, SHUT_RDWR));
}

static int silence_agent(void)
{
    return sandboxed_result(shutdown(7, SHUT_RDWR));
}

static int end_a_stream(void)
{
    shutdown(8, SHUT_WR); // whatever these are here
    shutdown(1 << 30, SHUT_WR);
    return 0;
}

static int map_code(void)
{
    void *at = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return sandboxed_result(at == MAP_FAILED ? -1 : 0);
}

static int make_code(void)
{
    return sandboxed_result(mprotect(&tcp_port, 1, PROT_READ | PROT_EXEC));
}

static int handle_signal(void)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    return sandboxed_result(sigaction(SIGSYS, &action, NULL));
}

static int signal_init(void)
{
    return sandboxed_result(kill(1, 0));
}

static int lift_limit(void)
{
    return sandboxed_result(setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 1}));
}

static int map_file(void)
{
    void *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, 0, 0);
    return sandboxed_result(at == MAP_FAILED ? -1 : 0);
}

static int move_elsewhere(void)
{
    return sandboxed_result(splice(0, NULL, 1, NULL, 1, 0));
}

static int ask_who_is_there(void)
{
    struct ucred who;
    socklen_t len = sizeof who;
    return sandboxed_result(getsockopt(3, SOL_SOCKET, SO_PEERCRED, &who, &len));
}

static int ask_for_error(void)
{
    int error;
    socklen_t len = sizeof error;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    return sandboxed_result(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len));
}

Test(proxy_sandbox, seccomp_ends_whoever_makes_another_system_call_and_its_name_is_told)
{
    static const struct {
        int (*attempt)(void);
        const char *name;
    } rows[] = {
        {open_passwd, "openat"},       {open_to_write, "openat"},
        {execute, "execve"},           {trace, "ptrace"},
        {make_process, "clone"},       {udp, "socket"},
        {local_socket, "socket"},      {netlink, "socket"},
        {multipath, "socket"},         {other_option, "setsockopt"},
        {type_into_terminal, "ioctl"}, {map_code, "mmap"},
        {call_by_sending, "sendto"},   {call_by_sending_message, "sendmsg"},
        {silence_log, "shutdown"},     {silence_agent, "shutdown"},
        {make_code, "mprotect"},       {handle_signal, "rt_sigaction"},
        {signal_init, "kill"},         {lift_limit, "prlimit64"},
        {become_root, "setresuid"},    {map_file, "mmap"},
        {move_elsewhere, "splice"},    {ask_who_is_there, "getsockopt"},
    };
    sandboxed_need_seccomp();
    sandboxed_need_product();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (enum point point = AT_END; point <= AT_END_IN_WORKER; point++) {
            char buf[VIOLATION_TEXT_MAX];
            struct outcome outcome =
                sandboxed_try(point, rows[i].attempt, (struct proxy_sandbox_spec){0});
            cr_expect_eq(outcome.error, -1, "%s: %s", rows[i].name, strerror(outcome.error));
            cr_expect_str_eq(violation_text(outcome.violation, buf), rows[i].name);
        }
    }
    cr_expect_eq(sandboxed_error(AT_END_IN_WORKER, end_a_stream), 0);
    cr_expect_eq(sandboxed_error(AT_END_IN_WORKER, ask_for_error), 0);
    cr_expect_eq(sandboxed_error(AT_END, open_as_libuv), EACCES, "and goes on");
    // While the C library makes a thread it blocks the signal by which its end could be named.
    cr_expect_eq(sandboxed_try(AT_END, make_thread, (struct proxy_sandbox_spec){0}).error, -1);
}

Test(proxy_sandbox, whatever_is_sorted_is_sorted)
{
    cr_expect_eq(sandboxed_error(AT_END, sort_much), 0);
    cr_expect_eq(sandboxed_error(AT_END_IN_WORKER, sort_much), 0);
}

static int stop(void)
{
    abort();
}

Test(proxy_sandbox, a_broken_invariant_still_ends_as_what_it_is)
{
    int status = 0;
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        sandboxed_enter(AT_END_IN_WORKER, stop, &(struct proxy_sandbox_spec){0});
        _exit(0);
    }
    cr_assert(waitpid(pid, &status, 0) == pid);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %d", status);
}

Test(proxy_sandbox, off_leaves_all_that_a_debugger_needs_and_says_so)
{
    struct proxy_sandbox_spec spec = {.mode = SANDBOX_OFF};
    cr_expect_eq(sandboxed_try(AT_END, open_passwd, spec).error, 0);
    cr_expect_eq(sandboxed_try(AT_END, udp, spec).error, 0);
    cr_expect_eq(sandboxed_try(AT_END_IN_WORKER, bind_another_port, spec).error, 0);
}
