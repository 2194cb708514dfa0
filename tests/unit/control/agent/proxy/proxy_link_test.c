// SPDX-License-Identifier: Apache-2.0
#include "control/agent/proxy/proxy_link.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/pipe/frame.h"
#include "base/log.h"
#include "proto/contract_digest.h"
#include "tests/unit/control/agent/folder.h"
#include "tests/unit/support/frames.h"
#include "tests/unit/support/loop.h"

// A link, and the proxy's ends of its sockets, which the test writes and reads.
struct stage {
    uv_loop_t loop;
    struct keyring *keyring;
    struct proxy_link *link;
    int control;
    int worker;
    uint64_t generation;
    char error[256];
    bool refuse_result;
    unsigned num_hellos;
    unsigned num_results;
    unsigned num_broken;
    bool is_eof;
    char why[512];
    unsigned num_inspected;
    bool has_result;
};

static bool on_hello(void *ctx, const Tabard__V1__Hello *hello, struct err *err)
{
    (void)hello;
    (void)err;
    ((struct stage *)ctx)->num_hellos++;
    return true;
}

static bool on_snapshot_result(void *ctx, uint64_t generation, const char *error)
{
    struct stage *stage = ctx;
    stage->generation = generation;
    snprintf(stage->error, sizeof stage->error, "%s", error);
    stage->num_results++;
    return !stage->refuse_result;
}

static void on_broken(void *ctx, bool is_eof, const char *why)
{
    struct stage *stage = ctx;
    stage->num_broken++;
    stage->is_eof = is_eof;
    snprintf(stage->why, sizeof stage->why, "%s", why);
}

static void on_inspected(void *ctx, const Tabard__V1__InspectResult *result)
{
    struct stage *stage = ctx;
    stage->num_inspected++;
    stage->has_result = result != NULL;
}

static void send_hello(int fd, const char *contract)
{
    Tabard__V1__Hello hello = TABARD__V1__HELLO__INIT;
    hello.version = (char *)"9.9";
    hello.contract = (char *)contract;
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_HELLO;
    message.hello = &hello;
    frames_send(fd, &message.base);
}

// A link to a proxy that has said nothing yet.
static void stage_init_strange(struct stage *stage)
{
    *stage = (struct stage){0};
    log_init("test", LOG_LEVEL_ERROR + 1);
    int control[2];
    int worker[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, worker), 0);
    stage->control = control[1];
    stage->worker = worker[1];
    cr_assert_eq(uv_loop_init(&stage->loop), 0);
    stage->keyring = keyring_new();
    stage->link =
        proxy_link_new(&stage->loop, control[0], &worker[0], 1, stage->keyring,
                       &(struct proxy_link_hooks){.ctx = stage,
                                                  .on_hello = on_hello,
                                                  .on_snapshot_result = on_snapshot_result,
                                                  .on_broken = on_broken},
                       NULL);
    cr_assert_not_null(stage->link);
}

static void stage_init(struct stage *stage)
{
    stage_init_strange(stage);
    send_hello(stage->control, CONTRACT_DIGEST);
    cr_assert(run_until(stage, stage->num_hellos == 1, 5000));
}

static void stage_cleanup(struct stage *stage)
{
    proxy_link_close(stage->link);
    loop_end(&stage->loop);
    keyring_free(stage->keyring);
    close(stage->control);
    close(stage->worker);
}

// Reads one frame that has already arrived.
static Tabard__V1__ToProxy *read_message(int fd)
{
    return frames_receive(fd, &tabard__v1__to_proxy__descriptor);
}

