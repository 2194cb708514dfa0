// SPDX-License-Identifier: Apache-2.0
#include "proxy/plane.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/addr.h"
#include "net/pipe/frame.h"
#include "base/log.h"
#include "base/version.h"
#include "proto/contract.h"
#include "proto/contract_digest.h"
#include "tabard/v1/dataplane.pb-c.h"
#include "tests/unit/proxy/snapshots.h"
#include "tests/unit/support/frames.h"
#include "tests/unit/support/tcp.h"

enum { CONTROL_FD = 100, NUM_WORKERS = 2 };

// A proxy on a thread of its own, and the agent's ends of its sockets.
struct stage {
    pthread_t thread;
    int control;
    int signing[NUM_WORKERS];
    bool was_run;
    int app_fd; // listens: where the forwards lead
    uint16_t app_port;
};

static void *run(void *ctx)
{
    struct stage *stage = ctx;
    struct err err = {0};
    struct proxy_sandbox sandbox; // which would be the test's own
    const struct proxy_sandbox_spec spec = {.mode = SANDBOX_OFF};
    stage->was_run = proxy_sandbox_begin(&sandbox, &spec, &err) &&
                     plane_run(&(struct program){.name = "tabard-proxy", .version = "4.5"},
                               CONTROL_FD, NUM_WORKERS, &sandbox, &err);
    return NULL;
}

// Makes `theirs` one end of a new pair, and returns the other.
static int socket_for(int theirs)
{
    int fds[2];
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    cr_assert(dup2(fds[1], theirs) == theirs);
    close(fds[1]);
    return fds[0];
}

