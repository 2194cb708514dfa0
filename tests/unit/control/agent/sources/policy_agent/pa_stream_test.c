// SPDX-License-Identifier: Apache-2.0
//
// The stream to a policy agent that the test plays. Over TCP, and with certificates, it is tested
// end to end.
#include "control/agent/sources/policy_agent/pa_stream.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "net/grpc/client.h"
#include "tests/unit/control/agent/sources/policy_agent/pa_peer.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

TestSuite(pa_stream, .init = temp_set_up, .fini = temp_tear_down, .timeout = 30);

struct stage {
    uv_loop_t loop;
    struct pa_peer peer;
    struct pa_stream *stream;
    char path[128];
    unsigned num_messages;
    unsigned num_leaving;
    unsigned num_ends;
    char why[1024];
};

static void on_message(void *ctx, const uint8_t *bytes, size_t len)
{
    struct stage *stage = ctx;
    (void)bytes;
    (void)len;
    stage->num_messages++;
}

static void on_leaving(void *ctx)
{
    ((struct stage *)ctx)->num_leaving++;
}

static void on_end(void *ctx, const char *why)
{
    struct stage *stage = ctx;
    stage->num_ends++;
    snprintf(stage->why, sizeof stage->why, "%s", why);
}

static void start(struct stage *stage)
{
    struct err err = {{0}, {0}};
    *stage = (struct stage){.num_ends = 0};
    cr_assert_eq(uv_loop_init(&stage->loop), 0);
    snprintf(stage->path, sizeof stage->path, "%s/pa.sock", temp_folder);
    pa_peer_start(&stage->peer, &stage->loop, stage->path);
    struct pa_access access = {.unix_path = stage->path};
    stage->stream = pa_stream_new(
        &stage->loop, &access,
        &(struct pa_stream_hooks){
            .ctx = stage, .on_message = on_message, .on_leaving = on_leaving, .on_end = on_end},
        &err);
    cr_assert_not_null(stage->stream, "%s", err.text);
}

static void open_stream(struct stage *stage)
{
    struct err err = {{0}, {0}};
    cr_assert(pa_stream_open(stage->stream, NULL, NULL, &err), "%s", err.text);
    cr_assert_not_null(pa_stream_call(stage->stream));
    cr_assert(run_until(stage, stage->peer.call != NULL, 5000));
}

static void stop(struct stage *stage)
{
    pa_stream_free(stage->stream);
    pa_peer_stop(&stage->peer);
    loop_end(&stage->loop);
}

static void say(struct stage *stage)
{
    Tabard__V1__SubscribeResponse response = TABARD__V1__SUBSCRIBE_RESPONSE__INIT;
    response.nonce = (char *)"n";
    pa_peer_say(&stage->peer, &response);
}

Test(pa_stream, messages_go_both_ways_and_wait_while_the_call_is_paused)
{
    struct stage stage;
    start(&stage);
    open_stream(&stage);
    uint8_t request[] = {0x10, 0x07}; // version_in_force: 7
    cr_assert(grpc_call_send(pa_stream_call(stage.stream), request, sizeof request, NULL));
    cr_expect(run_until(&stage, stage.peer.num_requests == 1, 5000));
    cr_expect_eq(stage.peer.first->version_in_force, 7);
    say(&stage);
    cr_expect(run_until(&stage, stage.num_messages == 1, 5000));
    grpc_call_pause(pa_stream_call(stage.stream));
    say(&stage);
    cr_expect_not(run_until(&stage, stage.num_messages == 2, 100));
    grpc_call_resume(pa_stream_call(stage.stream));
    cr_expect(run_until(&stage, stage.num_messages == 2, 5000));
    stop(&stage);
}

Test(pa_stream, an_end_is_told_in_the_server_s_words_and_leaves_no_call)
{
    struct stage stage;
    start(&stage);
    open_stream(&stage);
    grpc_call_finish(stage.peer.call, GRPC_PERMISSION_DENIED, "who are you?");
    cr_expect(run_until(&stage, stage.num_ends == 1, 5000));
    cr_expect_str_eq(stage.why, "PERMISSION_DENIED: who are you?");
    cr_expect_null(pa_stream_call(stage.stream));
    open_stream(&stage);
    cr_expect_eq(stage.peer.num_streams, 2);
    stop(&stage);
    cr_expect_eq(stage.num_ends, 1, "no hook is called by the end that we make");
}

Test(pa_stream, a_server_that_goes_says_so_before_the_stream_ends)
{
    struct stage stage;
    start(&stage);
    open_stream(&stage);
    grpc_server_shutdown(stage.peer.server, 5000, NULL, NULL);
    cr_expect(run_until(&stage, stage.num_leaving == 1, 5000));
    cr_expect_eq(stage.num_ends, 0);
    say(&stage);
    cr_expect(run_until(&stage, stage.num_messages == 1, 5000), "it may still say something");
    pa_stream_close(stage.stream);
    cr_expect_null(pa_stream_call(stage.stream));
    cr_expect(run_until(&stage, stage.peer.call == NULL, 5000), "the server is told");
    cr_expect_eq(stage.num_ends, 0, "we know that we closed it");
    stop(&stage);
}

Test(pa_stream, without_anybody_at_the_socket_the_end_says_so)
{
    struct stage stage;
    struct err err = {{0}, {0}};
    start(&stage);
    pa_peer_stop(&stage.peer);
    if (pa_stream_open(stage.stream, NULL, NULL, &err)) {
        cr_expect(run_until(&stage, stage.num_ends == 1, 5000));
    } else {
        snprintf(stage.why, sizeof stage.why, "%s", err.text);
    }
    cr_expect(strstr(stage.why, "refused") != NULL || strstr(stage.why, "no such file") != NULL,
              "%s", stage.why);
    stop(&stage);
}
