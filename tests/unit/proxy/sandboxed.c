// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/proxy/sandboxed.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/sandbox/syscalls.h"
#include "base/sandbox/violation.h"

struct trial {
    enum point point;
    int (*attempt)(void); // returns 0 or an errno value
    struct proxy_sandbox sandbox;
    pthread_t worker;
    atomic_bool is_closed;
};

static void *work(void *ctx)
{
    struct trial *trial = ctx;
    proxy_sandbox_enter_worker(&trial->sandbox);
    if (trial->point == IN_WORKER) {
        _exit(trial->attempt());
    }
    while (!atomic_load(&trial->is_closed)) {
        sched_yield();
    }
    _exit(trial->attempt());
}

static void enter(struct trial *trial, const struct proxy_sandbox_spec *spec)
{
    bool ok = proxy_sandbox_begin(&trial->sandbox, spec, NULL);
    if (trial->point == AFTER_BEGIN) {
        return;
    }
    ok = ok && proxy_sandbox_close_files(&trial->sandbox, NULL);
    if (trial->point == AFTER_FILES) {
        return;
    }
    unsigned num_workers = trial->point == AT_END ? 0 : 1;
    if (num_workers > 0) {
        ok = ok && pthread_create(&trial->worker, NULL, work, trial) == 0;
    }
    if (trial->point == IN_WORKER) {
        pause();
    }
    ok = ok && proxy_sandbox_close(&trial->sandbox, num_workers, NULL);
    if (!ok) {
        _exit(255);
    }
    atomic_store(&trial->is_closed, true);
    if (trial->point == AT_END_IN_WORKER) {
        pthread_join(trial->worker, NULL);
    }
}

void sandboxed_enter(enum point point, int (*attempt)(void), const struct proxy_sandbox_spec *spec)
{
    static struct trial trial;
    trial.point = point;
    trial.attempt = attempt;
    enter(&trial, spec);
}

struct outcome sandboxed_try(enum point point, int (*attempt)(void), struct proxy_sandbox_spec spec)
{
    int fds[2];
    int status = 0;
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        spec.tell_fd = fds[1];
        log_init("test", LOG_LEVEL_ERROR + 1);
        sandboxed_enter(point, attempt, &spec);
        _exit(attempt());
    }
    cr_assert(waitpid(pid, &status, 0) == pid);
    struct outcome outcome = {.error = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                              .violation = violation_read(fds[0])};
    cr_expect(WIFEXITED(status) || WTERMSIG(status) == SIGSYS, "status %d", status);
    close(fds[0]);
    close(fds[1]);
    return outcome;
}

int sandboxed_error(enum point point, int (*attempt)(void))
{
    struct outcome outcome = sandboxed_try(point, attempt, (struct proxy_sandbox_spec){0});
    cr_expect_geq(outcome.error, 0, "ended for %d", outcome.violation);
    return outcome.error;
}

int sandboxed_result(long result)
{
    return result < 0 ? errno : 0;
}

void sandboxed_need_seccomp(void)
{
    const char *why;
    if (!syscalls_can_filter(&why)) {
        cr_skip_test("%s", why);
    }
}

void sandboxed_need_product(void)
{
#ifdef SANDBOX_SANITIZED
    cr_skip_test("a build with a sanitizer keeps what its reports take");
#endif
}
