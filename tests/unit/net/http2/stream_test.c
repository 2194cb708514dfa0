// SPDX-License-Identifier: Apache-2.0
//
// Streams without anything that they carry: two connections joined, as a tunnel would use them.
#include <criterion/criterion.h>
#include <string.h>

#include "net/http2/conn_impl.h"
#include "tests/unit/net/http2/joint.h"

TestSuite(stream, .timeout = 60);

static struct joint joint;

// Opens a stream and has it answered with 200.
static struct end *open_answered(struct end **out_server)
{
    struct end *client = joint_open(&joint, "10.0.0.1:80");
    struct end *server = &joint.taken[joint.num_taken - 1];
    end_answer(server, "200", false);
    joint_wait(&joint, client->num_headers == 1);
    *out_server = server;
    return client;
}

Test(stream, bytes_go_both_ways_and_each_direction_ends_by_itself)
{
    struct end *server = NULL;
    joint_start(&joint, NULL, NULL);
    struct end *client = open_answered(&server);
    cr_expect_str_eq(server->authority, "10.0.0.1:80");
    cr_expect_eq(client->stream.status, 200);
    end_send(client, 300000);
    end_send(server, 200000);
    h2_stream_finish(&client->stream);
    joint_wait(&joint, server->num_ends == 1 && client->num_in == 200000);
    cr_expect_eq(server->num_in, 300000);
    cr_expect_eq(client->num_ends, 0, "the other direction goes on");
    end_send(server, 1000);
    joint_wait(&joint, client->num_in == 201000);
    h2_stream_finish(&server->stream);
    joint_wait(&joint, client->num_released == 1 && server->num_released == 1);
    cr_expect_eq(client->num_ends, 1);
    const struct end *ends[] = {client, server};
    for (size_t i = 0; i < 2; i++) {
        cr_expect_eq(ends[i]->close.kind, H2_CLOSE_STREAM);
        cr_expect_eq(ends[i]->close.code, H2_NO_ERROR, "%s", ends[i]->close_why);
    }
    joint_stop(&joint);
}

Test(stream, a_server_may_end_first_and_the_client_goes_on)
{
    struct end *server = NULL;
    joint_start(&joint, NULL, NULL);
    struct end *client = open_answered(&server);
    end_send(server, 10);
    h2_stream_finish(&server->stream);
    joint_wait(&joint, client->num_ends == 1);
    end_send(client, 200000);
    joint_wait(&joint, server->num_in == 200000);
    cr_expect_eq(server->num_closes + client->num_closes, 0);
    h2_stream_finish(&client->stream);
    joint_wait(&joint, client->num_released == 1 && server->num_released == 1);
    cr_expect_eq(client->close.code, H2_NO_ERROR);
    joint_stop(&joint);
}

Test(stream, what_is_not_consumed_stops_its_sender_and_nobody_else)
{
    struct h2_limits limits = h2_limits_default();
    struct end *server = NULL;
    struct end *other_server = NULL;
    limits.window_bytes = 1000;
    joint_start(&joint, NULL, &limits);
    struct end *client = open_answered(&server);
    server->keeps = true;
    end_send(client, 5000);
    joint_wait(&joint, server->num_in == 1000);
    joint_settle(&joint);
    cr_expect_eq(server->num_in, 1000, "%lu bytes came through a window of 1000",
                 (unsigned long)server->num_in);
    cr_expect_eq(client->out_len, 4000, "what waits stays the user's");
    struct end *other = open_answered(&other_server);
    end_send(other, 300000);
    joint_wait(&joint, other_server->num_in == 300000);
    h2_stream_consume(&server->stream, 600);
    joint_wait(&joint, server->num_in == 1600);
    joint_settle(&joint);
    cr_expect_eq(server->num_in, 1600, "as much as was consumed");
    server->keeps = false;
    h2_stream_consume(&server->stream, 1000);
    joint_wait(&joint, server->num_in == 5000);
    joint_stop(&joint);
}

Test(stream, a_reset_carries_its_code)
{
    static const uint32_t codes[] = {H2_NO_ERROR, H2_REFUSED_STREAM, H2_CANCEL,
                                     H2_ENHANCE_YOUR_CALM, 0xd};
    joint_start(&joint, NULL, NULL);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct end *server = NULL;
        struct end *client = open_answered(&server);
        struct end *leaver = i % 2 == 0 ? client : server;
        struct end *other = i % 2 == 0 ? server : client;
        end_send(leaver, 1000);
        joint_wait(&joint, other->num_in == 1000);
        h2_stream_leave(&leaver->stream, codes[i]);
        h2_stream_wake(&leaver->stream);
        joint_wait(&joint, other->num_released == 1 && leaver->num_released == 1);
        cr_expect_eq(other->close.code, codes[i], "%s", other->close_why);
        cr_expect_eq(other->close.kind, H2_CLOSE_STREAM);
        cr_expect_eq(other->num_ends, 0, "a reset is no end");
        cr_expect_eq(leaver->num_closes, 0, "who leaves is not told");
    }
    cr_expect_eq(joint.num_closed, 0);
    joint_stop(&joint);
}

