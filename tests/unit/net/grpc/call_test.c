// SPDX-License-Identifier: Apache-2.0
//
// Our client and our server in one loop: over a Unix socket, and the same under mutual TLS.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/net/grpc/rig.h"

TestSuite(call, .timeout = 60);

Test(call, a_unary_call_comes_back_with_its_message_and_ok)
{
    RIG_EACH_TRANSPORT(has_tls)
    {
        struct rig rig = {.num_ready = 0};
        struct seen seen = {.num_ends = 0};
        rig_start_usual(&rig, has_tls);
        rig_unary(&rig, "Unary", "hello", 5, &seen);
        cr_assert(rig_wait(&rig, &seen.num_ends, 1));
        cr_expect_eq(seen.status.code, GRPC_OK, "%s", seen.message);
        cr_expect_eq(seen.num_messages, 1);
        cr_expect_arr_eq(seen.last, "hello", 5);
        cr_expect_eq(rig.num_ready, 1);
        cr_expect_eq(rig.echo.num_ended, 1);
        cr_expect_eq(rig.echo.last_code, GRPC_OK);
        rig_stop(&rig);
        cr_expect_eq(seen.num_ends, 1, "the end comes once");
    }
}

Test(call, messages_far_over_the_default_window_flow)
{
    RIG_EACH_TRANSPORT(has_tls)
    {
        struct rig rig = {.num_ready = 0};
        struct seen seen = {.num_ends = 0};
        size_t len = (4u << 20) - 64;
        uint8_t *bytes = calloc(1, len);
        rig_start_usual(&rig, has_tls);
        rig_unary(&rig, "Unary", bytes, len, &seen);
        cr_assert(rig_wait(&rig, &seen.num_ends, 1));
        cr_expect_eq(seen.status.code, GRPC_OK, "%s", seen.message);
        cr_expect_eq(seen.last_len, len);
        rig_stop(&rig);
        free(bytes);
    }
}

Test(call, a_paused_call_holds_back_its_sender_and_nobody_else)
{
    RIG_EACH_TRANSPORT(has_tls)
    {
        struct rig rig = {.num_ready = 0};
        struct seen slow = {.pauses_each = true};
        struct seen other = {.num_ends = 0};
        rig_start_usual(&rig, has_tls);
        rig_unary(&rig, "Numbers", rig_ask(100, 100000), 8, &slow);
        cr_assert(rig_wait(&rig, &slow.num_messages, 1));
        rig_settle(&rig);
        cr_expect_eq(slow.num_messages, 1, "a message came through the pause");
        // A window of 1 MiB and a queue of as much, and what the sockets hold.
        cr_expect_lt(rig.echo.num_sent, 35, "%u messages of 100 KB went to a reader that stopped",
                     rig.echo.num_sent);
        for (int i = 0; i < 5; i++) {
            rig_unary(&rig, "Unary", "next to it", 10, &other);
            cr_assert(rig_wait(&rig, &other.num_ends, (unsigned)i + 1));
            cr_expect_eq(other.status.code, GRPC_OK);
        }
        for (unsigned i = 2; i <= 50; i++) {
            grpc_call_resume(slow.call);
            cr_assert(rig_wait(&rig, &slow.num_messages, i));
        }
        slow.pauses_each = false;
        grpc_call_resume(slow.call);
        cr_assert(rig_wait(&rig, &slow.num_ends, 1));
        cr_expect_eq(slow.status.code, GRPC_OK, "%s", slow.message);
        cr_expect_eq(slow.num_messages, 100);
        rig_stop(&rig);
    }
}

Test(call, an_end_waits_behind_the_messages_of_a_paused_call)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.pauses_each = true};
    rig_start_usual(&rig, false);
    rig_unary(&rig, "Numbers", rig_ask(3, 10), 8, &seen);
    for (unsigned i = 1; i <= 3; i++) {
        cr_assert(rig_wait(&rig, &seen.num_messages, i));
        rig_settle(&rig);
        cr_expect_eq(seen.num_messages, i);
        cr_expect_eq(seen.num_ends, i < 3 ? 0 : 1);
        if (seen.call != NULL) {
            grpc_call_resume(seen.call);
        }
    }
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_OK);
    rig_stop(&rig);
}

