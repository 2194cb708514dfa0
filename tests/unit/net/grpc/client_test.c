// SPDX-License-Identifier: Apache-2.0
//
// Our client against servers without manners, frame by frame.
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/net/grpc/raw.h"

TestSuite(client, .timeout = 60);

static struct raw raw; // large

Test(client, the_request_is_what_the_protocol_wants)
{
    static const char *const wanted[][2] = {
        {":method", "POST"},         {":scheme", "http"}, {":path", "/echo.Echo/Unary"},
        {":authority", "localhost"}, {"te", "trailers"},  {"content-type", "application/grpc"},
    };
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    rig_unary(&rig, "Unary", "", 0, &seen);
    struct raw_frame frame;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        nghttp2_hd_inflater *inflater = NULL;
        cr_assert(nghttp2_hd_inflate_new(&inflater) == 0);
        raw.at = strlen(RAW_MAGIC); // read it all once more, with a fresh table
        cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, 1, &frame));
        cr_expect(raw_holds(&frame, inflater, wanted[i][0], wanted[i][1], NULL, NULL), "%s",
                  wanted[i][0]);
        nghttp2_hd_inflate_del(inflater);
    }
    cr_assert(raw_expect(&raw, NGHTTP2_DATA, 1, &frame));
    cr_expect_eq(frame.len, 5, "an empty message is five zeroes");
    cr_expect_arr_eq(frame.payload, "\0\0\0\0\0", 5);
    if (!(frame.flags & NGHTTP2_FLAG_END_STREAM)) {
        cr_expect(raw_expect(&raw, NGHTTP2_DATA, 1, &frame) &&
                  (frame.flags & NGHTTP2_FLAG_END_STREAM));
    }
    raw_stop(&raw, &rig);
}

Test(client, a_message_in_frames_of_one_byte_is_one_message)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    rig_unary(&rig, "Unary", "x", 1, &seen);
    raw_response(&raw, 1);
    for (size_t i = 0; i < 10; i++) {
        raw_frame(&raw, NGHTTP2_DATA, 0, 1, &"\0\0\0\0\5hello"[i], 1);
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    }
    raw_trailers(&raw, 1, "0", NULL);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.num_messages, 1);
    cr_expect_arr_eq(seen.last, "hello", 5);
    raw_stop(&raw, &rig);
}

Test(client, a_cancel_resets_the_stream_with_cancel)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct raw_frame frame;
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    rig_call(&rig, "Chat", &seen);
    cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, 1, &frame));
    grpc_call_cancel(seen.call);
    cr_assert(raw_expect(&raw, NGHTTP2_RST_STREAM, 1, &frame));
    cr_expect_eq(raw_u32(frame.payload), NGHTTP2_CANCEL);
    raw_response(&raw, 1); // crossing it on the way
    raw_message(&raw, 0, 1, "late");
    raw_trailers(&raw, 1, "0", NULL);
    rig_settle(&rig);
    cr_expect_eq(seen.status.code, GRPC_CANCELLED);
    cr_expect_eq(seen.num_messages, 0);
    cr_expect_eq(rig.num_down, 0, "%s", rig.down_why);
    raw_stop(&raw, &rig);
}

Test(client, an_answer_that_came_before_our_end_is_followed_by_a_reset_without_error)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct raw_frame frame;
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    rig_call(&rig, "Chat", &seen);
    cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, 1, &frame));
    raw_response(&raw, 1);
    raw_trailers(&raw, 1, "0", NULL);
    cr_assert(raw_expect(&raw, NGHTTP2_RST_STREAM, 1, &frame));
    cr_expect_eq(raw_u32(frame.payload), NGHTTP2_NO_ERROR);
    cr_expect_eq(seen.status.code, GRPC_OK);
    raw_stop(&raw, &rig);
}

