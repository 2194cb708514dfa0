// SPDX-License-Identifier: Apache-2.0
#include "proxy/plane.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/frame.h"
#include "base/log.h"
#include "proto/contract.h"
#include "tabard/v1/dataplane.pb-c.h"
#include "tests/unit/proxy/snapshots.h"

enum { CONTROL_FD = 100, NUM_WORKERS = 2 };

// A proxy on a thread of its own, and the agent's ends of its sockets.
struct stage {
    pthread_t thread;
    int control;
    int signing[NUM_WORKERS];
    bool was_run;
    int app_fd; // listens: where the forward of one_forward leads
    uint16_t app_port;
};

static void *run(void *ctx)
{
    struct stage *stage = ctx;
    struct err err = {0};
    stage->was_run = plane_run(CONTROL_FD, NUM_WORKERS, &err);
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

static uint16_t port_of(int fd)
{
    struct sockaddr_in sa;
    socklen_t len = sizeof sa;
    cr_assert(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
    return ntohs(sa.sin_port);
}

static int listen_anywhere(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(fd, (const struct sockaddr *)&any, sizeof any) == 0 && listen(fd, 16) == 0);
    return fd;
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
    stage->app_fd = listen_anywhere();
    stage->app_port = port_of(stage->app_fd);
    cr_assert(pthread_create(&stage->thread, NULL, run, stage) == 0);
}

// Waits for the proxy's end, which must be on its way.
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
    cr_assert(send(stage->control, parcel->bytes, parcel->len, 0) == (ssize_t)parcel->len);
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
    uint8_t prefix[FRAME_PREFIX_LEN];
    static uint8_t body[1u << 20];
    cr_assert(recv(stage->control, prefix, sizeof prefix, MSG_WAITALL) == sizeof prefix);
    size_t len =
        (size_t)prefix[0] << 24 | (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 | prefix[3];
    cr_assert(len <= sizeof body && recv(stage->control, body, len, MSG_WAITALL) == (ssize_t)len);
    Tabard__V1__FromProxy *message = tabard__v1__from_proxy__unpack(NULL, len, body);
    cr_assert(message != NULL && message->kind_case == kind, "kind %d",
              message != NULL ? (int)message->kind_case : -1);
    return message;
}

// The next message answers this generation, with these words; "" when it is in force.
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

// A snapshot whose one forward listens at `listen` and leads to the stage's application.
static Tabard__V1__Snapshot *one_forward(const struct stage *stage, uint64_t generation,
                                         const char *listen)
{
    return snapshot_message(
        generation,
        "forwards: [{listen: '%s', destination: '127.0.0.1:%u'}]\n"
        "destinations: [{name: payments, addresses: [127.0.0.1], mode: PLAINTEXT}]\n",
        listen, stage->app_port);
}

// What an inspection says: the generation in force, its first listener's port (0: none), and how
// many connections it lists.
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

static int try_connect(uint16_t port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

// A call through the proxy, and the application's end of it.
static void call(struct stage *stage, uint16_t port, int *out_caller, int *out_app)
{
    *out_caller = try_connect(port);
    cr_assert(*out_caller >= 0);
    *out_app = accept(stage->app_fd, NULL, NULL);
    cr_assert(*out_app >= 0);
    char byte = 'x'; // once it is here the connection has passed every step
    cr_assert(send(*out_caller, &byte, 1, 0) == 1 && recv(*out_app, &byte, 1, 0) == 1);
}

Test(plane, a_snapshot_is_answered_when_it_serves, .timeout = 30)
{
    struct stage stage;
    int caller;
    int app;
    stage_init(&stage);
    struct seen before = see(&stage, 0);
    cr_expect(before.generation == 0 && before.port == 0);
    send_snapshot(&stage, one_forward(&stage, 7, "127.0.0.1:0"));
    expect_answer(&stage, 7, "");
    struct seen after = see(&stage, 0);
    cr_expect(after.generation == 7 && after.port != 0 && after.num_connections == 0);
    call(&stage, after.port, &caller, &app);
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
    send_snapshot(&stage, one_forward(&stage, 2, "127.0.0.1:0"));
    expect_answer(&stage, 2, "");
    uint16_t port = see(&stage, 0).port;
    send_snapshot(&stage, one_forward(&stage, 2, "127.0.0.1:0"));
    expect_answer(&stage, 2, "generation 2 is not newer than 2");
    send_snapshot(&stage, snapshot_message(3, "forwards: [{listen: x, destination: y}]"));
    expect_answer(&stage, 3, "forwards[0].listen");
    snprintf(listen, sizeof listen, "127.0.0.1:%u", stage.app_port);
    send_snapshot(
        &stage, snapshot_message(4, "forwards: [{listen: '%s', destination: '[::1]:1'}]", listen));
    expect_answer(&stage, 4, "another process");
    struct seen seen = see(&stage, 0);
    cr_expect(seen.generation == 2 && seen.port == port);
    call(&stage, port, &caller, &app);
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
        pack_snapshot(&parcel, one_forward(&stage, generation, "127.0.0.1:0"));
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
    char byte = 'x';
    stage_init(&stage);
    send_snapshot(&stage, one_forward(&stage, 1, "127.0.0.1:0"));
    expect_answer(&stage, 1, "");
    uint16_t port = see(&stage, 0).port;
    call(&stage, port, &caller, &app);
    pack_drain(&parcel, 60);
    pack_snapshot(&parcel, one_forward(&stage, 2, "127.0.0.1:0"));
    send_parcel(&stage, &parcel);
    expect_answer(&stage, 2, "draining");
    cr_assert(send(caller, &byte, 1, 0) == 1 && recv(app, &byte, 1, 0) == 1);
    close(caller);
    close(app);
    stage_cleanup(&stage);
    cr_expect(try_connect(port) < 0, "nobody listens any more");
}

Test(plane, without_its_agent_it_drains, .timeout = 30)
{
    struct stage stage;
    int caller;
    int app;
    char byte = 'x';
    stage_init(&stage);
    send_snapshot(&stage, one_forward(&stage, 1, "127.0.0.1:0"));
    expect_answer(&stage, 1, "");
    uint16_t port = see(&stage, 0).port;
    call(&stage, port, &caller, &app);
    close(stage.control);
    stage.control = -1;
    cr_assert(send(caller, &byte, 1, 0) == 1 && recv(app, &byte, 1, 0) == 1);
    close(caller);
    close(app);
    stage_cleanup(&stage);
    cr_expect(try_connect(port) < 0, "nobody listens any more");
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
