// SPDX-License-Identifier: Apache-2.0
//
// Our server against clients without manners, frame by frame.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/net/grpc/raw.h"

TestSuite(server, .timeout = 60);

static struct raw raw; // large

#define BYTES(text) text, sizeof(text) - 1

Test(server, a_message_in_frames_of_one_byte_is_one_message)
{
    struct rig rig = {.num_ready = 0};
    struct raw_frame frame;
    raw_play_client(&raw, &rig, NULL, true);
    raw_request(&raw, 1, "Unary");
    static const uint8_t bytes[] = {0, 0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'};
    for (size_t i = 0; i < sizeof bytes; i++) {
        bool is_last = i + 1 == sizeof bytes;
        raw_frame(&raw, NGHTTP2_DATA, is_last ? NGHTTP2_FLAG_END_STREAM : 0, 1, bytes + i, 1);
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    }
    cr_assert(raw_expect(&raw, NGHTTP2_DATA, 1, &frame));
    cr_expect_eq(frame.len, sizeof bytes);
    cr_expect_arr_eq(frame.payload, bytes, sizeof bytes);
    raw_expect_status(&raw, 1, "0", "the call");
    raw_stop(&raw, &rig);
}

Test(server, several_messages_in_one_frame_are_several)
{
    struct rig rig = {.num_ready = 0};
    struct raw_frame frame;
    raw_play_client(&raw, &rig, NULL, true);
    raw_request(&raw, 1, "Collect");
    static const uint8_t bytes[] = {0, 0, 0, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 'b', 'c'};
    raw_frame(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, bytes, sizeof bytes);
    cr_assert(raw_expect(&raw, NGHTTP2_DATA, 1, &frame));
    cr_expect_eq(frame.len, 13);
    cr_expect_eq(frame.payload[12], 3, "three bytes in all");
    raw_expect_status(&raw, 1, "0", "the call");
    raw_stop(&raw, &rig);
}

Test(server, what_is_no_call_gets_a_status_that_says_so)
{
    static const struct {
        const char *name;
        const char *pairs[13];
        const char *http;
        const char *code;
    } rows[] = {
        {"GET",
         {":method", "GET", ":scheme", "http", ":path", "/echo.Echo/Unary", ":authority", "a",
          "content-type", "application/grpc"},
         "405",
         "13"},
        {"a foreign content-type",
         {":method", "POST", ":scheme", "http", ":path", "/echo.Echo/Unary", ":authority", "a",
          "content-type", "text/html"},
         "415",
         "13"},
        {"a content-type that only begins right",
         {":method", "POST", ":scheme", "http", ":path", "/echo.Echo/Unary", ":authority", "a",
          "content-type", "application/grpcx"},
         "415",
         "13"},
        {"no content-type",
         {":method", "POST", ":scheme", "http", ":path", "/echo.Echo/Unary", ":authority", "a"},
         "415",
         "13"},
        {"a malformed timeout",
         {":method", "POST", ":scheme", "http", ":path", "/echo.Echo/Unary", ":authority", "a",
          "content-type", "application/grpc", "grpc-timeout", "soon"},
         "200",
         "13"},
        {"an unknown method",
         {":method", "POST", ":scheme", "http", ":path", "/echo.Echo/unary", ":authority", "a",
          "content-type", "application/grpc"},
         "200",
         "12"},
        {"a path with more behind",
         {":method", "POST", ":scheme", "http", ":path", "/echo.Echo/Unary/", ":authority", "a",
          "content-type", "application/grpc"},
         "200",
         "12"},
    };
    struct rig rig = {.num_ready = 0};
    raw_play_client(&raw, &rig, NULL, true);
    nghttp2_hd_inflater *inflater = NULL;
    cr_assert(nghttp2_hd_inflate_new(&inflater) == 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct raw_frame frame;
        int32_t stream = (int32_t)(2 * i + 1);
        raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, stream, rows[i].pairs);
        cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, stream, &frame), "%s", rows[i].name);
        cr_expect(frame.flags & NGHTTP2_FLAG_END_STREAM, "%s: trailers-only", rows[i].name);
        cr_expect(raw_holds(&frame, inflater, ":status", rows[i].http, "grpc-status", rows[i].code),
                  "%s", rows[i].name);
    }
    nghttp2_hd_inflate_del(inflater);
    cr_expect_eq(rig.echo.num_started, 0);
    raw_stop(&raw, &rig);
}

Test(server, what_stands_in_a_clients_trailers_makes_no_call)
{
    static const char *const head[] = {":method",          "POST",       ":scheme", "http", ":path",
                                       "/echo.Echo/Unary", ":authority", "a",       NULL};
    static const char *const trailers[] = {"content-type", "application/grpc", NULL};
    struct rig rig = {.num_ready = 0};
    struct raw_frame frame;
    nghttp2_hd_inflater *inflater = NULL;
    raw_play_client(&raw, &rig, NULL, true);
    cr_assert(nghttp2_hd_inflate_new(&inflater) == 0);
    raw_headers(&raw, 0, 1, head);
    raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, 1, trailers);
    cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, 1, &frame));
    cr_expect(raw_holds(&frame, inflater, ":status", "415", "grpc-status", "13"));
    nghttp2_hd_inflate_del(inflater);
    cr_expect_eq(rig.echo.num_started, 0);
    raw_stop(&raw, &rig);
}

