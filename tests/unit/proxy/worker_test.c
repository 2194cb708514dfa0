// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // accept4
#include "proxy/worker.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "proxy/carry/tls.h"
#include "proxy/conn/authorize.h"
#include "tests/unit/proxy/snapshots.h"
#include "tests/unit/support/loop.h"

enum { WAIT_MS = 10000 };

// A worker, and the main thread's part of it.
struct stage {
    uv_loop_t loop;
    uv_async_t on_event;
    struct worker worker;
    int agent_fd; // of its signing socket
    int app_fd;   // listens: the application, and the far end of what goes out
    struct addr app;
    struct generation *current;
    uint64_t number;
};

static void on_event(uv_async_t *async)
{
    (void)async;
}

static struct addr bound_addr(int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    struct addr addr = {0};
    cr_assert(getsockname(fd, (struct sockaddr *)&sa, &len) == 0 &&
              addr_from_sockaddr(&addr, (const struct sockaddr *)&sa));
    return addr;
}

static int listen_anywhere(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(fd, (const struct sockaddr *)&any, sizeof any) == 0 && listen(fd, 16) == 0);
    return fd;
}

static void stage_init(struct stage *stage, unsigned num_workers)
{
    int fds[2];
    *stage = (struct stage){0};
    log_init("test", LOG_LEVEL_ERROR + 1);
    tls_set_hooks(authorize_tls_hooks());
    cr_assert(uv_loop_init(&stage->loop) == 0);
    uv_async_init(&stage->loop, &stage->on_event, on_event);
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    stage->agent_fd = fds[1];
    stage->app_fd = listen_anywhere();
    stage->app = bound_addr(stage->app_fd);
    cr_assert(worker_start(&stage->worker, 0, num_workers, fds[0], &stage->on_event) == 0);
}

static Tabard__V1__Snapshot *one_forward(const struct stage *stage)
{
    return snapshot_message(
        stage->number + 1,
        "forwards: [{listen: '127.0.0.1:0', destination: '127.0.0.1:%u'}]\n"
        "destinations: [{name: payments, addresses: [127.0.0.1], mode: PLAINTEXT}]\n",
        stage->app.port);
}

// The agent is told of a generation only when it serves; what was bound and can't be listened on
// must therefore not pass for served.
Test(worker, a_bound_socket_that_cannot_be_listened_on_is_not_taken_for_served, .timeout = 30,
     .signal = SIGABRT)
{
    struct stage stage;
    static const int on = 1;
    stage_init(&stage, 1);
    Tabard__V1__Snapshot *message = one_forward(&stage);
    struct err err = {0};
    struct generation *generation = generation_new(message, NULL, 1, &err);
    cr_assert(generation != NULL, "%s", err.text);
    // Somebody else listens where the socket is bound.
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int ours = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_storage sa;
    cr_assert(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
              setsockopt(ours, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    cr_assert(bind(other, (const struct sockaddr *)&any, sizeof any) == 0);
    struct addr addr = bound_addr(other);
    socklen_t len = addr_to_sockaddr(&addr, &sa);
    cr_assert(bind(ours, (const struct sockaddr *)&sa, len) == 0 && listen(other, 1) == 0);
    close(generation->plan.sockets[0].fds[0]);
    generation->plan.sockets[0].fds[0] = ours;
    worker_publish(&stage.worker, generation);
    run_until(&stage, atomic_load(&stage.worker.adopted_generation) == 1, WAIT_MS);
}
