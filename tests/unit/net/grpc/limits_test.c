// SPDX-License-Identifier: Apache-2.0
//
// Every limit of our server bites, by its name, against clients who try it.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/net/grpc/raw.h"

TestSuite(limits, .timeout = 60);

static struct raw raw; // large

static void expect_goaway(uint32_t code, const char *what)
{
    struct raw_frame frame;
    cr_assert(raw_expect(&raw, NGHTTP2_GOAWAY, 0, &frame), "%s: no GOAWAY", what);
    cr_expect_eq(raw_u32(frame.payload + 4), code, "%s: GOAWAY %u", what,
                 raw_u32(frame.payload + 4));
    cr_expect(raw_at_end(&raw), "%s: the connection stays", what);
}

Test(limits, headers_over_the_limit_end_the_call_by_the_limits_name)
{
    struct rig rig = {.num_ready = 0};
    struct grpc_limits limits = grpc_limits_default();
    char large[1000];
    limits.h2.header_bytes_max = 600;
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    raw_play_client(&raw, &rig, &limits, true);
    const char *const pairs[] = {
        ":method",          "POST",       ":scheme", "http",         ":path",
        "/echo.Echo/Unary", ":authority", "a",       "content-type", "application/grpc",
        "x-large",          large,        NULL};
    raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1, pairs);
    raw_expect_status(&raw, 1, "8", "the headers");
    cr_expect_eq(grpc_server_stats(rig.server)->bites.num[H2_LIMIT_header_bytes_max], 1);
    cr_expect_eq(rig.echo.num_started, 0);
    raw_stop(&raw, &rig);
}

Test(limits, a_header_list_without_end_is_cut_off)
{
    struct rig rig = {.num_ready = 0};
    raw_play_client(&raw, &rig, NULL, true);
    uint8_t block[1000];
    memset(block, 0x80 | 2, sizeof block); // ":method: GET", again and again
    raw_frame(&raw, NGHTTP2_HEADERS, 0, 1, block, sizeof block);
    for (int i = 0; i < 50; i++) {
        raw_frame(&raw, NGHTTP2_CONTINUATION, 0, 1, block, sizeof block);
    }
    cr_expect(raw_at_end(&raw));
    cr_assert(rig_wait(&rig, &rig.num_disconnects, 1));
    cr_expect_not_null(strstr(rig.disconnect_why, "broke HTTP/2"), "%s", rig.disconnect_why);
    raw_stop(&raw, &rig);
}

// One long header is put into the table once, and then named again by one byte each time.
Test(limits, a_few_bytes_that_stand_for_a_huge_header_list_end_the_connection)
{
    struct rig rig = {.num_ready = 0};
    struct raw_frame frame;
    // POST, http, "/", :authority a, and x with a value of 3,000 bytes.
    uint8_t block[12 + 3000] = {0x83, 0x86, 0x84, 1, 1, 'a', 0x40, 1, 'x', 0x7f, 0xb9, 0x16};
    uint8_t bomb[12000] = {0x83, 0x86, 0x84, 1, 1, 'a'};
    memset(block + 12, 'a', sizeof block - 12);
    memset(bomb + 6, 0xbe, sizeof bomb - 6); // the newest of the table
    raw_play_client(&raw, &rig, NULL, true);
    raw_frame(&raw, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1, block,
              sizeof block);
    raw_frame(&raw, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 3, bomb,
              sizeof bomb);
    cr_assert(raw_expect(&raw, NGHTTP2_GOAWAY, -1, &frame));
    cr_expect_eq(raw_u32(frame.payload + 4), NGHTTP2_ENHANCE_YOUR_CALM);
    cr_expect(raw_at_end(&raw));
    cr_assert(rig_wait(&rig, &rig.num_disconnects, 1));
    cr_expect_not_null(strstr(rig.disconnect_why, "list_bytes_max"), "%s", rig.disconnect_why);
    cr_expect_eq(grpc_server_stats(rig.server)->bites.num[H2_LIMIT_list_bytes_max], 1);
    raw_stop(&raw, &rig);
}