Test(call, a_chat_goes_on_after_silences_and_ends_with_the_half_close)
{
    RIG_EACH_TRANSPORT(has_tls)
    {
        struct rig rig = {.num_ready = 0};
        struct seen seen = {.num_ends = 0};
        rig_start_usual(&rig, has_tls);
        struct grpc_call *call = rig_call(&rig, "Chat", &seen);
        for (unsigned i = 1; i <= 20; i++) {
            cr_assert(grpc_call_send(call, (const uint8_t *)"ping", 4, NULL));
            cr_assert(rig_wait(&rig, &seen.num_messages, i));
            rig_settle(&rig); // both sides are deferred now
        }
        cr_expect_eq(seen.num_ends, 0);
        grpc_call_half_close(call);
        cr_expect_not(grpc_call_send(call, NULL, 0, NULL), "sent after the half-close");
        cr_assert(rig_wait(&rig, &seen.num_ends, 1));
        cr_expect_eq(seen.status.code, GRPC_OK);
        rig_stop(&rig);
    }
}

Test(call, what_waits_to_be_sent_has_a_limit_and_its_end_is_told)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct grpc_limits limits = grpc_limits_default();
    struct err err = {{0}, {0}};
    limits.send_queue_bytes_max = 1000;
    rig_start(&rig, false, &limits, &limits);
    struct grpc_call *call = rig_call(&rig, "Chat", &seen);
    uint8_t bytes[600] = {0};
    cr_expect(grpc_call_send(call, bytes, sizeof bytes, NULL));
    cr_expect(grpc_call_can_send(call));
    cr_expect(grpc_call_send(call, bytes, sizeof bytes, NULL));
    cr_expect_not(grpc_call_can_send(call));
    cr_expect_not(grpc_call_send(call, bytes, sizeof bytes, &err));
    cr_expect_not_null(strstr(err.text, "send_queue_bytes_max"), "%s", err.text);
    cr_assert(rig_wait(&rig, &seen.num_drained, 1));
    cr_expect(grpc_call_can_send(call));
    cr_assert(rig_wait(&rig, &seen.num_messages, 2));
    rig_stop(&rig);
    cr_expect_eq(seen.status.code, GRPC_CANCELLED);
    cr_expect_str_eq(seen.message, "the channel was closed");
}

Test(call, a_cancel_is_told_to_both_sides)
{
    RIG_EACH_TRANSPORT(has_tls)
    {
        struct rig rig = {.num_ready = 0};
        struct seen seen = {.num_ends = 0};
        rig_start_usual(&rig, has_tls);
        rig_unary(&rig, "Hold", "x", 1, &seen);
        cr_assert(rig_wait(&rig, &rig.echo.num_half_closed, 1));
        grpc_call_cancel(seen.call);
        cr_expect_eq(seen.num_ends, 0, "an end came from inside cancel");
        cr_assert(rig_wait(&rig, &rig.echo.num_ended, 1));
        cr_expect_eq(rig.echo.last_code, GRPC_CANCELLED);
        cr_expect_str_eq(rig.echo.last_message, "the client reset the call: CANCEL");
        cr_assert(rig_wait(&rig, &seen.num_ends, 1));
        cr_expect_eq(seen.status.code, GRPC_CANCELLED);
        cr_expect(seen.status.is_local);
        rig_unary(&rig, "Unary", "and on", 6, &seen);
        cr_assert(rig_wait(&rig, &seen.num_ends, 2));
        cr_expect_eq(seen.status.code, GRPC_OK);
        rig_stop(&rig);
    }
}

Test(call, a_call_that_is_cancelled_before_it_was_sent_is_never_seen_by_the_server)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    rig_start_usual(&rig, false);
    rig_unary(&rig, "Hold", "x", 1, &seen); // the channel still connects
    grpc_call_cancel(seen.call);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_assert(rig_wait(&rig, &rig.num_ready, 1));
    rig_settle(&rig);
    cr_expect_eq(rig.echo.num_started, 0);
    rig_stop(&rig);
}