Test(server, a_path_without_its_slash_and_other_malformed_heads_reset_the_stream)
{
    static const struct {
        const char *name;
        const char *pairs[13];
    } rows[] = {
        {"no leading slash",
         {":method", "POST", ":scheme", "http", ":path", "echo.Echo/Unary", ":authority", "a",
          "content-type", "application/grpc"}},
        {"an upper-case name",
         {":method", "POST", ":scheme", "http", ":path", "/echo.Echo/Unary", ":authority", "a",
          "X-Bad", "application/grpc"}},
        {"connection",
         {":method", "POST", ":scheme", "http", ":path", "/echo.Echo/Unary", ":authority", "a",
          "connection", "close"}},
        {"te other than trailers",
         {":method", "POST", ":scheme", "http", ":path", "/echo.Echo/Unary", ":authority", "a",
          "te", "gzip"}},
        {"two paths",
         {":method", "POST", ":scheme", "http", ":path", "/echo.Echo/Unary", ":path",
          "/echo.Echo/Hold", ":authority", "a"}},
        {"no method", {":scheme", "http", ":path", "/echo.Echo/Unary", ":authority", "a"}},
    };
    struct rig rig = {.num_ready = 0};
    raw_play_client(&raw, &rig, NULL, true);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct raw_frame frame;
        int32_t stream = (int32_t)(2 * i + 1);
        raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, stream, rows[i].pairs);
        cr_assert(raw_expect(&raw, NGHTTP2_RST_STREAM, stream, &frame), "%s", rows[i].name);
        cr_expect_eq(raw_u32(frame.payload), NGHTTP2_PROTOCOL_ERROR, "%s", rows[i].name);
    }
    cr_expect_eq(rig.echo.num_started, 0);
    raw_request(&raw, 101, "Unary"); // the connection lives
    raw_message(&raw, NGHTTP2_FLAG_END_STREAM, 101, "x");
    raw_expect_status(&raw, 101, "0", "a good call after them");
    raw_stop(&raw, &rig);
}

Test(server, bytes_that_are_no_message_end_the_call_by_its_status)
{
    static const struct {
        const char *name;
        uint8_t bytes[16];
        size_t len;
        bool ends;
        const char *code;
    } rows[] = {
        {"a compressed message", {1, 0, 0, 0, 1, 'x'}, 6, true, "13"},
        {"an unknown flag", {7, 0, 0, 0, 1, 'x'}, 6, true, "13"},
        {"a length of 1 GB", {0, 0x40, 0, 0, 0}, 5, false, "8"},
        {"a length of 4 GB", {0, 255, 255, 255, 255, 1, 2, 3}, 8, false, "8"},
        {"half a message and the end", {0, 0, 0, 0, 9, 'x'}, 6, true, "13"},
        {"half a prefix and the end", {0, 0}, 2, true, "13"},
    };
    struct rig rig = {.num_ready = 0};
    raw_play_client(&raw, &rig, NULL, true);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct raw_frame frame;
        int32_t stream = (int32_t)(2 * i + 1);
        raw_request(&raw, stream, "Chat");
        raw_frame(&raw, NGHTTP2_DATA, rows[i].ends ? NGHTTP2_FLAG_END_STREAM : 0, stream,
                  rows[i].bytes, rows[i].len);
        cr_assert(raw_expect(&raw, NGHTTP2_HEADERS, stream, &frame), "%s", rows[i].name);
        cr_expect(frame.flags & NGHTTP2_FLAG_END_STREAM, "%s", rows[i].name);
        rig_wait(&rig, &rig.echo.num_ended, (unsigned)i + 1);
        cr_expect_eq(rig.echo.last_code, (enum grpc_code)atoi(rows[i].code), "%s: %s", rows[i].name,
                     rig.echo.last_message);
    }
    cr_expect_eq(rig.echo.num_ended, sizeof rows / sizeof *rows);
    raw_stop(&raw, &rig);
}

Test(server, a_compressed_message_of_a_named_encoding_is_unimplemented)
{
    static const char *const pairs[] = {
        ":method",          "POST",       ":scheme", "http",         ":path",
        "/echo.Echo/Unary", ":authority", "a",       "content-type", "application/grpc",
        "grpc-encoding",    "gzip",       NULL};
    struct rig rig = {.num_ready = 0};
    raw_play_client(&raw, &rig, NULL, true);
    raw_headers(&raw, 0, 1, pairs);
    raw_frame(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "\1\0\0\0\1x", 6);
    raw_expect_status(&raw, 1, "12", "gzip");
    raw_stop(&raw, &rig);
}