Test(limits, floods_of_frames_without_a_message_are_answered_with_goaway)
{
    static const uint8_t eight[8] = {0};
    static const struct {
        const char *name;
        uint8_t type;
        int32_t stream;
        size_t len;
    } rows[] = {
        {"PING", NGHTTP2_PING, 0, 8},
        {"SETTINGS", NGHTTP2_SETTINGS, 0, 0},
        {"empty DATA", NGHTTP2_DATA, 1, 0},
        {"PRIORITY", NGHTTP2_PRIORITY, 1, 5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig rig = {.num_ready = 0};
        struct grpc_limits limits = grpc_limits_default();
        limits.h2.control_frames_burst = 50;
        limits.h2.control_frames_per_second = 1;
        limits.h2.linger_ms = 10;
        raw_play_client(&raw, &rig, &limits, true);
        raw_request(&raw, 1, "Chat");
        for (int j = 0; j < 49 - (rows[i].type == NGHTTP2_SETTINGS); j++) {
            raw_frame(&raw, rows[i].type, 0, rows[i].stream, eight, rows[i].len);
        }
        rig_settle(&rig);
        cr_expect_eq(rig.num_disconnects, 0, "%s: too strict", rows[i].name);
        for (int j = 0; j < 60; j++) {
            raw_frame(&raw, rows[i].type, 0, rows[i].stream, eight, rows[i].len);
        }
        expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM, rows[i].name);
        cr_assert(rig_wait(&rig, &rig.num_disconnects, 1));
        cr_expect_not_null(strstr(rig.disconnect_why, "control_frames_burst"), "%s: %s",
                           rows[i].name, rig.disconnect_why);
        cr_expect_eq(rig.echo.num_ended, 1, "%s: the call ends with it", rows[i].name);
        cr_expect_eq(grpc_server_stats(rig.server)->bites.num[H2_LIMIT_control_frames_burst], 1);
        raw_stop(&raw, &rig);
    }
}

Test(limits, calls_that_are_opened_only_to_be_reset_are_a_flood_too)
{
    struct rig rig = {.num_ready = 0};
    struct grpc_limits limits = grpc_limits_default();
    limits.h2.control_frames_burst = 50;
    limits.h2.control_frames_per_second = 1;
    raw_play_client(&raw, &rig, &limits, true);
    for (int32_t stream = 1; stream < 2000; stream += 2) {
        raw_request(&raw, stream, "Hold");
        raw_frame(&raw, NGHTTP2_RST_STREAM, 0, stream, "\0\0\0\x08", 4);
    }
    cr_expect(raw_at_end(&raw));
    cr_assert(rig_wait(&rig, &rig.num_disconnects, 1));
    cr_expect_not_null(strstr(rig.disconnect_why, "control_frames_burst"), "%s",
                       rig.disconnect_why);
    cr_expect_lt(rig.echo.num_started, 60);
    cr_expect_eq(rig.echo.num_started, rig.echo.num_ended);
    raw_stop(&raw, &rig);
}

Test(limits, every_wait_has_its_deadline)
{
    struct grpc_limits limits = grpc_limits_default();
    limits.h2.open_ms = limits.h2.idle_ms = limits.message_ms = limits.h2.send_stall_ms = 30;
    limits.h2.keepalive_answer_ms = 30;
    limits.h2.linger_ms = 30;
    static const struct {
        const char *name;
        bool starts;
        const char *method;
        const char *bytes;
        size_t len;
        unsigned limit;
    } rows[] = {
        {"a client that says nothing", false, NULL, NULL, 0, H2_LIMIT_open_ms},
        {"half a magic", false, NULL, RAW_MAGIC, 10, H2_LIMIT_open_ms},
        {"a client that calls nothing", true, NULL, NULL, 0, H2_LIMIT_idle_ms},
        {"half a message", true, "Chat", "\0\0\0\0\x09xx", 7, GRPC_LIMIT_message_ms},
        {"half a prefix", true, "Chat", "\0\0", 2, GRPC_LIMIT_message_ms},
        {"a client without a window", true, "Numbers", "\0\0\0\0\x08\0\0\0\2\0\1\0\0", 13,
         H2_LIMIT_send_stall_ms},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig rig = {.num_ready = 0};
        raw_play_client(&raw, &rig, &limits, rows[i].starts);
        if (rows[i].method != NULL) {
            raw_request(&raw, 1, rows[i].method);
            raw_frame(&raw, NGHTTP2_DATA, 0, 1, rows[i].bytes, rows[i].len);
            cr_assert(rig_wait(&rig, &rig.echo.num_ended, 1), "%s", rows[i].name);
            cr_expect_not_null(strstr(rig.echo.last_message, grpc_limit_name(rows[i].limit)),
                               "%s: %s", rows[i].name, rig.echo.last_message);
        } else {
            raw_send(&raw, rows[i].bytes, rows[i].len);
        }
        cr_assert(rig_wait(&rig, &rig.num_disconnects, 1), "%s: it stays for ever", rows[i].name);
        cr_expect_eq(grpc_server_stats(rig.server)->bites.num[rows[i].limit], 1, "%s",
                     rows[i].name);
        if (rows[i].method == NULL) {
            cr_expect_not_null(strstr(rig.disconnect_why, grpc_limit_name(rows[i].limit)), "%s: %s",
                               rows[i].name, rig.disconnect_why);
        }
        raw_stop(&raw, &rig);
    }
}

