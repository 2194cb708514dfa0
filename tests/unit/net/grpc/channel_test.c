// SPDX-License-Identifier: Apache-2.0
//
// Connections coming and going: shutdown, reconnect, refused peers, keepalive.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/net/grpc/rig.h"

TestSuite(channel, .timeout = 60);

Test(channel, a_server_that_is_freed_ends_its_calls_and_the_client_hears_it)
{
    RIG_EACH_TRANSPORT(has_tls)
    {
        struct rig rig = {.num_ready = 0};
        struct seen seen = {.num_ends = 0};
        rig_start_usual(&rig, has_tls);
        rig_unary(&rig, "Hold", "x", 1, &seen);
        cr_assert(rig_wait(&rig, &rig.echo.num_half_closed, 1));
        grpc_server_free(rig.server);
        rig.server = NULL;
        cr_expect_eq(rig.echo.num_ended, 1, "on_end is called inside free");
        cr_expect_eq(rig.echo.last_code, GRPC_UNAVAILABLE);
        cr_assert(rig_wait(&rig, &seen.num_ends, 1));
        cr_expect_eq(seen.status.code, GRPC_UNAVAILABLE, "%s", seen.message);
        cr_assert(rig_wait(&rig, &rig.num_down, 1));
        rig_settle(&rig);
        cr_expect_eq(rig.num_down, 1, "down is told once");
        rig_stop(&rig);
    }
}

static bool *shut_flag;

static void on_shut(void *ctx)
{
    (void)ctx;
    *shut_flag = true;
}

Test(channel, a_shutdown_lets_calls_finish_takes_no_new_ones_and_then_is_done)
{
    RIG_EACH_TRANSPORT(has_tls)
    {
        struct rig rig = {.num_ready = 0};
        struct seen seen = {.num_ends = 0};
        struct err err = {{0}, {0}};
        rig_start_usual(&rig, has_tls);
        struct grpc_call *call = rig_call(&rig, "Chat", &seen);
        cr_assert(grpc_call_send(call, (const uint8_t *)"one", 3, NULL));
        cr_assert(rig_wait(&rig, &seen.num_messages, 1));
        shut_flag = &rig.is_shut;
        grpc_server_shutdown(rig.server, 10000, on_shut, NULL);
        cr_assert(rig_wait(&rig, &rig.num_down, 1), "GOAWAY did not take the channel down");
        cr_expect_eq(seen.num_ends, 0);
        const struct grpc_call_start start_late = {
            .path = "/echo.Echo/Unary", .hooks = &seen_hooks, .ctx = &seen};
        cr_expect_null(grpc_channel_call(rig.channel, &start_late, &err));
        cr_expect_str_eq(err.text, "the channel isn't connected");
        cr_assert(grpc_call_send(call, (const uint8_t *)"two", 3, NULL));
        grpc_call_half_close(call);
        cr_assert(rig_wait(&rig, &seen.num_ends, 1));
        cr_expect_eq(seen.status.code, GRPC_OK, "%s", seen.message);
        cr_expect_eq(seen.num_messages, 2);
        cr_assert(rig_wait(&rig, &rig.num_disconnects, 1));
        rig_settle(&rig);
        cr_expect(rig.is_shut);
        rig_stop(&rig);
    }
}

Test(channel, a_shutdown_ends_what_outlives_its_grace)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    rig_start_usual(&rig, false);
    rig_unary(&rig, "Hold", "x", 1, &seen);
    cr_assert(rig_wait(&rig, &rig.echo.num_half_closed, 1));
    shut_flag = &rig.is_shut;
    grpc_server_shutdown(rig.server, 20, on_shut, NULL);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_UNAVAILABLE);
    cr_expect_eq(rig.echo.last_code, GRPC_UNAVAILABLE);
    cr_expect(rig.is_shut);
    rig_stop(&rig);
}

Test(channel, the_channel_reconnects_by_path_to_a_server_in_anothers_place)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct grpc_limits limits = grpc_limits_default();
    struct err err = {{0}, {0}};
    rig_start_usual(&rig, false);
    cr_assert(rig_wait(&rig, &rig.num_ready, 1));
    grpc_server_free(rig.server);
    cr_assert(rig_wait(&rig, &rig.num_down, 1));
    rig_serve(&rig, &limits); // a new inode at the same path
    cr_assert(grpc_channel_connect(rig.channel, &err), "%s", err.text);
    rig_unary(&rig, "Unary", "again", 5, &seen);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_OK);
    cr_expect_eq(rig.num_ready, 2);
    rig_stop(&rig);
}