Test(client, of_two_goaways_the_second_says_which_calls_were_not_seen)
{
    struct rig rig = {.num_ready = 0};
    struct seen first = {.num_ends = 0};
    struct seen second = {.num_ends = 0};
    struct err err = {{0}, {0}};
    struct raw_frame frame;
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    rig_unary(&rig, "Unary", "x", 1, &first);
    rig_unary(&rig, "Unary", "x", 1, &second);
    cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, 3, &frame));
    raw_goaway(&raw, 0x7fffffff, NGHTTP2_NO_ERROR, "");
    cr_assert(rig_wait(&rig, &rig.num_down, 1));
    cr_expect_str_eq(rig.down_why, "the server is shutting down (GOAWAY)");
    cr_expect_eq(second.num_ends, 0, "it may be answered still");
    raw_goaway(&raw, 1, NGHTTP2_NO_ERROR, "");
    cr_assert(rig_wait(&rig, &second.num_ends, 1));
    cr_expect_eq(second.status.code, GRPC_UNAVAILABLE);
    cr_expect(second.status.is_unprocessed);
    cr_expect_eq(first.num_ends, 0);
    const struct grpc_call_start late = {
        .path = "/echo.Echo/Unary", .hooks = &seen_hooks, .ctx = &second};
    cr_expect_null(grpc_channel_call(rig.channel, &late, &err));
    raw_response(&raw, 1);
    raw_message(&raw, 0, 1, "x");
    raw_trailers(&raw, 1, "0", NULL);
    cr_assert(rig_wait(&rig, &first.num_ends, 1));
    cr_expect_eq(first.status.code, GRPC_OK);
    cr_expect(raw_at_end(&raw), "then the connection is closed");
    cr_expect_eq(rig.num_down, 1, "down is told once");
    raw_stop(&raw, &rig);
}

Test(client, a_server_that_says_goaway_each_time_does_not_pile_up_connections)
{
    static struct raw old[8];
    struct rig rig = {.num_ready = 0};
    struct seen seen[8] = {{.num_ends = 0}};
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    for (unsigned i = 0; i < 8; i++) {
        struct raw_frame frame;
        rig_unary(&rig, "Hold", "x", 1, &seen[i]);
        cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, 1, &frame));
        raw_goaway(&raw, 1, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings\n");
        cr_assert(rig_wait(&rig, &rig.num_down, i + 1));
        cr_expect_str_eq(rig.down_why, "the peer sent GOAWAY ENHANCE_YOUR_CALM too_many_pings?");
        old[i] = raw;
        cr_assert(grpc_channel_connect(rig.channel, NULL));
        raw_accept(&raw, NULL, 0);
        cr_assert(rig_wait(&rig, &rig.num_ready, i + 2));
    }
    unsigned num_ended = 0;
    for (unsigned i = 0; i < 8; i++) {
        num_ended += seen[i].num_ends;
    }
    cr_expect_eq(num_ended, 8 - (GRPC_CHANNEL_DRAINING_MAX - 1));
    cr_expect_eq(seen[0].status.code, GRPC_UNAVAILABLE);
    for (unsigned i = 0; i < 8; i++) {
        close(old[i].fd);
    }
    raw_stop(&raw, &rig);
}

Test(client, pings_are_answered_and_none_are_sent)
{
    struct rig rig = {.num_ready = 0};
    struct raw_frame frame;
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    raw_frame(&raw, NGHTTP2_PING, 0, 0, "abcdefgh", 8);
    cr_assert(raw_expect(&raw, NGHTTP2_PING, 0, &frame));
    cr_expect(frame.flags & NGHTTP2_FLAG_ACK);
    cr_expect_arr_eq(frame.payload, "abcdefgh", 8);
    raw_stop(&raw, &rig);
}