Test(call, a_callback_may_cancel_its_call)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.cancels_first = true};
    rig_start_usual(&rig, false);
    rig_unary(&rig, "Numbers", rig_ask(1000, 1000), 8, &seen);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_CANCELLED);
    cr_expect_eq(seen.num_messages, 1, "a message came after the cancel");
    cr_assert(rig_wait(&rig, &rig.echo.num_ended, 1));
    rig_stop(&rig);
}

Test(call, a_callback_may_free_the_channel)
{
    RIG_EACH_TRANSPORT(has_tls)
    {
        struct rig rig = {.num_ready = 0};
        struct seen other = {.num_ends = 0};
        rig_start_usual(&rig, has_tls);
        rig_unary(&rig, "Hold", "x", 1, &other);
        struct seen seen = {.frees = &rig.channel};
        rig_unary(&rig, "Numbers", rig_ask(1000, 1000), 8, &seen);
        cr_assert(rig_wait(&rig, &seen.num_ends, 1));
        cr_expect_eq(seen.num_messages, 1);
        cr_expect_eq(other.num_ends, 1, "every call has its end");
        cr_assert(rig_wait(&rig, &rig.echo.num_ended, 2));
        cr_expect_eq(rig.num_down, 0, "a channel that is freed says no more");
        rig_stop(&rig);
    }
}

Test(call, the_clients_deadline_ends_both_sides)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    rig_start_usual(&rig, false);
    const struct grpc_call_start start = {
        .path = "/echo.Echo/Hold", .deadline_ms = 30, .hooks = &seen_hooks, .ctx = &seen};
    rig_start_unary(&rig, &start);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_DEADLINE_EXCEEDED);
    cr_assert(rig_wait(&rig, &rig.echo.num_ended, 1));
    rig_stop(&rig);
}

Test(call, a_message_over_the_cap_ends_the_call_on_either_side_by_the_limits_name)
{
    for (int side = 0; side < 2; side++) {
        struct rig rig = {.num_ready = 0};
        struct seen seen = {.num_ends = 0};
        struct grpc_limits small = grpc_limits_default();
        struct grpc_limits large = grpc_limits_default();
        small.message_bytes_max = 100;
        rig_start(&rig, false, side == 0 ? &small : &large, side == 0 ? &large : &small);
        uint8_t bytes[101] = {0};
        rig_unary(&rig, "Unary", bytes, 100, &seen);
        cr_assert(rig_wait(&rig, &seen.num_ends, 1));
        cr_expect_eq(seen.status.code, GRPC_OK, "the cap itself is fine");
        rig_unary(&rig, "Unary", bytes, 101, &seen);
        cr_assert(rig_wait(&rig, &seen.num_ends, 2));
        cr_expect_eq(seen.status.code, GRPC_RESOURCE_EXHAUSTED);
        cr_expect_str_eq(seen.message,
                         "a message of 101 bytes is over the limit message_bytes_max (100)");
        cr_expect_eq(seen.status.is_local, side == 1);
        if (side == 0) {
            cr_expect_eq(grpc_server_stats(rig.server)->bites.num[GRPC_LIMIT_message_bytes_max], 1);
        }
        rig_stop(&rig);
    }
}

Test(call, an_unknown_method_is_unimplemented_and_a_path_without_slash_is_refused_here)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct err err = {{0}, {0}};
    rig_start_usual(&rig, false);
    rig_unary(&rig, "Nothing", "x", 1, &seen);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_UNIMPLEMENTED);
    const struct grpc_call_start start = {
        .path = "echo.Echo/Unary", .hooks = &seen_hooks, .ctx = &seen};
    cr_expect_null(grpc_channel_call(rig.channel, &start, &err));
    cr_expect_not_null(strstr(err.text, "leading slash"), "%s", err.text);
    rig_stop(&rig);
}
