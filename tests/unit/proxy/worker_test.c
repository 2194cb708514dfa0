// SPDX-License-Identifier: Apache-2.0
#include "proxy/worker.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/unit/proxy/snapshots.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/tcp.h"

enum { WAIT_MS = 10000 };

// A worker, and the main thread's part of it.
struct stage {
    uv_loop_t loop;
    uv_async_t on_event;
    struct worker worker;
    int agent_fd; // of its signing socket
    int app_fd;   // listens: the application, and the far end of what goes out
    uint16_t app_port;
    struct generation *current;
    uint64_t number;
};

static void on_event(uv_async_t *async)
{
    (void)async;
}

static void stage_make(struct stage *stage, unsigned num_workers)
{
    int fds[2];
    *stage = (struct stage){0};
    log_init("test", LOG_LEVEL_ERROR + 1);
    cr_assert(uv_loop_init(&stage->loop) == 0);
    uv_async_init(&stage->loop, &stage->on_event, on_event);
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    stage->agent_fd = fds[1];
    stage->app_fd = tcp_listen(&stage->app_port);
    struct err err = {0};
    cr_assert(worker_init(&stage->worker, 0, num_workers, fds[0], &stage->on_event, &err), "%s",
              err.text);
}

static void stage_init(struct stage *stage, unsigned num_workers)
{
    struct err err = {0};
    stage_make(stage, num_workers);
    cr_assert(worker_start(&stage->worker, NULL, &err), "%s", err.text);
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

// Waits for a number that the worker counts without waking anybody. Says whether it came.
static bool counts(struct stage *stage, const atomic_uint_fast64_t *counter, uint64_t wanted)
{
    for (int i = 0; atomic_load(counter) != wanted && i < WAIT_MS / 5; i++) {
        run_until(stage, false, 5);
    }
    return atomic_load(counter) == wanted;
}

static Tabard__V1__Snapshot *one_forward(const struct stage *stage)
{
    return snapshot_one_forward(stage->number + 1, "127.0.0.1:0", stage->app_port);
}

static Tabard__V1__Snapshot *one_inbound_port(const struct stage *stage)
{
    return snapshot_message(
        stage->number + 1,
        "inbound_ports: [{port: %u, mode: PLAINTEXT, listen: '127.0.0.1:0'}]\n"
        "policies: [{name: near, action: ALLOW, mode: ENFORCE, rules: [{source_ips: "
        "['127.0.0.0/8']}]}]\n",
        stage->app_port);
}

static uint16_t port_in_force(const struct stage *stage)
{
    return stage->current->plan.sockets[0].bound.port;
}

static void call(struct stage *stage, int *out_caller, int *out_app)
{
    tcp_call(port_in_force(stage), stage->app_fd, out_caller, out_app);
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

static uint64_t num_closed(struct stage *stage, enum direction direction, enum reason reason)
{
    return atomic_load(&stage->worker.env.stats.closed[direction][reason]);
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

Test(worker, an_inspection_lists_no_more_than_was_asked_for, .timeout = 30)
{
    struct stage stage;
    int callers[3];
    int apps[3];
    stage_init(&stage, 1);
    put_in_force(&stage, one_forward(&stage));
    struct worker_report none = {.num_connections_max = 2};
    inspect(&stage, &none);
    cr_expect(none.num == 0 && none.connections != NULL);
    report_free(&none);
    for (size_t i = 0; i < 3; i++) {
        call(&stage, &callers[i], &apps[i]);
    }
    struct worker_report report = {.num_connections_max = 2};
    inspect(&stage, &report);
    cr_expect(report.num == 2);
    report_free(&report);
    for (size_t i = 0; i < 3; i++) {
        close(callers[i]);
        close(apps[i]);
    }
    stage_cleanup(&stage);
}

Test(worker, a_generation_ends_what_it_denies_and_closes_what_it_does_not_list, .timeout = 30)
{
    struct stage stage;
    int caller;
    int app;
    stage_init(&stage, 1);
    put_in_force(&stage, one_inbound_port(&stage));
    uint16_t port = port_in_force(&stage);
    call(&stage, &caller, &app);
    put_in_force(&stage, snapshot_message(2,
                                          "inbound_ports: [{port: %u, mode: PLAINTEXT, listen: "
                                          "'127.0.0.1:0'}]\n",
                                          stage.app_port));
    cr_expect(port == port_in_force(&stage), "the socket stays");
    cr_expect(tcp_is_over(caller) && tcp_is_over(app));
    close(caller);
    close(app);
    caller = tcp_connect(port);
    cr_expect(caller >= 0 && tcp_is_over(caller), "default deny");
    close(caller);
    put_in_force(&stage, snapshot_message(3, "{}"));
    cr_expect(tcp_connect(port) < 0, "nobody listens there any more");
    cr_expect(num_closed(&stage, DIRECTION_INBOUND, REASON_POLICY_REVOKED) == 1);
    cr_expect(num_closed(&stage, DIRECTION_INBOUND, REASON_POLICY_DENIED) == 1);
    stage_cleanup(&stage);
}

Test(worker, a_connection_that_stays_allowed_notices_no_generation, .timeout = 30)
{
    struct stage stage;
    int caller;
    int app;
    stage_init(&stage, 1);
    put_in_force(&stage, one_inbound_port(&stage));
    call(&stage, &caller, &app);
    put_in_force(&stage, one_inbound_port(&stage));
    cr_assert(tcp_passes(app, caller));
    struct worker_report report = {.num_connections_max = 1};
    inspect(&stage, &report);
    cr_assert(report.num == 1 && report.connections[0]->generation == 2);
    cr_expect(report.connections[0]->bytes_up == 1 && report.connections[0]->bytes_down == 1);
    report_free(&report);
    close(caller);
    close(app);
    stage_cleanup(&stage);
}

// Waits until the worker has taken what was said to it before.
static void expect_open(struct stage *stage, size_t num)
{
    for (size_t i = 0; i < 2; i++) { // at the latest before the second answer
        struct worker_report report = {.num_connections_max = 10};
        inspect(stage, &report);
        cr_expect(report.num == num);
        report_free(&report);
    }
}

Test(worker, a_drain_accepts_no_callers_and_lets_what_is_open_finish, .timeout = 30)
{
    struct stage stage;
    int caller;
    int app;
    stage_init(&stage, 1);
    put_in_force(&stage, one_inbound_port(&stage));
    uint16_t port = port_in_force(&stage);
    call(&stage, &caller, &app);
    worker_drain(&stage.worker, 60);
    expect_open(&stage, 1);
    cr_expect(tcp_connect(port) < 0);
    cr_assert(tcp_passes(caller, app));
    cr_expect(!worker_is_quiet(&stage.worker));
    close(caller);
    close(app);
    cr_expect(run_until(&stage, worker_is_quiet(&stage.worker), WAIT_MS));
    cr_expect(!atomic_load(&stage.worker.is_done));
    worker_drain_outbound(&stage.worker);
    cr_expect(run_until(&stage, atomic_load(&stage.worker.is_done), WAIT_MS));
    cr_expect(num_closed(&stage, DIRECTION_INBOUND, REASON_DRAINING) == 0);
    stage_cleanup(&stage);
}

Test(worker, in_a_drain_the_service_may_call_others_until_that_is_drained_too, .timeout = 30)
{
    struct stage stage;
    int callers[2];
    int apps[2];
    stage_init(&stage, 1);
    put_in_force(&stage, one_forward(&stage));
    uint16_t port = port_in_force(&stage);
    call(&stage, &callers[0], &apps[0]);
    worker_drain(&stage.worker, 60);
    cr_expect(run_until(&stage, atomic_load(&stage.worker.has_closed_inbound), WAIT_MS));
    cr_expect(!worker_is_quiet(&stage.worker));
    call(&stage, &callers[1], &apps[1]);
    cr_assert(tcp_passes(callers[1], apps[1]));
    worker_drain_outbound(&stage.worker);
    expect_open(&stage, 2);
    cr_expect(tcp_connect(port) < 0);
    for (size_t i = 0; i < 2; i++) {
        cr_assert(tcp_passes(callers[i], apps[i]));
        close(callers[i]);
        close(apps[i]);
    }
    cr_expect(run_until(&stage, atomic_load(&stage.worker.is_done), WAIT_MS));
    stage_cleanup(&stage);
}

Test(worker, a_drain_ends_what_is_open_when_its_time_is_over, .timeout = 30)
{
    struct stage stage;
    int caller;
    int app;
    stage_init(&stage, 1);
    put_in_force(&stage, one_forward(&stage));
    call(&stage, &caller, &app);
    worker_drain(&stage.worker, 60);
    worker_drain(&stage.worker, 0); // the later word counts
    cr_expect(tcp_is_over(caller) && tcp_is_over(app));
    cr_expect(run_until(&stage, atomic_load(&stage.worker.is_done), WAIT_MS));
    cr_expect(num_closed(&stage, DIRECTION_OUTBOUND, REASON_DRAINING) == 1);
    close(caller);
    close(app);
    stage_cleanup(&stage);
}

Test(worker, without_its_agent_it_serves_what_needs_no_signature, .timeout = 30)
{
    struct stage stage;
    int caller;
    int app;
    stage_init(&stage, 1);
    put_in_force(&stage, one_forward(&stage));
    shutdown(stage.agent_fd, SHUT_RDWR);
    call(&stage, &caller, &app);
    close(caller);
    close(app);
    stage_cleanup(&stage);
}

// Work that a worker finds in each turn before it comes to its listeners, and that takes longer
// than a turn accepts.
struct work {
    uv_poll_t poll;
    int fd;
    atomic_bool is_over;
};

static void on_work(uv_poll_t *poll, int status, int events)
{
    struct work *work = poll->data;
    (void)status;
    (void)events;
    if (atomic_load(&work->is_over)) {
        uv_close((uv_handle_t *)poll, NULL);
    }
    for (uint64_t start_ns = uv_hrtime(); uv_hrtime() - start_ns < 12000000;) {
    }
}

Test(worker, callers_are_accepted_however_long_its_turns_are, .timeout = 30)
{
    struct stage stage;
    struct work work = {.fd = eventfd(1, EFD_CLOEXEC)};
    int callers[3];
    int num_accepted = 0;
    stage_make(&stage, 1);
    work.poll.data = &work;
    cr_assert(uv_poll_init(&stage.worker.loop, &work.poll, work.fd) == 0);
    cr_assert(uv_poll_start(&work.poll, UV_READABLE, on_work) == 0);
    struct err err = {0};
    cr_assert(worker_start(&stage.worker, NULL, &err), "%s", err.text);
    put_in_force(&stage, one_forward(&stage));
    for (size_t i = 0; i < 3; i++) {
        callers[i] = tcp_connect(port_in_force(&stage));
    }
    struct pollfd app = {.fd = stage.app_fd, .events = POLLIN};
    while (num_accepted < 3 && poll(&app, 1, 3000) == 1) {
        close(accept(stage.app_fd, NULL, NULL));
        num_accepted++;
    }
    cr_expect(num_accepted == 3, "%d", num_accepted);
    atomic_store(&work.is_over, true);
    for (size_t i = 0; i < 3; i++) {
        close(callers[i]);
    }
    stage_cleanup(&stage);
    close(work.fd);
}

// The descriptor in this process of what listens on a port of 127.0.0.1.
static int listener_of(uint16_t port)
{
    for (int fd = 0; fd < 1024; fd++) {
        struct sockaddr_in sa;
        socklen_t sa_len = sizeof sa;
        if (getsockname(fd, (struct sockaddr *)&sa, &sa_len) == 0 && sa.sin_family == AF_INET &&
            ntohs(sa.sin_port) == port) {
            return fd;
        }
    }
    return -1;
}

Test(worker, a_listener_that_somebody_ends_from_outside_listens_again, .timeout = 30)
{
    struct stage stage;
    uint16_t port;
    char address[32];
    int caller;
    int app;
    stage_init(&stage, 1);
    close(tcp_listen(&port));
    snprintf(address, sizeof address, "127.0.0.1:%u", port);
    put_in_force(&stage, snapshot_one_forward(1, address, stage.app_port));
    int fd = listener_of(port);
    cr_assert(fd >= 0 && shutdown(fd, SHUT_RD) == 0);
    const atomic_uint_fast64_t *errors = &stage.worker.env.stats.accept_errors;
    cr_expect(counts(&stage, errors, 1), "it is told of");
    call(&stage, &caller, &app);
    cr_expect(atomic_load(errors) == 1);
    close(caller);
    close(app);
    stage_cleanup(&stage);
}

// The bytes of a ClientHello that a sidecar answers by asking for another (HelloRetryRequest), so
// that the handshake waits for its peer before anything is to be signed. Returns how many.
static size_t hello_that_is_asked_again(uint8_t *out, size_t max)
{
    static const uint16_t groups[] = {SSL_GROUP_X25519, SSL_GROUP_X25519_MLKEM768};
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL *ssl = SSL_new(ctx);
    BIO *bio = BIO_new(BIO_s_mem());
    SSL_set0_wbio(ssl, bio);
    SSL_set0_rbio(ssl, BIO_new(BIO_s_mem()));
    cr_assert(SSL_set1_group_ids(ssl, groups, 2) == 1 &&
              SSL_set1_client_key_shares(ssl, groups, 1) == 1);
    cr_assert(SSL_connect(ssl) != 1);
    int len = BIO_read(bio, out, (int)max);
    cr_assert(len > 0 && (size_t)len < max);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return (size_t)len;
}

Test(worker, at_the_limit_one_who_is_silent_goes_for_each_caller_and_none_for_nobody, .timeout = 30)
{
    struct stage stage;
    uint8_t hello[4096];
    char byte;
    int callers[4];
    size_t len = hello_that_is_asked_again(hello, sizeof hello);
    stage_init(&stage, 1);
    put_in_force(&stage, snapshot_message(1,
                                          "inbound_ports: [{port: %u, mode: MTLS, listen: "
                                          "'127.0.0.1:0'}]\nsettings: {limits: {handshakes: 2}}\n",
                                          stage.app_port));
    const struct stats *stats = &stage.worker.env.stats;
    for (size_t i = 0; i < 3; i++) {
        callers[i] = tcp_connect(port_in_force(&stage));
    }
    cr_assert(counts(&stage, &stats->open[DIRECTION_INBOUND], 3));
    for (size_t i = 0; i < 3; i++) {
        cr_assert(send(callers[i], hello, len, MSG_NOSIGNAL) == (ssize_t)len);
        cr_assert(i == 2 || recv(callers[i], &byte, 1, 0) == 1, "its handshake is under way");
    }
    cr_assert(counts(&stage, &stats->handshakes_waiting[DIRECTION_INBOUND], 1));
    run_until(&stage, false, 1000 + 200); // GATE_SILENT_MS, and more
    const atomic_uint_fast64_t *gone = &stats->closed[DIRECTION_INBOUND][REASON_LIMIT_HANDSHAKES];
    cr_assert(atomic_load(gone) == 0);
    callers[3] = tcp_connect(port_in_force(&stage));
    cr_expect(counts(&stage, gone, 1));
    run_until(&stage, false, 200); // nobody else goes
    cr_expect(atomic_load(gone) == 1, "%llu went", (unsigned long long)atomic_load(gone));
    for (size_t i = 0; i < 4; i++) {
        close(callers[i]);
    }
    stage_cleanup(&stage);
}

// What worker_adopt makes of a snapshot's limits.
static const struct {
    const char *limits;
    unsigned num_workers;
    uint64_t descriptors; // that the process may have
    uint32_t connections;
    uint32_t identity_connections;
    uint32_t handshakes;
    uint64_t buffer_bytes;
} shares[] = {
    {"connections: 10, handshakes: 4, buffer_bytes: 8388608", 1, 1000, 10, 1000000, 4, 8388608},
    {"connections: 10, handshakes: 4, buffer_bytes: 8388608", 4, 1000, 3, 250000, 1, 2097152},
    {"connections: 1, handshakes: 1, buffer_bytes: 1048576, identity_connections: 1", 3, 1000, 1, 1,
     1, 8 * RING_BYTES},
    {"connections: 1000000, identity_connections: 7", 2, 2256, 500, 4, 2048, 268435456},
    {"connections: 1000000", 1, 64, 20, 1000000, 4096, 536870912},
    {"connections: 1000000", 4, 100, 7, 250000, 1024, 134217728},
};

Test(worker, the_limits_are_shared_out_and_never_above_what_the_process_may_open, .timeout = 30)
{
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        struct err err = {0};
        uv_loop_t loop;
        struct conn_env env;
        uv_loop_init(&loop);
        struct rlimit before;
        getrlimit(RLIMIT_NOFILE, &before);
        Tabard__V1__Snapshot *message =
            snapshot_message(1, "settings: {limits: {%s}}", shares[i].limits);
        struct snapshot *snapshot = snapshot_new(message, NULL, &handshake_hooks, time(NULL), &err);
        cr_assert(snapshot != NULL, "%s: %s", err.where, err.text);
        struct rlimit limit = {.rlim_cur = shares[i].descriptors, .rlim_max = before.rlim_max};
        cr_assert(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        conn_env_init(&env, &loop);
        pool_init(&env.pool, NULL, NULL); // nobody waits
        env.room.memory_bytes = UINT64_MAX;
        worker_adopt(&env, snapshot, shares[i].num_workers);
        setrlimit(RLIMIT_NOFILE, &before);
        cr_expect(env.limits.connections == shares[i].connections, "row %zu: %u", i,
                  env.limits.connections);
        cr_expect(env.limits.identity_connections == shares[i].identity_connections, "row %zu: %u",
                  i, env.limits.identity_connections);
        cr_expect(env.limits.handshakes == shares[i].handshakes, "row %zu: %u", i,
                  env.limits.handshakes);
        cr_expect(env.pool.num_blocks_max * RING_BYTES == shares[i].buffer_bytes, "row %zu: %zu", i,
                  env.pool.num_blocks_max);
        cr_expect(env.snapshot == snapshot);
        conn_env_cleanup(&env);
        uv_loop_close(&loop);
        snapshot_unref(snapshot);
        tabard__v1__snapshot__free_unpacked(message, NULL);
    }
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
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    cr_assert(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
              setsockopt(ours, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    cr_assert(bind(other, (const struct sockaddr *)&sa, len) == 0 &&
              getsockname(other, (struct sockaddr *)&sa, &len) == 0);
    cr_assert(bind(ours, (const struct sockaddr *)&sa, len) == 0 && listen(other, 1) == 0);
    close(generation->plan.sockets[0].fds[0]);
    generation->plan.sockets[0].fds[0] = ours;
    worker_publish(&stage.worker, generation);
    run_until(&stage, atomic_load(&stage.worker.adopted_generation) == 1, WAIT_MS);
}