Test(client, the_servers_settings_are_obeyed_also_in_the_middle)
{
    // MAX_CONCURRENT_STREAMS 1, INITIAL_WINDOW_SIZE 10.
    static const uint8_t tight[] = {0, 3, 0, 0, 0, 1, 0, 4, 0, 0, 0, 10};
    static const uint8_t none[] = {0, 4, 0, 0, 0, 0};
    static const uint8_t wide[] = {0, 4, 0, 0, 1, 0};
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct seen second = {.num_ends = 0};
    struct raw_frame frame;
    raw_play_server(&raw, &rig, NULL, tight, sizeof tight);
    rig_unary(&rig, "Unary", "0123456789abcdef", 16, &seen);
    rig_unary(&rig, "Unary", "later", 5, &second);
    cr_assert(raw_expect(&raw, NGHTTP2_DATA, 1, &frame));
    cr_expect_eq(frame.len, 10, "the window");
    raw_frame(&raw, NGHTTP2_SETTINGS, 0, 0, none, sizeof none);    // the window is -10 now
    raw_frame(&raw, NGHTTP2_WINDOW_UPDATE, 0, 1, "\0\0\0\x0c", 4); // and 2 now
    cr_assert(raw_expect(&raw, NGHTTP2_DATA, 1, &frame));
    cr_expect_eq(frame.len, 2, "a window that was negative");
    raw_frame(&raw, NGHTTP2_SETTINGS, 0, 0, wide, sizeof wide);
    cr_assert(raw_expect(&raw, NGHTTP2_DATA, 1, &frame));
    cr_expect_eq(frame.len, 9);
    rig_settle(&rig);
    cr_expect_eq(raw.in_len, raw.at + 0, "the second call waits for the first");
    raw_response(&raw, 1);
    raw_message(&raw, 0, 1, "x");
    raw_trailers(&raw, 1, "0", NULL);
    cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, 3, &frame));
    cr_expect_eq(seen.status.code, GRPC_OK);
    raw_stop(&raw, &rig);
}

Test(client, the_window_is_given_back_as_messages_are_taken_and_not_before)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.pauses_each = true};
    struct grpc_limits limits = grpc_limits_default();
    struct raw_frame frame;
    limits.h2.window_bytes = 1000;
    raw_play_server(&raw, &rig, &limits, NULL, 0);
    rig_unary(&rig, "Chat", "x", 1, &seen);
    cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, 1, &frame));
    raw_response(&raw, 1);
    static const uint8_t message[500] = {0, 0, 0, 1, 0xef};
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, message, sizeof message);
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, message, sizeof message);
    cr_assert(rig_wait(&rig, &seen.num_messages, 1));
    cr_assert(raw_expect(&raw, NGHTTP2_WINDOW_UPDATE, 1, &frame));
    cr_expect_eq(raw_u32(frame.payload), 500, "what was taken, and no more");
    rig_settle(&rig);
    grpc_call_resume(seen.call);
    cr_assert(raw_expect(&raw, NGHTTP2_WINDOW_UPDATE, 1, &frame));
    cr_expect_eq(raw_u32(frame.payload), 500);
    cr_expect_eq(seen.num_messages, 2);
    raw_stop(&raw, &rig);
}

Test(client, headers_and_trailers_over_the_limit_end_the_call_by_the_limits_name)
{
    char large[1000];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    for (int in_trailers = 0; in_trailers < 2; in_trailers++) {
        struct rig rig = {.num_ready = 0};
        struct seen seen = {.num_ends = 0};
        struct grpc_limits limits = grpc_limits_default();
        limits.h2.header_bytes_max = 600;
        raw_play_server(&raw, &rig, &limits, NULL, 0);
        rig_unary(&rig, "Unary", "x", 1, &seen);
        const char *const response[] = {
            ":status", "200", "content-type", "application/grpc", in_trailers ? NULL : "x",
            large,     NULL};
        const char *const trailers[] = {"x", large, "grpc-status", "0", NULL};
        raw_headers(&raw, 0, 1, response);
        if (in_trailers) {
            raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1, trailers);
        }
        cr_assert(rig_wait(&rig, &seen.num_ends, 1));
        cr_expect_eq(seen.status.code, GRPC_RESOURCE_EXHAUSTED);
        cr_expect_not_null(strstr(seen.message, "header_bytes_max"), "%s", seen.message);
        raw_stop(&raw, &rig);
    }
}