Test(server, an_answer_before_the_clients_end_is_followed_by_a_reset_without_error)
{
    struct rig rig = {.num_ready = 0};
    struct raw_frame frame;
    raw_play_client(&raw, &rig, NULL, true);
    raw_request(&raw, 1, "Unary");
    raw_message(&raw, 0, 1, "x"); // no END_STREAM
    cr_assert(raw_expect(&raw, NGHTTP2_RST_STREAM, 1, &frame));
    cr_expect_eq(raw_u32(frame.payload), NGHTTP2_NO_ERROR);
    cr_assert(rig_wait(&rig, &rig.echo.num_ended, 1));
    cr_expect_eq(rig.echo.last_code, GRPC_OK);
    raw_stop(&raw, &rig);
}

Test(server, what_is_no_http2_ends_the_connection_with_a_reason)
{
    static const struct {
        const char *name;
        const char *bytes;
        size_t len;
    } rows[] = {
        {"HTTP/1.1", BYTES("GET / HTTP/1.1\r\nHost: a\r\n\r\n")},
        {"a TLS ClientHello",
         BYTES("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on, longer")},
        {"zeroes", BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")},
        {"a frame over the size", BYTES(RAW_MAGIC "\0\0\0\4\0\0\0\0\0\xff\xff\xff\0\0\0\0\0\1")},
        {"DATA on stream 0", BYTES(RAW_MAGIC "\0\0\0\4\0\0\0\0\0\0\0\1\0\0\0\0\0\0x")},
        {"HEADERS on an even stream", BYTES(RAW_MAGIC "\0\0\0\4\0\0\0\0\0\0\0\1\1\4\0\0\0\2\x82")},
        {"no SETTINGS first", BYTES(RAW_MAGIC "\0\0\x08\6\0\0\0\0\0abcdefgh")},
        {"headers that don't decode",
         BYTES(RAW_MAGIC "\0\0\0\4\0\0\0\0\0\0\0\2\1\4\0\0\0\1\xff\xff")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rig rig = {.num_ready = 0};
        struct grpc_limits limits = grpc_limits_default();
        limits.h2.linger_ms = 10;
        raw_play_client(&raw, &rig, &limits, false);
        raw_send(&raw, rows[i].bytes, rows[i].len);
        cr_expect(raw_at_end(&raw), "%s: the connection stays", rows[i].name);
        cr_assert(rig_wait(&rig, &rig.num_disconnects, 1), "%s", rows[i].name);
        cr_expect_not_null(strstr(rig.disconnect_why, "broke HTTP/2"), "%s: %s", rows[i].name,
                           rig.disconnect_why);
        cr_expect_eq(rig.echo.num_started, 0);
        raw_stop(&raw, &rig);
    }
}

Test(server, a_client_that_vanishes_in_a_call_ends_it)
{
    struct rig rig = {.num_ready = 0};
    raw_play_client(&raw, &rig, NULL, true);
    raw_request(&raw, 1, "Chat");
    raw_frame(&raw, NGHTTP2_DATA, 0, 1, "\0\0\0\0\x09half", 9);
    cr_assert(rig_wait(&rig, &rig.echo.num_started, 1));
    raw_close(&raw);
    cr_assert(rig_wait(&rig, &rig.echo.num_ended, 1));
    cr_expect_eq(rig.echo.last_code, GRPC_CANCELLED);
    cr_expect_not_null(strstr(rig.echo.last_message, "the connection was lost: "), "%s",
                       rig.echo.last_message);
    rig_stop(&rig);
}

Test(server, a_shutdown_sends_two_goaways_with_a_round_trip_between)
{
    struct rig rig = {.num_ready = 0};
    struct raw_frame frame;
    raw_play_client(&raw, &rig, NULL, true);
    raw_request(&raw, 1, "Chat");
    cr_assert(rig_wait(&rig, &rig.echo.num_started, 1));
    grpc_server_shutdown(rig.server, 10000, NULL, NULL);
    cr_assert(raw_expect(&raw, NGHTTP2_GOAWAY, 0, &frame));
    cr_expect_eq(raw_u32(frame.payload), 0x7fffffff);
    cr_expect_eq(raw_u32(frame.payload + 4), NGHTTP2_NO_ERROR);
    raw_request(&raw, 3, "Unary"); // was on its way: it is served still
    raw_message(&raw, NGHTTP2_FLAG_END_STREAM, 3, "x");
    cr_assert(raw_expect(&raw, NGHTTP2_PING, 0, &frame));
    uint8_t opaque[8];
    memcpy(opaque, frame.payload, sizeof opaque);
    cr_assert(raw_expect(&raw, NGHTTP2_DATA, 3, &frame));
    raw_frame(&raw, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, opaque, sizeof opaque);
    cr_assert(raw_expect(&raw, NGHTTP2_GOAWAY, 0, &frame));
    cr_expect_eq(raw_u32(frame.payload), 3);
    raw_message(&raw, NGHTTP2_FLAG_END_STREAM, 1, "last");
    cr_assert(raw_expect(&raw, NGHTTP2_DATA, 1, &frame), "the call goes on");
    cr_expect(raw_at_end(&raw), "and then the server closes");
    raw_stop(&raw, &rig);
}
