// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/net/http2/joint.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/support/temp.h"

static uint8_t pattern(uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 8));
}

static const uint8_t *all_bytes(void)
{
    static uint8_t bytes[JOINT_BYTES];
    for (size_t i = 0; bytes[JOINT_BYTES - 1] == 0 && i < JOINT_BYTES; i++) {
        bytes[i] = pattern(i);
    }
    return bytes;
}

static struct end *end_of(const struct h2_stream *stream)
{
    return LIST_OF(stream, struct end, stream);
}

static void keep(char *out, size_t size, const char *value, size_t len)
{
    snprintf(out, size, "%.*s", (int)len, value);
}

static void on_header(struct h2_stream *stream, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct end *end = end_of(stream);
    if (name_len == 10 && memcmp(name, ":authority", 10) == 0) {
        keep(end->authority, sizeof end->authority, value, value_len);
    } else if (name_len == 9 && memcmp(name, "x-trailer", 9) == 0) {
        keep(end->trailer_in, sizeof end->trailer_in, value, value_len);
    }
}

static void on_headers(struct h2_stream *stream, bool is_trailers)
{
    (void)is_trailers;
    end_of(stream)->num_headers++;
}

static void on_data(struct h2_stream *stream, const uint8_t *bytes, size_t len)
{
    struct end *end = end_of(stream);
    for (size_t i = 0; i < len; i++) {
        end->is_in_wrong = end->is_in_wrong || bytes[i] != pattern(end->num_in + i);
    }
    end->num_in += len;
    if (end->leaves_early) {
        h2_stream_leave(stream, H2_CANCEL);
    } else if (!end->keeps) {
        h2_stream_consume(stream, len);
    }
    h2_stream_wake(stream);
}

static void on_end(struct h2_stream *stream)
{
    end_of(stream)->num_ends++;
}

static void on_close(struct h2_stream *stream, const struct h2_close *close)
{
    struct end *end = end_of(stream);
    end->num_closes++;
    end->close = *close;
    keep(end->close_why, sizeof end->close_why, close->why, strlen(close->why));
    h2_stream_wake(stream);
}

static size_t waiting(const struct h2_stream *stream)
{
    return end_of(stream)->out_len;
}

// In two pieces, as a ring gives them.
static void on_take(struct h2_stream *stream, size_t len)
{
    struct end *end = end_of(stream);
    h2_stream_write(stream, end->out, len / 3);
    h2_stream_write(stream, end->out + len / 3, len - len / 3);
    end->out += len;
    end->out_len -= len;
}

static bool on_last(struct h2_stream *stream)
{
    const struct end *end = end_of(stream);
    const struct h2_header headers[] = {{"x-trailer", end->trailer}};
    if (end->trailer != NULL) {
        h2_stream_send_trailers(stream, headers, 1);
    }
    return end->trailer != NULL;
}

static void on_turn(struct h2_stream *stream)
{
    struct end *end = end_of(stream);
    end->num_turns++;
    if (stream->receiving == H2_RECEIVING_GONE) {
        h2_stream_release(stream);
    }
}

static uint64_t on_time(struct h2_stream *stream, uint64_t now_ms)
{
    (void)now_ms;
    end_of(stream)->num_times++;
    return UINT64_MAX;
}

static void on_release(struct h2_stream *stream)
{
    end_of(stream)->num_released++;
}

static const struct h2_stream_hooks end_hooks = {.on_header = on_header,
                                                 .on_headers = on_headers,
                                                 .on_data = on_data,
                                                 .on_end = on_end,
                                                 .on_close = on_close,
                                                 .waiting = waiting,
                                                 .on_take = on_take,
                                                 .on_last = on_last,
                                                 .on_turn = on_turn,
                                                 .on_time = on_time,
                                                 .on_release = on_release};

static void on_open(void *owner, struct h2_conn *conn)
{
    struct joint *joint = owner;
    joint->num_open += conn == joint->client;
}

static struct h2_stream *on_request(void *owner, struct h2_conn *conn)
{
    struct joint *joint = owner;
    (void)conn;
    if (joint->refuses > 0 && joint->num_taken + 1 >= joint->refuses) {
        return NULL;
    }
    cr_assert_lt(joint->num_taken, JOINT_ENDS);
    struct end *end = &joint->taken[joint->num_taken++];
    end->stream.hooks = &end_hooks;
    return &end->stream;
}

static void on_going_away(void *owner, struct h2_conn *conn, const char *why)
{
    struct joint *joint = owner;
    (void)why;
    joint->num_going_away += conn == joint->client;
}