Test(stream, a_reset_by_who_has_read_enough_is_taken_inside_the_data)
{
    struct end *server = NULL;
    joint_start(&joint, NULL, NULL);
    struct end *client = open_answered(&server);
    server->leaves_early = true;
    end_send(client, 300000);
    joint_wait(&joint, client->num_released == 1 && server->num_released == 1);
    cr_expect_eq(client->close.code, H2_CANCEL);
    cr_expect_gt(client->out_len, 0);
    joint_stop(&joint);
}

Test(stream, an_answer_may_be_the_end)
{
    joint_start(&joint, NULL, NULL);
    struct end *client = joint_open(&joint, "127.0.0.1:1");
    end_answer(&joint.taken[0], "401", true);
    joint_wait(&joint, client->num_ends == 1);
    cr_expect_eq(client->stream.status, 401);
    cr_expect_eq(client->num_headers, 1);
    h2_stream_finish(&client->stream);
    joint_wait(&joint, client->num_released == 1 && joint.taken[0].num_released == 1);
    joint_stop(&joint);
}

Test(stream, trailers_follow_the_last_byte)
{
    struct end *server = NULL;
    joint_start(&joint, NULL, NULL);
    struct end *client = open_answered(&server);
    server->trailer = "bye";
    end_send(server, 20000);
    h2_stream_finish(&server->stream);
    joint_wait(&joint, client->num_ends == 1);
    cr_expect_eq(client->num_in, 20000);
    cr_expect_eq(client->num_headers, 2);
    cr_expect_str_eq(client->trailer_in, "bye");
    joint_stop(&joint);
}

Test(stream, a_shutdown_lets_streams_finish_and_takes_no_new_ones)
{
    struct end *server = NULL;
    joint_start(&joint, NULL, NULL);
    struct end *client = open_answered(&server);
    h2_conn_shutdown(joint.server);
    joint_wait(&joint, joint.num_going_away == 1);
    cr_expect_not(h2_conn_takes_streams(joint.client));
    end_send(client, 100000);
    h2_stream_finish(&client->stream);
    end_send(server, 100000);
    h2_stream_finish(&server->stream);
    joint_wait(&joint, joint.num_closed == 2);
    cr_expect_eq(server->num_in, 100000);
    cr_expect_eq(client->num_in, 100000);
    cr_expect_eq(client->close.code, H2_NO_ERROR);
    joint_stop(&joint);
}

Test(stream, a_disconnect_finishes_its_streams_and_closes)
{
    struct end *server = NULL;
    joint_start(&joint, NULL, NULL);
    struct end *client = open_answered(&server);
    h2_conn_disconnect(joint.client);
    cr_expect_not(h2_conn_takes_streams(joint.client));
    end_send(client, 1000);
    h2_stream_finish(&client->stream);
    h2_stream_finish(&server->stream);
    joint_wait(&joint, joint.num_closed == 2);
    cr_expect_eq(server->num_in, 1000);
    cr_expect_eq(joint.num_going_away, 0, "it is told to nobody who knows");
    joint_stop(&joint);
}

Test(stream, a_lost_connection_is_told_to_the_streams_of_the_other_side)
{
    struct end *server = NULL;
    joint_start(&joint, NULL, NULL);
    struct end *client = open_answered(&server);
    struct h2_conn *lost = joint.client;
    h2_conn_abandon(lost, joint_drop, NULL);
    cr_expect_eq(client->num_released, 1, "given back inside");
    cr_expect_eq(client->num_closes, 0);
    cr_expect_null(joint.client, "on_closed comes inside");
    joint_wait(&joint, server->num_released == 1);
    cr_expect_eq(server->close.kind, H2_CLOSE_CONN);
    joint_wait(&joint, joint.num_closed == 2);
    joint_stop(&joint);
}

Test(stream, a_stream_that_the_server_has_no_place_for_is_reset)
{
    joint.refuses = 1;
    joint_start(&joint, NULL, NULL);
    struct end *client = joint_open(&joint, "10.0.0.1:80");
    joint_wait(&joint, client->num_released == 1);
    cr_expect_eq(client->close.kind, H2_CLOSE_STREAM);
    cr_expect_neq(client->close.code, H2_NO_ERROR);
    cr_expect_eq(joint.num_closed, 0);
    joint_stop(&joint);
}

Test(stream, more_streams_than_the_peer_takes_wait_for_their_turn)
{
    struct h2_limits limits = h2_limits_default();
    struct end *servers[2] = {NULL, NULL};
    limits.streams_max = 2;
    joint_start(&joint, NULL, &limits);
    struct end *first = open_answered(&servers[0]);
    open_answered(&servers[1]);
    joint.refuses = JOINT_ENDS; // don't wait for the third
    struct end *third = joint_open(&joint, "10.0.0.3:80");
    joint_settle(&joint);
    cr_expect_eq(joint.num_taken, 2);
    cr_expect_not(third->stream.is_sent);
    h2_stream_finish(&first->stream);
    h2_stream_finish(&servers[0]->stream);
    joint_wait(&joint, joint.num_taken == 3);
    cr_expect_eq(joint.server_bites[H2_LIMIT_streams_max], 0);
    joint_stop(&joint);
}