Test(limits, a_client_that_doesnt_answer_a_ping_is_let_go)
{
    struct rig rig = {.num_ready = 0};
    struct grpc_limits limits = grpc_limits_default();
    limits.h2.keepalive_ms = limits.h2.keepalive_answer_ms = 20;
    limits.h2.open_ms = 60;
    raw_play_client(&raw, &rig, &limits, true);
    raw_request(&raw, 1, "Hold");
    cr_assert(rig_wait(&rig, &rig.num_disconnects, 1));
    cr_expect_str_eq(rig.disconnect_why, "no answer to a PING within keepalive_answer_ms (20 ms)");
    cr_expect_eq(rig.echo.num_ended, 1);
    raw_stop(&raw, &rig);
}

Test(limits, an_answer_that_came_while_the_process_stood_still_is_read_before_the_peer_is_judged)
{
    struct rig rig = {.num_ready = 0};
    struct raw_frame ping;
    struct grpc_limits limits = grpc_limits_default();
    limits.h2.keepalive_ms = 20;
    limits.h2.keepalive_answer_ms = 200;
    raw_play_client(&raw, &rig, &limits, true);
    raw_request(&raw, 1, "Hold");
    for (int i = 0; i < 2; i++) {
        cr_assert(raw_expect(&raw, NGHTTP2_PING, 0, &ping));
        raw_frame(&raw, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, ping.payload, 8);
        uv_sleep(1500); // the loop has no turn: that is what stands still
    }
    cr_expect(raw_expect(&raw, NGHTTP2_PING, 0, &ping));
    cr_expect_eq(rig.num_disconnects, 0, "%s", rig.disconnect_why);
    raw_stop(&raw, &rig);
}

Test(limits, unfinished_messages_of_one_connection_have_a_limit_together)
{
    struct rig rig = {.num_ready = 0};
    struct grpc_limits limits = grpc_limits_default();
    limits.held_bytes_max = 100000;
    raw_play_client(&raw, &rig, &limits, true);
    static uint8_t bytes[16000] = {0, 0, 1, 0, 0}; // the first part of 64 KiB
    for (int32_t stream = 1; stream < 40; stream += 2) {
        raw_request(&raw, stream, "Collect");
        rig_settle(&rig);
        raw_frame(&raw, NGHTTP2_DATA, 0, stream, bytes, sizeof bytes);
        rig_settle(&rig);
    }
    cr_expect_eq(rig.echo.num_ended, 14, "six have room, not %u", 20 - rig.echo.num_ended);
    cr_expect_eq(rig.echo.last_code, GRPC_RESOURCE_EXHAUSTED);
    cr_expect_not_null(strstr(rig.echo.last_message, "held_bytes_max"), "%s",
                       rig.echo.last_message);
    cr_expect_eq(rig.num_disconnects, 0);
    raw_stop(&raw, &rig);
}

Test(limits, more_calls_than_it_announced_are_refused)
{
    struct rig rig = {.num_ready = 0};
    struct grpc_limits limits = grpc_limits_default();
    limits.h2.streams_max = 3;
    raw_play_client(&raw, &rig, &limits, false);
    raw_send(&raw, RAW_MAGIC, strlen(RAW_MAGIC));
    raw_frame(&raw, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    for (int32_t stream = 1; stream <= 9; stream += 2) {
        raw_request(&raw, stream, "Hold"); // before its SETTINGS could be known
    }
    struct raw_frame frame;
    cr_assert(raw_expect(&raw, NGHTTP2_RST_STREAM, 7, &frame));
    cr_expect_eq(raw_u32(frame.payload), NGHTTP2_REFUSED_STREAM);
    cr_expect_eq(rig.echo.num_started, 3);
    raw_stop(&raw, &rig);
}