static void stage_init(struct stage *stage)
{
    static const struct timeval patience = {.tv_sec = 10};
    *stage = (struct stage){0};
    log_init("test", LOG_LEVEL_ERROR + 1);
    signal(SIGPIPE, SIG_IGN);
    stage->control = socket_for(CONTROL_FD);
    setsockopt(stage->control, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (int i = 0; i < NUM_WORKERS; i++) {
        stage->signing[i] = socket_for(CONTROL_FD + 1 + i);
    }
    stage->app_fd = tcp_listen(&stage->app_port);
    cr_assert(pthread_create(&stage->thread, NULL, run, stage) == 0);
    Tabard__V1__FromProxy *first =
        frames_receive(stage->control, &tabard__v1__from_proxy__descriptor);
    cr_assert_eq(first->kind_case, TABARD__V1__FROM_PROXY__KIND_HELLO);
    cr_expect_str_eq(first->hello->version, TABARD_VERSION);
    cr_expect_str_eq(first->hello->contract, CONTRACT_DIGEST);
    tabard__v1__from_proxy__free_unpacked(first, NULL);
}

// Waits for the proxy's thread, which must be about to end.
static void stage_cleanup(struct stage *stage)
{
    pthread_join(stage->thread, NULL);
    cr_expect(stage->was_run);
    close(stage->control);
    for (int i = 0; i < NUM_WORKERS; i++) {
        close(stage->signing[i]);
    }
    close(stage->app_fd);
}

// What the agent sends with one write.
struct parcel {
    uint8_t bytes[1u << 16];
    size_t len;
};

static void pack(struct parcel *parcel, const Tabard__V1__ToProxy *message)
{
    size_t len = tabard__v1__to_proxy__get_packed_size(message);
    cr_assert(parcel->len + FRAME_PREFIX_LEN + len <= sizeof parcel->bytes);
    frame_prefix_write(parcel->bytes + parcel->len, (uint32_t)len);
    tabard__v1__to_proxy__pack(message, parcel->bytes + parcel->len + FRAME_PREFIX_LEN);
    parcel->len += FRAME_PREFIX_LEN + len;
}

static void pack_snapshot(struct parcel *parcel, Tabard__V1__Snapshot *snapshot)
{
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_SNAPSHOT;
    message.snapshot = snapshot;
    pack(parcel, &message);
    tabard__v1__snapshot__free_unpacked(snapshot, NULL);
}

static void pack_inspect(struct parcel *parcel, uint64_t id, uint32_t num_connections_max)
{
    Tabard__V1__Inspect inspect = TABARD__V1__INSPECT__INIT;
    inspect.id = id;
    inspect.num_connections_max = num_connections_max;
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_INSPECT;
    message.inspect = &inspect;
    pack(parcel, &message);
}

static void pack_drain(struct parcel *parcel, uint32_t seconds)
{
    Tabard__V1__Drain drain = TABARD__V1__DRAIN__INIT;
    drain.seconds = seconds;
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_DRAIN;
    message.drain = &drain;
    pack(parcel, &message);
}

static void send_parcel(struct stage *stage, struct parcel *parcel)
{
    frames_send_bytes(stage->control, parcel->bytes, parcel->len);
    parcel->len = 0;
}

static void send_snapshot(struct stage *stage, Tabard__V1__Snapshot *snapshot)
{
    struct parcel parcel = {.len = 0};
    pack_snapshot(&parcel, snapshot);
    send_parcel(stage, &parcel);
}

static void end_by_drain(struct stage *stage)
{
    struct parcel parcel = {.len = 0};
    pack_drain(&parcel, 0);
    send_parcel(stage, &parcel);
    stage_cleanup(stage);
}

// The next message, which must come and be of that kind.
static Tabard__V1__FromProxy *receive(struct stage *stage, Tabard__V1__FromProxy__KindCase kind)
{
    Tabard__V1__FromProxy *message =
        frames_receive(stage->control, &tabard__v1__from_proxy__descriptor);
    cr_assert(message->kind_case == kind, "kind %d", (int)message->kind_case);
    return message;
}

// Expects that the next message answers this generation, with these words; "" when it is in force.
static void expect_answer(struct stage *stage, uint64_t generation, const char *words)
{
    Tabard__V1__FromProxy *message = receive(stage, TABARD__V1__FROM_PROXY__KIND_SNAPSHOT_RESULT);
    const Tabard__V1__SnapshotResult *result = message->snapshot_result;
    cr_expect(result->generation == generation, "%llu", (unsigned long long)result->generation);
    cr_expect((result->error[0] == '\0') == (words[0] == '\0') &&
                  strstr(result->error, words) != NULL,
              "%s", result->error);
    tabard__v1__from_proxy__free_unpacked(message, NULL);
}

static void expect_inspected(struct stage *stage, uint64_t id)
{
    Tabard__V1__FromProxy *message = receive(stage, TABARD__V1__FROM_PROXY__KIND_INSPECT_RESULT);
    cr_expect(message->inspect_result->id == id, "%llu instead of %llu",
              (unsigned long long)message->inspect_result->id, (unsigned long long)id);
    cr_expect(message->inspect_result->n_metrics > 0);
    tabard__v1__from_proxy__free_unpacked(message, NULL);
}

// What an inspection has said: the generation in force, its first listener's port (0: none), and
// how many connections it lists.
struct seen {
    uint64_t generation;
    uint16_t port;
    size_t num_connections;
};

static struct seen see(struct stage *stage, uint32_t num_connections_max)
{
    struct parcel parcel = {.len = 0};
    struct seen seen = {0};
    struct addr addr = {0};
    pack_inspect(&parcel, 1, num_connections_max);
    send_parcel(stage, &parcel);
    Tabard__V1__FromProxy *message = receive(stage, TABARD__V1__FROM_PROXY__KIND_INSPECT_RESULT);
    const Tabard__V1__InspectResult *result = message->inspect_result;
    seen.generation = result->generation;
    seen.num_connections = result->n_connections;
    if (result->n_listeners > 0) {
        cr_assert(addr_parse(&addr, result->listeners[0]->address, true, NULL));
        cr_expect_str_eq(result->listeners[0]->kind, "forward");
        seen.port = addr.port;
    }
    tabard__v1__from_proxy__free_unpacked(message, NULL);
    return seen;
}

Test(plane, a_snapshot_is_answered_when_it_serves, .timeout = 30)
{
    struct stage stage;
    int caller;
    int app;
    stage_init(&stage);
    struct seen before = see(&stage, 0);
    cr_expect(before.generation == 0 && before.port == 0);
    send_snapshot(&stage, snapshot_one_forward(7, "127.0.0.1:0", stage.app_port));
    expect_answer(&stage, 7, "");
    struct seen after = see(&stage, 0);
    cr_expect(after.generation == 7 && after.port != 0 && after.num_connections == 0);
    tcp_call(after.port, stage.app_fd, &caller, &app);
    cr_expect(see(&stage, 10).num_connections == 1);
    cr_expect(see(&stage, 0).num_connections == 0, "figures alone were asked for");
    close(caller);
    close(app);
    end_by_drain(&stage);
}

Test(plane, a_refused_snapshot_says_why_and_the_one_before_stays, .timeout = 30)
{
    struct stage stage;
    int caller;
    int app;
    char listen[64];
    stage_init(&stage);
    send_snapshot(&stage, snapshot_one_forward(2, "127.0.0.1:0", stage.app_port));
    expect_answer(&stage, 2, "");
    uint16_t port = see(&stage, 0).port;
    send_snapshot(&stage, snapshot_one_forward(2, "127.0.0.1:0", stage.app_port));
    expect_answer(&stage, 2, "generation 2 is not newer than 2");
    send_snapshot(&stage, snapshot_message(3, "forwards: [{listen: x, destination: y}]"));
    expect_answer(&stage, 3, "forwards[0].listen");
    snprintf(listen, sizeof listen, "127.0.0.1:%u", stage.app_port);
    send_snapshot(
        &stage, snapshot_message(4, "forwards: [{listen: '%s', destination: '[::1]:1'}]", listen));
    expect_answer(&stage, 4, "another process");
    struct seen seen = see(&stage, 0);
    cr_expect(seen.generation == 2 && seen.port == port);
    tcp_call(port, stage.app_fd, &caller, &app);
    close(caller);
    close(app);
    end_by_drain(&stage);
}

Test(plane, of_the_snapshots_that_come_meanwhile_the_newest_is_next, .timeout = 30)
{
    struct stage stage;
    struct parcel parcel = {.len = 0};
    stage_init(&stage);
    for (uint64_t generation = 1; generation <= 4; generation++) {
        pack_snapshot(&parcel, snapshot_one_forward(generation, "127.0.0.1:0", stage.app_port));
    }
    send_parcel(&stage, &parcel);
    expect_answer(&stage, 2, "superseded by a newer generation");
    expect_answer(&stage, 3, "superseded by a newer generation");
    expect_answer(&stage, 1, "");
    expect_answer(&stage, 4, "");
    cr_expect(see(&stage, 0).generation == 4);
    end_by_drain(&stage);
}

Test(plane, every_inspection_that_the_agent_may_wait_for_is_answered_in_order, .timeout = 30)
{
    struct stage stage;
    struct parcel parcel = {.len = 0};
    stage_init(&stage);
    for (uint64_t id = 1; id <= CONTRACT_INSPECTS_MAX; id++) {
        pack_inspect(&parcel, id, 10);
    }
    send_parcel(&stage, &parcel);
    for (uint64_t id = 1; id <= CONTRACT_INSPECTS_MAX; id++) {
        expect_inspected(&stage, id);
    }
    end_by_drain(&stage);
}

Test(plane, beyond_what_the_agent_may_wait_for_the_oldest_inspections_go, .timeout = 30)
{
    struct stage stage;
    struct parcel parcel = {.len = 0};
    stage_init(&stage);
    for (uint64_t id = 1; id <= CONTRACT_INSPECTS_MAX + 2; id++) {
        pack_inspect(&parcel, id, 10);
    }
    send_parcel(&stage, &parcel);
    expect_inspected(&stage, 1); // it was under way
    for (uint64_t id = 4; id <= CONTRACT_INSPECTS_MAX + 2; id++) {
        expect_inspected(&stage, id);
    }
    end_by_drain(&stage);
}

Test(plane, figures_alone_wait_for_no_worker, .timeout = 30)
{
    struct stage stage;
    struct parcel parcel = {.len = 0};
    stage_init(&stage);
    pack_inspect(&parcel, 1, 10);
    pack_inspect(&parcel, 2, 0);
    send_parcel(&stage, &parcel);
    expect_inspected(&stage, 2);
    expect_inspected(&stage, 1);
    end_by_drain(&stage);
}

Test(plane, while_it_drains_no_snapshot_is_taken_and_what_is_open_may_finish, .timeout = 30)
{
    struct stage stage;
    struct parcel parcel = {.len = 0};
    int caller;
    int app;
    stage_init(&stage);
    send_snapshot(&stage, snapshot_one_forward(1, "127.0.0.1:0", stage.app_port));
    expect_answer(&stage, 1, "");
    uint16_t port = see(&stage, 0).port;
    tcp_call(port, stage.app_fd, &caller, &app);
    pack_drain(&parcel, 60);
    pack_snapshot(&parcel, snapshot_one_forward(2, "127.0.0.1:0", stage.app_port));
    send_parcel(&stage, &parcel);
    expect_answer(&stage, 2, "draining");
    cr_assert(tcp_passes(caller, app));
    close(caller);
    close(app);
    stage_cleanup(&stage);
    cr_expect(tcp_connect(port) < 0, "nobody listens any more");
}

Test(plane, without_its_agent_it_drains, .timeout = 30)
{
    struct stage stage;
    int caller;
    int app;
    stage_init(&stage);
    send_snapshot(&stage, snapshot_one_forward(1, "127.0.0.1:0", stage.app_port));
    expect_answer(&stage, 1, "");
    uint16_t port = see(&stage, 0).port;
    tcp_call(port, stage.app_fd, &caller, &app);
    close(stage.control);
    stage.control = -1;
    cr_assert(tcp_passes(caller, app));
    close(caller);
    close(app);
    stage_cleanup(&stage);
    cr_expect(tcp_connect(port) < 0, "nobody listens any more");
}

Test(plane, without_its_agent_it_drains_for_as_long_as_the_snapshot_says, .timeout = 20)
{
    struct stage stage;
    int caller;
    int app;
    stage_init(&stage);
    send_snapshot(
        &stage,
        snapshot_message(1,
                         "forwards: [{listen: '127.0.0.1:0', destination: '127.0.0.1:%u'}]\n"
                         "destinations: [{name: app, addresses: [127.0.0.1], mode: PLAINTEXT}]\n"
                         "settings: {drain_seconds: 1}\n",
                         stage.app_port));
    expect_answer(&stage, 1, "");
    tcp_call(see(&stage, 0).port, stage.app_fd, &caller, &app);
    shutdown(stage.control, SHUT_RDWR);
    cr_expect(tcp_is_over(caller) && tcp_is_over(app));
    close(caller);
    close(app);
    stage_cleanup(&stage);
}

Test(plane, a_message_of_the_wrong_socket_is_passed_over, .timeout = 30)
{
    struct stage stage;
    struct parcel parcel = {.len = 0};
    Tabard__V1__SignResult result = TABARD__V1__SIGN_RESULT__INIT;
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_SIGN_RESULT;
    message.sign_result = &result;
    stage_init(&stage);
    pack(&parcel, &message);
    send_parcel(&stage, &parcel);
    cr_expect(see(&stage, 0).generation == 0);
    end_by_drain(&stage);
}

Test(plane, a_ping_is_answered_when_every_worker_has_had_a_turn, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    for (uint64_t id = 1; id <= 3; id++) {
        struct parcel parcel = {.len = 0};
        Tabard__V1__Ping ping = TABARD__V1__PING__INIT;
        ping.id = id;
        Tabard__V1__ToProxy asked = TABARD__V1__TO_PROXY__INIT;
        asked.kind_case = TABARD__V1__TO_PROXY__KIND_PING;
        asked.ping = &ping;
        pack(&parcel, &asked);
        send_parcel(&stage, &parcel);
        Tabard__V1__FromProxy *message = receive(&stage, TABARD__V1__FROM_PROXY__KIND_PONG);
        cr_expect_eq(message->pong->id, id);
        tabard__v1__from_proxy__free_unpacked(message, NULL);
    }
    end_by_drain(&stage);
}