Test(stream, a_peer_that_takes_nothing_is_left_by_the_limits_name)
{
    struct h2_limits client_limits = h2_limits_default();
    struct h2_limits server_limits = h2_limits_default();
    struct end *server = NULL;
    client_limits.send_stall_ms = 30;
    server_limits.window_bytes = 1000;
    joint_start(&joint, &client_limits, &server_limits);
    struct end *client = open_answered(&server);
    server->keeps = true;
    end_send(client, 1000);
    joint_wait(&joint, server->num_in == 1000);
    run_until(&joint, false, 60);
    cr_expect_eq(client->num_closes, 0, "nothing waits, so nothing is late");
    end_send(client, 1);
    joint_wait(&joint, client->num_released == 1);
    cr_expect_eq(client->close.kind, H2_CLOSE_STALLED);
    cr_expect_str_eq(client->close_why, "the peer took nothing within send_stall_ms (30 ms)");
    cr_expect_eq(joint.client_bites[H2_LIMIT_send_stall_ms], 1);
    joint_wait(&joint, server->num_released == 1);
    cr_expect_eq(server->close.code, H2_CANCEL);
    joint_stop(&joint);
}

Test(stream, headers_over_the_limit_are_left_out_and_that_is_said)
{
    struct h2_limits limits = h2_limits_default();
    char large[71]; // fits alone, but not behind ":method"
    limits.header_bytes_max = 150;
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    joint_start(&joint, NULL, &limits);
    joint_open(&joint, "10.0.0.1:80");
    joint_open(&joint, large);
    cr_expect_not(joint.taken[0].stream.is_list_too_large);
    cr_expect(joint.taken[1].stream.is_list_too_large);
    cr_expect_str_eq(joint.taken[1].authority, "");
    cr_expect_eq(joint.server_bites[H2_LIMIT_header_bytes_max], 1);
    joint_stop(&joint);
}

Test(stream, a_user_is_asked_at_its_deadline)
{
    struct end *server = NULL;
    joint_start(&joint, NULL, NULL);
    struct end *client = open_answered(&server);
    uint64_t began_ms = h2_stream_now(&client->stream);
    h2_stream_due(&client->stream, began_ms + 30);
    joint_wait(&joint, client->num_times > 0);
    cr_expect_geq(h2_stream_now(&client->stream), began_ms + 30);
    joint_stop(&joint);
}

Test(stream, many_wakes_are_one_turn)
{
    struct end *server = NULL;
    joint_start(&joint, NULL, NULL);
    struct end *client = open_answered(&server);
    joint_settle(&joint);
    unsigned num_turns = client->num_turns;
    for (int i = 0; i < 10; i++) {
        h2_stream_wake(&client->stream);
    }
    joint_settle(&joint);
    cr_expect_eq(client->num_turns, num_turns + 1);
    joint_stop(&joint);
}

// Fills what waits for a server that reads nothing up to `left` bytes below what stops nghttp2.
static void fill_output(struct end *client, size_t left)
{
    const struct transport *transport = &joint.client->transport;
    const size_t full = TRANSPORT_ROOM_BYTES - left;
    while (transport->out.len < full) {
        size_t more = full - transport->out.len;
        end_send(client, !transport->is_writing ? 1000 : more > 10000 ? 5000 : more - 9);
        joint_settle(&joint);
    }
    cr_assert_eq(transport->out.len, full);
}

// nghttp2 takes a waiting request up and throws it away only when there is room again behind the
// GOAWAY, long after its user was told of the end.
Test(stream, a_request_that_was_given_back_is_not_closed_again)
{
    static const uint8_t reset[] = {0, 0, 4, NGHTTP2_RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, 8};
    struct h2_limits limits = h2_limits_default();
    struct end *server = NULL;
    limits.streams_max = 1;
    joint_start(&joint, NULL, &limits);
    struct end *client = open_answered(&server);
    uv_stream_t *socket = &joint.server->transport.stream;
    const uv_alloc_cb alloc_cb = socket->alloc_cb;
    const uv_read_cb read_cb = socket->read_cb;
    uv_read_stop(socket);
    fill_output(client, 16); // a GOAWAY has 17
    joint.refuses = 2;
    struct end *waiting = joint_open(&joint, "10.0.0.2:80");
    joint_settle(&joint);
    // In one reading: the stream before it ends, and the peer goes too far.
    cr_assert_eq(nghttp2_session_mem_recv(joint.client->session, reset, sizeof reset),
                 (ssize_t)sizeof reset);
    h2_conn_fail(joint.client, H2_ENHANCE_YOUR_CALM, "a flood");
    joint_settle(&joint);
    cr_expect_eq(waiting->close.kind, H2_CLOSE_CONN, "%s", waiting->close_why);
    cr_expect_eq(waiting->num_released, 1);
    uv_read_start(socket, alloc_cb, read_cb);
    joint_settle(&joint);
    cr_expect_eq(waiting->num_closes, 1, "told %u times", waiting->num_closes);
    joint_stop(&joint);
}