static void on_closed(void *owner, struct h2_conn *conn, const char *why)
{
    struct joint *joint = owner;
    if (conn == joint->client) {
        snprintf(joint->closed_why, sizeof joint->closed_why, "%s", why);
        joint->client = NULL;
    } else {
        joint->server = NULL;
    }
    joint->num_closed++;
}

static const struct h2_conn_hooks conn_hooks = {.on_open = on_open,
                                                .on_request = on_request,
                                                .on_going_away = on_going_away,
                                                .on_closed = on_closed};

static void on_connection(uv_stream_t *stream, int status)
{
    struct joint *joint = stream->data;
    struct err err = {{0}, {0}};
    const struct h2_conn_config config = {.loop = &joint->loop,
                                          .limits = joint->server_limits,
                                          .bites = joint->server_bites,
                                          .hooks = &conn_hooks,
                                          .owner = joint};
    joint->server = h2_conn_accept(&config, stream, NULL, &err);
    cr_assert(status == 0 && joint->server != NULL, "%s", err.text);
}

void joint_start(struct joint *joint, const struct h2_limits *client,
                 const struct h2_limits *server)
{
    char path[100];
    struct err err = {{0}, {0}};
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&joint->loop);
    temp_make(joint->folder);
    snprintf(path, sizeof path, "%s/s", joint->folder);
    joint->server_limits = server != NULL ? *server : h2_limits_default();
    uv_pipe_init(&joint->loop, &joint->listener, 0);
    joint->listener.data = joint;
    cr_assert(uv_pipe_bind(&joint->listener, path) == 0 &&
              uv_listen((uv_stream_t *)&joint->listener, 4, on_connection) == 0);
    const struct h2_conn_config config = {.loop = &joint->loop,
                                          .limits = client != NULL ? *client : h2_limits_default(),
                                          .bites = joint->client_bites,
                                          .hooks = &conn_hooks,
                                          .owner = joint};
    const struct h2_target target = {.unix_path = path};
    joint->client = h2_conn_connect(&config, &target, NULL, NULL, &err);
    cr_assert(joint->client != NULL, "%s", err.text);
    joint_wait(joint, joint->num_open == 1);
}

void joint_drop(struct h2_stream *stream, void *ctx)
{
    (void)ctx;
    h2_stream_release(stream);
}

void joint_stop(struct joint *joint)
{
    if (joint->client != NULL) {
        h2_conn_abandon(joint->client, joint_drop, NULL);
    }
    if (joint->server != NULL) {
        h2_conn_abandon(joint->server, joint_drop, NULL);
    }
    uv_close((uv_handle_t *)&joint->listener, NULL);
    loop_end(&joint->loop);
    temp_remove(joint->folder);
    for (size_t i = 0; i < JOINT_ENDS; i++) {
        const struct end *ends[] = {&joint->ends[i], &joint->taken[i]};
        for (size_t j = 0; j < 2; j++) {
            bool was_used = ends[j]->stream.conn != NULL;
            cr_expect_eq(ends[j]->num_released, was_used, "an end is given back once");
            cr_expect_leq(ends[j]->num_closes, 1, "an end is closed once");
            cr_expect_not(ends[j]->is_in_wrong, "other bytes came than were sent");
        }
    }
}

struct end *joint_open(struct joint *joint, const char *authority)
{
    unsigned num = joint->num_taken;
    struct end *end = joint->ends;
    while (end->stream.conn != NULL) {
        end++;
    }
    const struct h2_header headers[] = {
        {":method", "CONNECT"}, {":authority", authority}, {"x-left-out", NULL}};
    end->stream.hooks = &end_hooks;
    cr_assert(h2_stream_request(&end->stream, joint->client, headers, 3));
    if (joint->refuses == 0) {
        joint_wait(joint, joint->num_taken == num + 1 && joint->taken[num].num_headers == 1);
    }
    return end;
}

void end_answer(struct end *end, const char *status, bool is_last)
{
    const struct h2_header headers[] = {{":status", status}, {"x-reason", "none"}};
    h2_stream_send_headers(&end->stream, headers, 2, is_last);
}

void end_send(struct end *end, size_t len)
{
    if (end->out == NULL) {
        end->out = all_bytes();
    }
    end->out_len += len;
    h2_stream_offer(&end->stream);
}

void joint_settle(struct joint *joint)
{
    for (int i = 0; i < 100; i++) {
        uv_run(&joint->loop, UV_RUN_NOWAIT);
    }
}
