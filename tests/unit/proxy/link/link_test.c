// SPDX-License-Identifier: Apache-2.0
#include "proxy/link/link.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "proto/contract.h"
#include "tests/unit/support/frames.h"
#include "tests/unit/support/loop.h"

enum { WAIT_MS = 5000 };

// A link, and the agent's end of its socket, which the test writes and reads.
struct stage {
    uv_loop_t loop;
    struct link link;
    int agent;
    unsigned num_messages;
    uint64_t last_id;
    unsigned num_gone;
};

static void on_message(void *ctx, const Tabard__V1__ToProxy *message)
{
    struct stage *stage = ctx;
    stage->num_messages++;
    stage->last_id =
        message->kind_case == TABARD__V1__TO_PROXY__KIND_SIGN_RESULT ? message->sign_result->id : 0;
}

static void on_gone(void *ctx)
{
    struct stage *stage = ctx;
    stage->num_gone++;
    cr_expect(!stage->link.pipe.is_open);
}

static void stage_init(struct stage *stage, enum link_kind kind)
{
    int fds[2];
    struct err err = {0};
    *stage = (struct stage){0};
    log_init("test", LOG_LEVEL_ERROR + 1);
    signal(SIGPIPE, SIG_IGN);
    cr_assert(uv_loop_init(&stage->loop) == 0);
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    stage->agent = fds[1];
    cr_assert(link_init(&stage->link, &stage->loop, fds[0], kind, on_message, on_gone, stage, &err),
              "%s", err.text);
}

static void stage_cleanup(struct stage *stage)
{
    link_close(&stage->link);
    loop_end(&stage->loop);
    close(stage->agent);
}

static void agent_sends_result(struct stage *stage, uint64_t id)
{
    Tabard__V1__SignResult result = TABARD__V1__SIGN_RESULT__INIT;
    Tabard__V1__ToProxy message = TABARD__V1__TO_PROXY__INIT;
    result.id = id;
    message.kind_case = TABARD__V1__TO_PROXY__KIND_SIGN_RESULT;
    message.sign_result = &result;
    frames_send(stage->agent, &message.base);
}

// Sends a request with `len` bytes to be signed.
static bool request(struct stage *stage, uint64_t id, size_t len)
{
    uint8_t *input = calloc(1, len);
    Tabard__V1__SignRequest body = TABARD__V1__SIGN_REQUEST__INIT;
    Tabard__V1__FromProxy message = TABARD__V1__FROM_PROXY__INIT;
    body.id = id;
    body.input = (ProtobufCBinaryData){.data = input, .len = len};
    message.kind_case = TABARD__V1__FROM_PROXY__KIND_SIGN_REQUEST;
    message.sign_request = &body;
    bool ok = link_send(&stage->link, &message);
    free(input);
    return ok;
}

// The id of the request that the agent finds on its socket.
static uint64_t agent_reads(struct stage *stage)
{
    Tabard__V1__FromProxy *message =
        frames_receive(stage->agent, &tabard__v1__from_proxy__descriptor);
    cr_assert(message->kind_case == TABARD__V1__FROM_PROXY__KIND_SIGN_REQUEST);
    uint64_t id = message->sign_request->id;
    tabard__v1__from_proxy__free_unpacked(message, NULL);
    return id;
}

Test(link, messages_cross_in_both_directions, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage, LINK_SIGN);
    cr_assert(request(&stage, 7, 130) && request(&stage, 8, 130));
    uv_run(&stage.loop, UV_RUN_NOWAIT);
    cr_expect(agent_reads(&stage) == 7);
    cr_expect(agent_reads(&stage) == 8);
    agent_sends_result(&stage, 7);
    agent_sends_result(&stage, 8);
    cr_assert(run_until(&stage, stage.num_messages == 2, WAIT_MS));
    cr_expect(stage.last_id == 8 && stage.num_gone == 0);
    stage_cleanup(&stage);
}

// What an agent may do that ends a link.
static const struct {
    const char *name;
    const char *bytes;
    size_t len;
} breaks[] = {
    {"the end", "", 0},
    {"no ToProxy", "\0\0\0\4\xff\xff\xff\xff", 8},
    {"a frame over 64 KiB", "\0\1\0\1", 4},
};

Test(link, an_agent_that_goes_or_breaks_the_protocol_is_gone_once, .timeout = 20)
{
    for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++) {
        struct stage stage;
        stage_init(&stage, LINK_SIGN);
        frames_send_bytes(stage.agent, breaks[i].bytes, breaks[i].len);
        if (breaks[i].len == 0) {
            shutdown(stage.agent, SHUT_WR);
        }
        cr_assert(run_until(&stage, stage.num_gone > 0, WAIT_MS), "%s", breaks[i].name);
        cr_expect(!request(&stage, 1, 1), "%s", breaks[i].name);
        run_until(&stage, false, 10);
        cr_expect(stage.num_gone == 1 && stage.num_messages == 0, "%s", breaks[i].name);
        stage_cleanup(&stage);
    }
}

Test(link, a_snapshot_may_be_longer_than_a_signature, .timeout = 20)
{
    struct stage stage;
    static const uint8_t prefix[] = {0, 1, 0, 1};
    stage_init(&stage, LINK_CONTROL);
    frames_send_bytes(stage.agent, prefix, sizeof prefix);
    run_until(&stage, false, 10);
    cr_expect(stage.num_gone == 0);
    stage_cleanup(&stage);
}

Test(link, what_the_agent_would_not_take_is_left_out, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage, LINK_SIGN);
    cr_expect(!request(&stage, 1, CONTRACT_SIGN_BYTES_MAX));
    cr_expect(stage.num_gone == 0);
    cr_expect(request(&stage, 2, 100));
    uv_run(&stage.loop, UV_RUN_NOWAIT);
    cr_expect(agent_reads(&stage) == 2);
    stage_cleanup(&stage);
}

Test(link, an_agent_that_reads_nothing_is_gone, .timeout = 20)
{
    struct stage stage;
    size_t num_bytes = 0;
    stage_init(&stage, LINK_SIGN);
    while (request(&stage, 1, 60000)) {
        num_bytes += 60000;
        cr_assert(num_bytes <= LINK_UNSENT_BYTES_MAX + (1u << 20), "more than the socket holds");
        uv_run(&stage.loop, UV_RUN_NOWAIT);
    }
    cr_expect(stage.num_gone == 1 && num_bytes > LINK_UNSENT_BYTES_MAX / 2);
    cr_expect(!request(&stage, 1, 1) && stage.num_gone == 1);
    stage_cleanup(&stage);
}