Test(client, a_server_that_never_starts_http2_or_breaks_it_takes_the_channel_down)
{
    static const struct {
        const char *name;
        const char *bytes;
        size_t len;
        const char *why;
    } rows[] = {
        {"silence", "", 0, "open_ms"},
        {"HTTP/1.1", "HTTP/1.1 400 Bad Request\r\n\r\n", 28, "broke HTTP/2"},
        {"garbage after SETTINGS", "\0\0\0\4\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff", 18,
         "broke HTTP/2"},
        {"HEADERS of nobody's stream", "\0\0\0\4\0\0\0\0\0\0\0\1\1\4\0\0\0\2\x88", 19,
         "broke HTTP/2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig rig = {.num_ready = 0};
        struct seen seen = {.num_ends = 0};
        struct grpc_limits limits = grpc_limits_default();
        limits.h2.open_ms = 50;
        rig_start(&rig, false, NULL, NULL);
        raw = (struct raw){.fd = -1};
        raw_listen(&raw, &rig);
        rig_dial(&rig, &limits);
        rig_unary(&rig, "Hold", "x", 1, &seen);
        raw.fd = accept(raw.listener, NULL, NULL);
        raw_send(&raw, rows[i].bytes, rows[i].len);
        cr_assert(rig_wait(&rig, &rig.num_down, 1), "%s", rows[i].name);
        cr_expect_not_null(strstr(rig.down_why, rows[i].why), "%s: %s", rows[i].name, rig.down_why);
        cr_expect_eq(seen.num_ends, 1, "%s", rows[i].name);
        cr_expect_eq(seen.status.code, GRPC_UNAVAILABLE, "%s", rows[i].name);
        raw_stop(&raw, &rig);
    }
}

Test(client, a_server_that_pushes_takes_the_channel_down)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct raw_frame frame;
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    rig_unary(&rig, "Unary", "x", 1, &seen);
    cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, 1, &frame));
    raw_frame(&raw, NGHTTP2_PUSH_PROMISE, NGHTTP2_FLAG_END_HEADERS, 1, "\0\0\0\2\x82", 5);
    cr_assert(rig_wait(&rig, &rig.num_down, 1));
    cr_expect_not_null(strstr(rig.down_why, "broke HTTP/2"), "%s", rig.down_why);
    cr_expect_eq(seen.status.code, GRPC_UNAVAILABLE);
    raw_stop(&raw, &rig);
}

Test(client, a_flood_from_the_server_ends_the_connection)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    rig_unary(&rig, "Hold", "x", 1, &seen);
    rig_settle(&rig);
    for (int i = 0; i < 2000; i++) {
        raw_frame(&raw, NGHTTP2_PING, 0, 0, "abcdefgh", 8);
    }
    cr_assert(rig_wait(&rig, &rig.num_down, 1));
    cr_expect_not_null(strstr(rig.down_why, "control_frames_burst"), "%s", rig.down_why);
    cr_expect_eq(seen.num_ends, 1);
    raw_stop(&raw, &rig);
}

Test(client, half_a_message_and_silence_has_a_deadline)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct grpc_limits limits = grpc_limits_default();
    limits.message_ms = 30;
    raw_play_server(&raw, &rig, &limits, NULL, 0);
    rig_unary(&rig, "Chat", "x", 1, &seen);
    raw_response(&raw, 1);
    raw_message(&raw, 0, 1, "whole");
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, "\0\0\0\0\x09half", 9);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.num_messages, 1);
    cr_expect_eq(seen.status.code, GRPC_DEADLINE_EXCEEDED);
    cr_expect_not_null(strstr(seen.message, "message_ms"), "%s", seen.message);
    cr_expect_eq(rig.num_down, 0, "%s", rig.down_why);
    raw_stop(&raw, &rig);
}

Test(client, a_length_of_a_gigabyte_ends_the_call_before_its_bytes_come)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct raw_frame frame;
    raw_play_server(&raw, &rig, NULL, NULL, 0);
    rig_unary(&rig, "Chat", "x", 1, &seen);
    raw_response(&raw, 1);
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, "\0\x40\0\0\0", 5);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_RESOURCE_EXHAUSTED);
    cr_expect_str_eq(seen.message,
                     "a message of 1073741824 bytes is over the limit message_bytes_max (4194304)");
    cr_assert(raw_expect(&raw, NGHTTP2_RST_STREAM, 1, &frame));
    cr_expect_eq(raw_u32(frame.payload), NGHTTP2_CANCEL);
    raw_stop(&raw, &rig);
}