Test(channel, a_socket_where_nobody_listens_takes_the_channel_down_and_its_calls_with_it)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct grpc_limits limits = grpc_limits_default();
    rig_start(&rig, false, NULL, &limits);
    rig_unary(&rig, "Unary", "x", 1, &seen);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_UNAVAILABLE);
    cr_expect(seen.status.is_unprocessed, "nobody has seen it: it may be tried again");
    cr_expect_eq(rig.num_down, 1);
    cr_expect_not_null(strstr(rig.down_why, "no such file"), "%s", rig.down_why);
    rig_stop(&rig);
}

Test(channel, a_path_too_long_for_a_socket_is_refused_and_not_cut)
{
    char path[200];
    struct err err = {{0}, {0}};
    uv_loop_t loop;
    uv_loop_init(&loop);
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    const struct grpc_channel_config config = {
        .loop = &loop, .target = {.unix_path = path}, .limits = grpc_limits_default()};
    struct grpc_channel *channel = grpc_channel_new(&config, &err);
    cr_assert_not_null(channel);
    cr_expect_not(grpc_channel_connect(channel, &err));
    cr_expect_str_eq(err.text, "the socket's path has 199 bytes; 1 to 107 are possible");
    grpc_channel_free(channel);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(&loop), 0);
}

Test(channel, both_sides_learn_the_unix_credentials_of_the_other_and_may_refuse)
{
    for (int refuser = 0; refuser < 3; refuser++) {
        struct rig rig = {.server_refuses = refuser == 1, .client_refuses = refuser == 2};
        struct seen seen = {.num_ends = 0};
        rig_start_usual(&rig, false);
        rig_unary(&rig, "Unary", "x", 1, &seen);
        cr_assert(rig_wait(&rig, &seen.num_ends, 1));
        cr_expect(rig.peer.is_unix);
        cr_expect_eq(rig.peer.pid, getpid());
        cr_expect_eq(rig.peer.uid, getuid());
        cr_expect_eq(rig.peer.gid, getgid());
        cr_expect_null(rig.peer.ssl);
        cr_expect_eq(seen.status.code, refuser == 0 ? GRPC_OK : GRPC_UNAVAILABLE);
        if (refuser > 0) {
            cr_expect_eq(rig.echo.num_started, 0);
            cr_assert(rig_wait(&rig, &rig.num_down, 1));
        }
        if (refuser == 1) {
            cr_assert(rig_wait(&rig, &rig.num_disconnects, 1));
            cr_expect_str_eq(rig.disconnect_why,
                             "the peer is refused: the test's server wants nobody");
        } else if (refuser == 2) {
            cr_expect_str_eq(rig.down_why, "the peer is refused: the test's client wants nobody");
        }
        rig_stop(&rig);
    }
}

Test(channel, a_keepalive_that_servers_dont_bear_is_refused)
{
    struct grpc_limits limits = grpc_limits_default();
    struct err err = {{0}, {0}};
    limits.h2.keepalive_ms = 10000;
    const struct grpc_channel_config config = {.target = {.unix_path = "/x"}, .limits = limits};
    cr_expect_null(grpc_channel_new(&config, &err));
    cr_expect_not_null(strstr(err.text, "keepalive_ms"), "%s", err.text);
}

Test(channel, a_servers_keepalive_is_answered_and_a_silent_connection_lives)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct grpc_limits limits = grpc_limits_default();
    struct grpc_limits pinging = limits;
    pinging.h2.keepalive_ms = 5;
    pinging.h2.keepalive_answer_ms = 5000;
    rig_start(&rig, false, &pinging, &limits);
    const struct grpc_call_start start = {
        .path = "/echo.Echo/Hold", .deadline_ms = 100, .hooks = &seen_hooks, .ctx = &seen};
    rig_start_unary(&rig, &start);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_DEADLINE_EXCEEDED, "%s", seen.message);
    cr_expect_eq(rig.num_disconnects, 0);
    rig_stop(&rig);
}

Test(channel, more_connections_than_the_limit_are_closed_at_once)
{
    struct rig rig = {.num_ready = 0};
    struct grpc_limits limits = grpc_limits_default();
    limits.connections_max = 1;
    rig_start(&rig, false, &limits, &limits);
    cr_assert(rig_wait(&rig, &rig.num_ready, 1));
    struct grpc_channel *first = rig.channel;
    rig_dial(&rig, &limits);
    cr_assert(rig_wait(&rig, &rig.num_down, 1));
    cr_expect_eq(grpc_server_stats(rig.server)->num_refused, 1);
    cr_expect_eq(grpc_server_stats(rig.server)->bites.num[GRPC_LIMIT_connections_max], 1);
    grpc_channel_free(first);
    cr_assert(rig_wait(&rig, &rig.num_disconnects, 1));
    cr_assert(grpc_channel_connect(rig.channel, NULL));
    cr_assert(rig_wait(&rig, &rig.num_ready, 2), "the place is free again");
    rig_stop(&rig);
}
