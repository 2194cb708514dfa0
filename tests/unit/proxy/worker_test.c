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
    struct err err = {0};
    cr_assert(worker_start(&stage->worker, 0, num_workers, fds[0], &stage->on_event, &err), "%s",
              err.text);
}

static void stage_cleanup(struct stage *stage)
{
    worker_drain(&stage->worker, 0);
    cr_assert(run_until(stage, atomic_load(&stage->worker.is_done), WAIT_MS));
    worker_join(&stage->worker);
    generation_unref(stage->current);
    uv_close((uv_handle_t *)&stage->on_event, NULL);
    loop_end(&stage->loop);
    close(stage->agent_fd);
    close(stage->app_fd);
}

// Puts a snapshot in force as the main thread does, and waits for it.
static void put_in_force(struct stage *stage, Tabard__V1__Snapshot *message)
{
    struct err err = {0};
    struct generation *generation =
        generation_new(message, stage->current, stage->worker.num_workers, &err);
    cr_assert(generation != NULL, "%s: %s", err.where, err.text);
    tabard__v1__snapshot__free_unpacked(message, NULL);
    worker_publish(&stage->worker, generation_ref(generation));
    cr_assert(run_until(
        stage, atomic_load(&stage->worker.adopted_generation) == generation->snapshot->generation,
        WAIT_MS));
    generation_unref(stage->current);
    stage->current = generation;
    stage->number = generation->snapshot->generation;
}

static Tabard__V1__Snapshot *one_forward(const struct stage *stage)
{
    return snapshot_message(
        stage->number + 1,
        "forwards: [{listen: '127.0.0.1:0', destination: '127.0.0.1:%u'}]\n"
        "destinations: [{name: payments, addresses: [127.0.0.1], mode: PLAINTEXT}]\n",
        stage->app.port);
}

static Tabard__V1__Snapshot *one_inbound_port(const struct stage *stage)
{
    return snapshot_message(
        stage->number + 1,
        "inbound_ports: [{port: %u, mode: PLAINTEXT, listen: '127.0.0.1:0'}]\n"
        "policies: [{name: near, action: ALLOW, mode: ENFORCE, rules: [{source_ips: "
        "['127.0.0.0/8']}]}]\n",
        stage->app.port);
}

static int try_connect(const struct addr *to)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(to, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&sa, len) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

// A caller's socket and the application's, with a connection that relays between them.
static void call(struct stage *stage, int *out_caller, int *out_app)
{
    *out_caller = try_connect(&stage->current->plan.sockets[0].bound);
    cr_assert(*out_caller >= 0);
    *out_app = accept4(stage->app_fd, NULL, NULL, SOCK_CLOEXEC); // blocks until the worker calls
    cr_assert(*out_app >= 0);
    char byte = 'x'; // once it is here the connection has passed every step
    cr_assert(send(*out_caller, &byte, 1, 0) == 1 && recv(*out_app, &byte, 1, 0) == 1);
}

static void inspect(struct stage *stage, struct worker_report *report)
{
    worker_inspect(&stage->worker, report);
    cr_assert(run_until(stage, atomic_load(&stage->worker.answer) != NULL, WAIT_MS));
    atomic_store(&stage->worker.answer, NULL);
}

static void report_free(struct worker_report *report)
{
    for (size_t i = 0; i < report->num; i++) {
        tabard__v1__connection__free_unpacked(report->connections[i], NULL);
    }
    free(report->connections);
}

static void expect_described(Tabard__V1__Snapshot *(*message)(const struct stage *stage),
                             const char *direction, const char *policy, bool has_rule)
{
    struct stage stage;
    int caller;
    int app;
    stage_init(&stage, 1);
    put_in_force(&stage, message(&stage));
    call(&stage, &caller, &app);
    struct worker_report report = {.num_connections_max = 10};
    inspect(&stage, &report);
    cr_assert(report.num == 1);
    const Tabard__V1__Connection *conn = report.connections[0];
    cr_expect_str_eq(conn->direction, direction);
    cr_expect_str_eq(conn->policy, policy);
    cr_expect((conn->deciding_case == TABARD__V1__CONNECTION__DECIDING_RULE) == has_rule &&
                  conn->rule == 0,
              "%s", conn->policy);
    report_free(&report);
    close(caller);
    close(app);
    stage_cleanup(&stage);
}

Test(worker, a_connection_that_no_rule_let_through_names_none, .timeout = 30)
{
    expect_described(one_forward, "outbound", "payments", false);
    expect_described(one_inbound_port, "inbound", "near", true);
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