static bool has_bytes(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void ask_signature(int fd, uint64_t id, const uint8_t *key_id, const char *context)
{
    uint8_t input[64 + 33 + 1 + 32];
    memset(input, 0x20, sizeof input);
    memcpy(input + 64, context, strlen(context) + 1);
    Tabard__V1__SignRequest request = TABARD__V1__SIGN_REQUEST__INIT;
    request.id = id;
    request.algorithm = 0x0807;
    request.key_id = (ProtobufCBinaryData){.len = CONTRACT_KEY_ID_LEN, .data = (uint8_t *)key_id};
    request.input = (ProtobufCBinaryData){.len = sizeof input, .data = input};
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_SIGN_REQUEST;
    message.sign_request = &request;
    frames_send(fd, &message.base);
}

Test(proxy_link, signs_on_a_worker_s_socket, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    EVP_PKEY *key = folder_key(MINT_KEY_ED25519);
    uint8_t id[CONTRACT_KEY_ID_LEN];
    cr_assert(keyring_key_id(id, key));
    cr_assert(keyring_offer(stage.keyring, key, NULL, NULL));
    ask_signature(stage.worker, 7, id, "TLS 1.3, server CertificateVerify");
    cr_assert(run_until(&stage, has_bytes(stage.worker), 5000));
    Tabard__V1__ToProxy *message = read_message(stage.worker);
    cr_assert_eq(message->kind_case, TABARD__V1__TO_PROXY__KIND_SIGN_RESULT);
    cr_expect_eq(message->sign_result->id, 7);
    cr_expect_eq(message->sign_result->signature.len, 64);
    cr_expect_str_eq(message->sign_result->error, "");
    tabard__v1__to_proxy__free_unpacked(message, NULL);
    ask_signature(stage.worker, 8, id, "TLS 1.3, nobody CertificateVerify");
    cr_assert(run_until(&stage, has_bytes(stage.worker), 5000));
    message = read_message(stage.worker);
    cr_expect_eq(message->sign_result->id, 8);
    cr_expect_eq(message->sign_result->signature.len, 0);
    cr_expect_str_eq(message->sign_result->error, "not_certificate_verify");
    tabard__v1__to_proxy__free_unpacked(message, NULL);
    cr_expect_eq(stage.num_broken, 0, "%s", stage.why);
    EVP_PKEY_free(key);
    stage_cleanup(&stage);
}

Test(proxy_link, a_worker_that_takes_no_signature_is_not_read, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    EVP_PKEY *key = folder_key(MINT_KEY_ED25519);
    uint8_t id[CONTRACT_KEY_ID_LEN];
    cr_assert(keyring_key_id(id, key));
    cr_assert(keyring_offer(stage.keyring, key, NULL, NULL));
    int small = 4096;
    setsockopt(stage.worker, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    uint8_t frame[FRAME_PREFIX_LEN + 256];
    // A request like the above, written by hand until the socket takes no more.
    uint8_t input[64 + 33 + 1 + 32];
    memset(input, 0x20, sizeof input);
    memcpy(input + 64, "TLS 1.3, server CertificateVerify", 34);
    Tabard__V1__SignRequest request = TABARD__V1__SIGN_REQUEST__INIT;
    request.id = 1;
    request.algorithm = 0x0807;
    request.key_id = (ProtobufCBinaryData){.len = sizeof id, .data = id};
    request.input = (ProtobufCBinaryData){.len = sizeof input, .data = input};
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_SIGN_REQUEST;
    message.sign_request = &request;
    size_t len = tabard__v1__from_proxy__pack(&message, frame + FRAME_PREFIX_LEN);
    frame_prefix_write(frame, (uint32_t)len);
    size_t num_sent = 0;
    size_t num_stuck = 0;
    while (num_stuck < 50 && num_sent < 1000000) {
        if (send(stage.worker, frame, FRAME_PREFIX_LEN + len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
            num_sent++;
            num_stuck = 0;
        } else {
            num_stuck++;
            run_until(&stage, false, 1);
        }
    }
    cr_expect_lt(num_sent, 100000, "it goes on reading");
    cr_expect_eq(stage.num_broken, 0, "%s", stage.why);
    // Once it reads again, every answer comes.
    size_t num_bytes = 0;
    static uint8_t sink[65536];
    size_t num_answers = num_sent;
    Tabard__V1__SignResult result = TABARD__V1__SIGN_RESULT__INIT;
    uint8_t signature[64] = {1};
    result.id = 1;
    result.signature = (ProtobufCBinaryData){.len = sizeof signature, .data = signature};
    Tabard__V1__ToProxy answer = TABARD__V1__TO_PROXY__INIT;
    answer.kind_case = TABARD__V1__TO_PROXY__KIND_SIGN_RESULT;
    answer.sign_result = &result;
    size_t expected =
        num_answers * (FRAME_PREFIX_LEN + tabard__v1__to_proxy__get_packed_size(&answer));
    while (num_bytes < expected && run_until(&stage, has_bytes(stage.worker), 5000)) {
        ssize_t got = recv(stage.worker, sink, sizeof sink, MSG_DONTWAIT);
        num_bytes += got > 0 ? (size_t)got : 0;
    }
    // The last request may have been cut by the full socket; it stays unanswered.
    cr_expect_geq(num_bytes + 2 * (FRAME_PREFIX_LEN + 80), expected);
    EVP_PKEY_free(key);
    stage_cleanup(&stage);
}

Test(proxy_link, passes_results_on_and_breaks_when_nobody_asked, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    Tabard__V1__SnapshotResult result = TABARD__V1__SNAPSHOT_RESULT__INIT;
    result.generation = 9;
    result.error = (char *)"no";
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_SNAPSHOT_RESULT;
    message.snapshot_result = &result;
    frames_send(stage.control, &message.base);
    cr_assert(run_until(&stage, stage.num_results == 1, 5000));
    cr_expect_eq(stage.generation, 9);
    cr_expect_str_eq(stage.error, "no");
    cr_expect_eq(stage.num_broken, 0);
    stage.refuse_result = true;
    frames_send(stage.control, &message.base);
    cr_assert(run_until(&stage, stage.num_broken == 1, 5000));
    cr_expect(!stage.is_eof);
    cr_expect(strstr(stage.why, "generation 9") != NULL, "%s", stage.why);
    stage_cleanup(&stage);
}

Test(proxy_link, sends_snapshots_and_drains_as_frames, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    snapshot.generation = 3;
    cr_assert(proxy_link_send_snapshot(stage.link, &snapshot, NULL));
    cr_assert(proxy_link_send_drain(stage.link, 12, NULL));
    cr_assert(run_until(&stage, has_bytes(stage.control), 5000));
    Tabard__V1__ToProxy *message = read_message(stage.control);
    cr_assert_eq(message->kind_case, TABARD__V1__TO_PROXY__KIND_SNAPSHOT);
    cr_expect_eq(message->snapshot->generation, 3);
    tabard__v1__to_proxy__free_unpacked(message, NULL);
    message = read_message(stage.control);
    cr_assert_eq(message->kind_case, TABARD__V1__TO_PROXY__KIND_DRAIN);
    cr_expect_eq(message->drain->seconds, 12);
    tabard__v1__to_proxy__free_unpacked(message, NULL);
    stage_cleanup(&stage);
}

Test(proxy_link, a_proxy_that_reads_nothing_is_told_of_and_queues_a_bounded_amount, .timeout = 60)
{
    struct stage stage;
    stage_init(&stage);
    size_t len = 30u << 20;
    char *text = malloc(len + 1);
    memset(text, 'x', len);
    text[len] = '\0';
    Tabard__V1__Policy policy = TABARD__V1__POLICY__INIT;
    Tabard__V1__Policy *policies[] = {&policy};
    policy.name = text;
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    snapshot.policies = policies;
    snapshot.n_policies = 1;
    struct err err = {{0}, {0}};
    unsigned num = 0;
    while (num < 20 && proxy_link_send_snapshot(stage.link, &snapshot, &err)) {
        num++;
    }
    cr_expect_leq(num, 5, "%u were queued", num);
    cr_expect(strstr(err.text, "doesn't read") != NULL, "%s", err.text);
    free(text);
    stage_cleanup(&stage);
}

static const Tabard__V1__Inspect figures = TABARD__V1__INSPECT__INIT;
static const Tabard__V1__Inspect five = {
    .base = PROTOBUF_C_MESSAGE_INIT(&tabard__v1__inspect__descriptor),
    .num_connections_max = 5,
    .wants_denials = true};

Test(proxy_link, an_inspection_is_answered_or_ends_in_time, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    cr_assert(proxy_link_inspect(stage.link, &five, on_inspected, &stage, NULL));
    cr_assert(run_until(&stage, has_bytes(stage.control), 5000));
    Tabard__V1__ToProxy *question = read_message(stage.control);
    cr_assert_eq(question->kind_case, TABARD__V1__TO_PROXY__KIND_INSPECT);
    cr_expect_eq(question->inspect->num_connections_max, 5);
    cr_expect(question->inspect->wants_denials);
    Tabard__V1__InspectResult result = TABARD__V1__INSPECT_RESULT__INIT;
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_INSPECT_RESULT;
    message.inspect_result = &result;
    result.id = question->inspect->id;
    frames_send(stage.control, &message.base);
    cr_assert(run_until(&stage, stage.num_inspected == 1, 500));
    cr_expect(stage.has_result);
    // An answer of another id, and a second one of the same, are nobody's.
    frames_send(stage.control, &message.base);
    cr_assert(proxy_link_inspect(stage.link, &five, on_inspected, &stage, NULL));
    cr_expect(run_until(&stage, stage.num_inspected == 2, 2 * PROXY_LINK_INSPECT_MS_MAX));
    cr_expect(!stage.has_result);
    cr_expect_eq(stage.num_broken, 0);
    // What is asked when the link closes ends with it.
    cr_assert(proxy_link_inspect(stage.link, &five, on_inspected, &stage, NULL));
    tabard__v1__to_proxy__free_unpacked(question, NULL);
    stage_cleanup(&stage);
    cr_expect_eq(stage.num_inspected, 3);
}

Test(proxy_link, inspections_under_way_are_bounded, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    for (unsigned i = 0; i < CONTRACT_INSPECTS_MAX; i++) {
        cr_assert(proxy_link_inspect(stage.link, &figures, on_inspected, &stage, NULL));
    }
    cr_expect(!proxy_link_inspect(stage.link, &figures, on_inspected, &stage, NULL));
    stage_cleanup(&stage);
    cr_expect_eq(stage.num_inspected, CONTRACT_INSPECTS_MAX);
}

// What a captured proxy may try. Each breaks the link, with these words.
struct hostile {
    const char *name;
    bool on_worker;
    void (*write)(int fd);
    const char *words;
};

static void write_garbage(int fd)
{
    frames_send_body(fd, "\xff\xff\xff\xff", 4);
}
static void write_long_prefix(int fd)
{
    frames_send_bytes(fd, "\x7f\xff\xff\xff", 4);
}
static void write_over_worker_limit(int fd)
{
    frames_send_bytes(fd, "\x00\x01\x00\x01", 4);
}
static void write_over_control_limit(int fd)
{
    frames_send_bytes(fd, "\x01\x00\x00\x01", 4);
}
static void write_empty(int fd)
{
    frames_send_body(fd, "", 0);
}
static void write_result(int fd)
{
    // FromProxy { snapshot_result { generation: 1 } }
    frames_send_body(fd, "\x0a\x02\x08\x01", 4);
}
static void write_sign_request(int fd)
{
    // FromProxy { sign_request { id: 1 } }
    frames_send_body(fd, "\x12\x02\x08\x01", 4);
}
// FromProxy { inspect_result { metrics {} metrics {} ... } }: 2 bytes each, a hundred times that
// unpacked.
static void write_bomb(int fd)
{
    size_t num = 12000;
    uint8_t *body = malloc(4 + 2 * num);
    body[0] = 0x1a;
    body[1] = (uint8_t)((2 * num & 0x7f) | 0x80);
    body[2] = (uint8_t)((2 * num >> 7 & 0x7f) | 0x80);
    body[3] = (uint8_t)(2 * num >> 14);
    for (size_t i = 0; i < num; i++) {
        body[4 + 2 * i] = 0x12;
        body[5 + 2 * i] = 0;
    }
    frames_send_body(fd, body, 4 + 2 * num);
    free(body);
}

static const struct hostile hostiles[] = {
    {"garbage", false, write_garbage, "no FromProxy"},
    {"garbage from a worker", true, write_garbage, "no FromProxy"},
    {"2 GB", false, write_long_prefix, "over the limit"},
    {"one byte over 64 KiB from a worker", true, write_over_worker_limit, "over the limit"},
    {"one byte over 16 MiB", false, write_over_control_limit, "over the limit"},
    {"nothing", false, write_empty, "no result"},
    {"nothing from a worker", true, write_empty, "other than SignRequest"},
    {"a snapshot's result from a worker", true, write_result, "other than SignRequest"},
    {"a request to sign on the control socket", false, write_sign_request, "no result"},
    {"a bomb from a worker", true, write_bomb, "too large unpacked"},
};

Test(proxy_link, what_is_no_message_of_its_socket_breaks_the_link_once, .timeout = 30)
{
    for (size_t i = 0; i < sizeof hostiles / sizeof hostiles[0]; i++) {
        struct stage stage;
        stage_init(&stage);
        int fd = hostiles[i].on_worker ? stage.worker : stage.control;
        hostiles[i].write(fd);
        cr_expect(run_until(&stage, stage.num_broken > 0, 5000), "%s", hostiles[i].name);
        cr_expect(!stage.is_eof, "%s", hostiles[i].name);
        cr_expect(strstr(stage.why, hostiles[i].words) != NULL, "%s: %s", hostiles[i].name,
                  stage.why);
        cr_expect_eq(stage.num_results, 0, "%s", hostiles[i].name);
        close(stage.control);
        run_until(&stage, false, 20);
        cr_expect_eq(stage.num_broken, 1, "%s", hostiles[i].name);
        stage.control = dup(stage.worker);
        stage_cleanup(&stage);
    }
}

Test(proxy_link, the_end_of_a_socket_is_told_as_such, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    close(stage.worker);
    cr_expect(run_until(&stage, stage.num_broken > 0, 5000));
    cr_expect(stage.is_eof);
    cr_expect(!proxy_link_send_drain(stage.link, 1, NULL), "nothing is sent any more");
    stage.worker = dup(stage.control);
    stage_cleanup(&stage);
}

Test(proxy_link, a_proxy_of_another_build_is_refused_in_words, .timeout = 20)
{
    struct stage stage;
    struct err err = {{0}, {0}};
    stage_init_strange(&stage);
    Tabard__V1__Inspect inspect = TABARD__V1__INSPECT__INIT;
    cr_expect_not(proxy_link_inspect(stage.link, &inspect, on_inspected, &stage, &err));
    cr_expect_str_eq(err.text, "the proxy has not said hello yet");
    send_hello(stage.control, "0123456789abcdef");
    cr_assert(run_until(&stage, stage.num_broken > 0, 5000));
    cr_expect_not_null(strstr(stage.why, "another build: 9.9 with contract 0123456789abcdef, where "
                                         "this agent is "),
                       "%s", stage.why);
    cr_expect_not_null(strstr(stage.why, CONTRACT_DIGEST "; install both from one build"), "%s",
                       stage.why);
    cr_expect_eq(stage.num_hellos, 0);
    stage_cleanup(&stage);
}

Test(proxy_link, a_proxy_that_does_not_say_hello_first_is_refused, .timeout = 20)
{
    struct stage stage;
    stage_init_strange(&stage);
    Tabard__V1__InspectResult result = TABARD__V1__INSPECT_RESULT__INIT;
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_INSPECT_RESULT;
    message.inspect_result = &result;
    frames_send(stage.control, &message.base);
    cr_assert(run_until(&stage, stage.num_broken > 0, 5000));
    cr_expect_not_null(strstr(stage.why, "another build"), "%s", stage.why);
    stage_cleanup(&stage);
}

static void send_pong(int fd, uint64_t id)
{
    Tabard__V1__Pong pong = TABARD__V1__PONG__INIT;
    pong.id = id;
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_PONG;
    message.pong = &pong;
    frames_send(fd, &message.base);
}

Test(proxy_link, a_sign_of_life_is_asked_for_once_until_it_comes, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    cr_expect_not(proxy_link_is_awaited(stage.link));
    proxy_link_ping(stage.link);
    proxy_link_ping(stage.link);
    cr_expect(proxy_link_is_awaited(stage.link));
    cr_assert(run_until(&stage, has_bytes(stage.control), 5000));
    Tabard__V1__ToProxy *message = read_message(stage.control);
    cr_assert_eq(message->kind_case, TABARD__V1__TO_PROXY__KIND_PING);
    cr_expect_not(has_bytes(stage.control), "one is enough");
    send_pong(stage.control, message->ping->id);
    tabard__v1__to_proxy__free_unpacked(message, NULL);
    cr_expect(run_until(&stage, !proxy_link_is_awaited(stage.link), 5000));
    send_pong(stage.control, 77);
    cr_expect(run_until(&stage, stage.num_broken > 0, 5000), "nobody asked for that one");
    stage_cleanup(&stage);
}
