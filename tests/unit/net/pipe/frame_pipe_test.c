// SPDX-License-Identifier: Apache-2.0
#include "net/pipe/frame_pipe.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/unit/support/loop.h"

enum { WAIT_MS = 5000, IN_MAX = 100, OUT_MAX = 100000, UNSENT_MAX = 4000000, PAUSE = 1000000 };

// A pipe, and the peer's end of its socket, which the test writes and reads.
struct stage {
    uv_loop_t loop;
    struct frame_pipe pipe;
    int peer;
    unsigned num_frames;
    char last[IN_MAX + 1];
    bool refuses;      // on_frame says no
    bool closes;       // on_frame closes the pipe
    size_t answer_len; // on_frame sends so much back; 0: nothing
    unsigned num_gone;
    bool is_eof;
    char why[256];
    unsigned num_closed;
};

static bool on_frame(void *ctx, const uint8_t *body, size_t body_len, struct err *err)
{
    struct stage *stage = ctx;
    stage->num_frames++;
    memcpy(stage->last, body, body_len);
    stage->last[body_len] = '\0';
    if (stage->closes) {
        frame_pipe_close(&stage->pipe);
    }
    if (stage->answer_len > 0) {
        uint8_t *place = frame_pipe_push(&stage->pipe, stage->answer_len, err);
        if (place == NULL) {
            return false;
        }
        memset(place, 'a', stage->answer_len);
    }
    return !stage->refuses || err_set(err, "not this one");
}

static void on_gone(void *ctx, bool is_eof, const char *why)
{
    struct stage *stage = ctx;
    stage->num_gone++;
    stage->is_eof = is_eof;
    snprintf(stage->why, sizeof stage->why, "%s", why);
}

static void on_walk(uv_handle_t *handle, void *ctx)
{
    struct stage *stage = ctx;
    cr_expect(handle != (uv_handle_t *)&stage->pipe.pipe &&
              handle != (uv_handle_t *)&stage->pipe.turn_end);
}

// The memory may go now: no handle in it is left.
static void on_closed(void *ctx)
{
    struct stage *stage = ctx;
    stage->num_closed++;
    uv_walk(&stage->loop, on_walk, stage);
}

static const struct frame_pipe_spec plain_spec = {.in_bytes_max = IN_MAX,
                                                  .out_bytes_max = OUT_MAX,
                                                  .unsent_bytes_max = UNSENT_MAX,
                                                  .on_frame = on_frame,
                                                  .on_gone = on_gone,
                                                  .on_closed = on_closed};

static void stage_init(struct stage *stage, size_t unsent_bytes_pause)
{
    int fds[2];
    *stage = (struct stage){0};
    log_init("test", LOG_LEVEL_ERROR + 1);
    signal(SIGPIPE, SIG_IGN);
    cr_assert(uv_loop_init(&stage->loop) == 0);
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    stage->peer = fds[1];
    struct frame_pipe_spec spec = plain_spec;
    spec.unsent_bytes_pause = unsent_bytes_pause;
    spec.ctx = stage;
    struct err err = {0};
    cr_assert(frame_pipe_init(&stage->pipe, &stage->loop, fds[0], &spec, &err), "%s", err.text);
}

static void stage_cleanup(struct stage *stage)
{
    frame_pipe_close(&stage->pipe);
    loop_end(&stage->loop);
    cr_expect(stage->num_closed == 1);
    close(stage->peer);
}

static void peer_send(struct stage *stage, const void *bytes, size_t len)
{
    cr_assert(send(stage->peer, bytes, len, MSG_NOSIGNAL) == (ssize_t)len);
}

// A frame as it crosses the socket; returns its length.
static size_t frame(uint8_t *out, const char *body)
{
    size_t len = strlen(body);
    frame_prefix_write(out, (uint32_t)len);
    memcpy(out + FRAME_PREFIX_LEN, body, len);
    return FRAME_PREFIX_LEN + len;
}

static void expect_gone(struct stage *stage, bool is_eof, const char *words)
{
    cr_assert(run_until(stage, stage->num_gone > 0, WAIT_MS), "%s", words);
    cr_expect(stage->is_eof == is_eof && strstr(stage->why, words) != NULL, "%s", stage->why);
    run_until(stage, false, 10);
    cr_expect(stage->num_gone == 1 && !stage->pipe.is_open);
}

// Pushes a frame of `len` bytes that hold its number. Says whether there was room.
static bool push_numbered(struct stage *stage, size_t len, uint32_t number, struct err *err)
{
    uint8_t *place = frame_pipe_push(&stage->pipe, len, err);
    if (place != NULL) {
        memset(place, 'x', len);
        memcpy(place, &number, sizeof number);
    }
    return place != NULL;
}

// Reads what the peer can read now, whole frames of `len` bytes, and expects them in order.
struct peer_reader {
    uint8_t bytes[FRAME_PREFIX_LEN + OUT_MAX];
    size_t have;
    uint32_t num;
};

static void peer_read(struct stage *stage, struct peer_reader *reader, size_t len)
{
    for (;;) {
        ssize_t got = recv(stage->peer, reader->bytes + reader->have,
                           FRAME_PREFIX_LEN + len - reader->have, MSG_DONTWAIT);
        if (got <= 0) {
            return;
        }
        reader->have += (size_t)got;
        if (reader->have == FRAME_PREFIX_LEN + len) {
            uint8_t prefix[FRAME_PREFIX_LEN];
            frame_prefix_write(prefix, (uint32_t)len);
            cr_assert(memcmp(prefix, reader->bytes, sizeof prefix) == 0 &&
                      memcmp(&reader->num, reader->bytes + FRAME_PREFIX_LEN, sizeof reader->num) ==
                          0);
            reader->num++;
            reader->have = 0;
        }
    }
}

// Turns the loop until the peer has read so many.
static void peer_read_until(struct stage *stage, struct peer_reader *reader, size_t len,
                            uint32_t num)
{
    while (reader->num < num) {
        uv_run(&stage->loop, UV_RUN_NOWAIT);
        peer_read(stage, reader, len);
    }
}

Test(frame_pipe, frames_come_whole_wherever_they_were_cut, .timeout = 20)
{
    struct stage stage;
    uint8_t bytes[64];
    stage_init(&stage, 0);
    size_t len = frame(bytes, "one");
    len += frame(bytes + len, "");
    len += frame(bytes + len, "three");
    for (size_t i = 0; i < len; i++) {
        peer_send(&stage, bytes + i, 1);
        uv_run(&stage.loop, UV_RUN_NOWAIT);
    }
    cr_assert(run_until(&stage, stage.num_frames == 3, WAIT_MS));
    cr_expect_str_eq(stage.last, "three");
    peer_send(&stage, bytes, len);
    cr_assert(run_until(&stage, stage.num_frames == 6, WAIT_MS));
    cr_expect(stage.num_gone == 0);
    stage_cleanup(&stage);
}

Test(frame_pipe, what_is_pushed_leaves_when_the_turn_ends_or_at_once, .timeout = 20)
{
    struct stage stage;
    struct peer_reader reader = {.num = 0};
    stage_init(&stage, 0);
    cr_assert(push_numbered(&stage, 10, 0, NULL) && push_numbered(&stage, 10, 1, NULL));
    peer_read(&stage, &reader, 10);
    cr_expect(reader.num == 0 && frame_pipe_unsent(&stage.pipe) == 2 * (FRAME_PREFIX_LEN + 10));
    uv_run(&stage.loop, UV_RUN_NOWAIT);
    peer_read(&stage, &reader, 10);
    cr_expect(reader.num == 2 && frame_pipe_unsent(&stage.pipe) == 0);
    cr_assert(push_numbered(&stage, 10, 2, NULL));
    frame_pipe_flush(&stage.pipe);
    peer_read(&stage, &reader, 10);
    cr_expect(reader.num == 3);
    stage_cleanup(&stage);
}

// What breaks a pipe when it comes after one good frame.
static const struct {
    const char *name;
    const char *bytes;
    size_t len;
    bool ends; // and the peer closes
    bool is_eof;
    const char *words;
} breaks[] = {
    {"the end", "", 0, true, true, "closed by the other end"},
    {"the end after a byte", "", 1, true, true, "in the middle of a frame"},
    {"the end in a prefix", "\0\0", 2, true, true, "in the middle of a frame"},
    {"the end in a body", "\0\0\0\7half", 8, true, true, "in the middle of a frame"},
    {"a byte too many", "\0\0\0\x65", 4, false, false,
     "a frame of 101 bytes is over the limit of 100"},
    {"4 GiB", "\xff\xff\xff\xff", 4, false, false, "over the limit of 100"},
};

Test(frame_pipe, what_is_no_frame_breaks_it_once_and_says_why, .timeout = 20)
{
    for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++) {
        struct stage stage;
        uint8_t bytes[64];
        stage_init(&stage, 0);
        peer_send(&stage, bytes, frame(bytes, "good"));
        peer_send(&stage, breaks[i].bytes, breaks[i].len);
        if (breaks[i].ends) {
            shutdown(stage.peer, SHUT_WR);
        }
        expect_gone(&stage, breaks[i].is_eof, breaks[i].words);
        cr_expect(stage.num_frames == 1, "%s", breaks[i].name);
        cr_expect(frame_pipe_push(&stage.pipe, 1, NULL) == NULL, "%s", breaks[i].name);
        stage_cleanup(&stage);
    }
}

Test(frame_pipe, the_longest_frame_is_let_in, .timeout = 20)
{
    struct stage stage;
    char body[IN_MAX + 1];
    uint8_t bytes[FRAME_PREFIX_LEN + IN_MAX];
    stage_init(&stage, 0);
    memset(body, 'x', IN_MAX);
    body[IN_MAX] = '\0';
    peer_send(&stage, bytes, frame(bytes, body));
    cr_assert(run_until(&stage, stage.num_frames == 1, WAIT_MS));
    cr_expect_str_eq(stage.last, body);
    stage_cleanup(&stage);
}

Test(frame_pipe, a_frame_that_is_refused_breaks_it_and_no_other_is_shown, .timeout = 20)
{
    struct stage stage;
    uint8_t bytes[64];
    stage_init(&stage, 0);
    stage.refuses = true;
    size_t len = frame(bytes, "first");
    len += frame(bytes + len, "second");
    peer_send(&stage, bytes, len);
    expect_gone(&stage, false, "not this one");
    cr_expect(stage.num_frames == 1);
    stage_cleanup(&stage);
}

Test(frame_pipe, closed_by_a_frame_it_says_nothing_more, .timeout = 20)
{
    struct stage stage;
    uint8_t bytes[64];
    stage_init(&stage, 0);
    stage.closes = true;
    size_t len = frame(bytes, "first");
    len += frame(bytes + len, "second");
    peer_send(&stage, bytes, len);
    cr_assert(run_until(&stage, stage.num_closed == 1, WAIT_MS));
    cr_expect(stage.num_frames == 1 && stage.num_gone == 0);
    stage_cleanup(&stage);
}

Test(frame_pipe, a_slow_reader_gets_all_in_order_and_a_bounded_amount_waits, .timeout = 20)
{
    enum { LEN = 50000 };
    struct stage stage;
    static struct peer_reader reader;
    struct err err = {0};
    uint32_t num = 0;
    stage_init(&stage, 0);
    while (push_numbered(&stage, LEN, num, &err)) {
        num++;
        cr_assert(frame_pipe_unsent(&stage.pipe) <= UNSENT_MAX);
        uv_run(&stage.loop, UV_RUN_NOWAIT);
    }
    cr_expect(strstr(err.text, "doesn't read what it is sent") != NULL, "%s", err.text);
    cr_expect(frame_pipe_unsent(&stage.pipe) > UNSENT_MAX - LEN - FRAME_PREFIX_LEN,
              "there was room for one more");
    cr_expect(stage.pipe.is_open && stage.num_gone == 0, "to wait is no reason to go");
    peer_read_until(&stage, &reader, LEN, num);
    cr_expect(frame_pipe_unsent(&stage.pipe) == 0 && reader.have == 0);
    cr_expect(push_numbered(&stage, LEN, num, &err));
    peer_read_until(&stage, &reader, LEN, num + 1);
    stage_cleanup(&stage);
}

Test(frame_pipe, only_small_frames_leave_room_for_the_next_ones, .timeout = 20)
{
    struct stage stage;
    static struct peer_reader reader;
    stage_init(&stage, 0);
    cr_assert(push_numbered(&stage, 10, 0, NULL));
    frame_pipe_flush(&stage.pipe);
    cr_expect(stage.pipe.queue.at != NULL);
    peer_read(&stage, &reader, 10);
    cr_assert(push_numbered(&stage, OUT_MAX, 1, NULL));
    frame_pipe_flush(&stage.pipe);
    peer_read_until(&stage, &reader, OUT_MAX, 2);
    cr_expect(stage.pipe.queue.at == NULL && stage.pipe.writing.at == NULL);
    stage_cleanup(&stage);
}

Test(frame_pipe, prefixes_count_among_what_is_unsent, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage, 0);
    stage.pipe.spec.unsent_bytes_max = 2 * (FRAME_PREFIX_LEN + 10);
    cr_expect(frame_pipe_push(&stage.pipe, 10, NULL) != NULL);
    cr_expect(frame_pipe_push(&stage.pipe, 11, NULL) == NULL);
    cr_expect(frame_pipe_push(&stage.pipe, 10, NULL) != NULL);
    cr_expect(frame_pipe_push(&stage.pipe, 0, NULL) == NULL);
    stage_cleanup(&stage);
}

Test(frame_pipe, an_over_long_message_is_refused_and_nothing_else, .timeout = 20)
{
    struct stage stage;
    struct peer_reader *reader = calloc(1, sizeof *reader);
    struct err err = {0};
    stage_init(&stage, 0);
    cr_expect(frame_pipe_push(&stage.pipe, OUT_MAX + 1, &err) == NULL);
    cr_expect_str_eq(err.text, "a message of 100001 bytes is over the limit of 100000");
    cr_assert(push_numbered(&stage, OUT_MAX, 0, &err));
    peer_read_until(&stage, reader, OUT_MAX, 1);
    cr_expect(stage.num_gone == 0);
    free(reader);
    stage_cleanup(&stage);
}

Test(frame_pipe, who_takes_no_answer_is_not_read_until_he_does, .timeout = 20)
{
    enum { ANSWER = 200 };
    struct stage stage;
    static uint8_t sink[65536];
    uint8_t bytes[64];
    size_t len = frame(bytes, "ask");
    size_t num_asked = 0;
    size_t num_received = 0;
    unsigned num_stuck = 0;
    stage_init(&stage, PAUSE);
    stage.answer_len = ANSWER;
    // Asks until the socket is full, which it can only be when nobody reads.
    while (num_stuck < 50 && num_asked < 1000000) {
        bool is_sent = send(stage.peer, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
        num_asked += is_sent;
        num_stuck = is_sent ? 0 : num_stuck + 1;
        uv_run(&stage.loop, UV_RUN_NOWAIT);
    }
    cr_expect(num_asked < 1000000 && stage.num_gone == 0, "%s", stage.why);
    cr_expect(stage.num_frames < num_asked && stage.pipe.is_paused);
    // UNSENT_MAX has room for the answers to all that one read brings.
    cr_expect(frame_pipe_unsent(&stage.pipe) <= UNSENT_MAX);
    size_t expected = num_asked * (FRAME_PREFIX_LEN + ANSWER);
    while (num_received < expected) {
        ssize_t got = recv(stage.peer, sink, sizeof sink, MSG_DONTWAIT);
        cr_assert(got != 0 && (got > 0 || errno == EAGAIN));
        num_received += got > 0 ? (size_t)got : 0;
        uv_run(&stage.loop, UV_RUN_NOWAIT);
    }
    cr_expect(stage.num_frames == num_asked && !stage.pipe.is_paused && stage.num_gone == 0);
    stage_cleanup(&stage);
}

Test(frame_pipe, a_peer_that_goes_with_a_write_under_way_is_told_once, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage, 0);
    while (frame_pipe_unsent(&stage.pipe) < UNSENT_MAX / 2) {
        cr_assert(push_numbered(&stage, OUT_MAX, 0, NULL));
        frame_pipe_flush(&stage.pipe);
    }
    close(stage.peer);
    expect_gone(&stage, true, "");
    stage.peer = open("/dev/null", O_RDONLY);
    stage_cleanup(&stage);
}

Test(frame_pipe, closing_forgets_what_is_unsent, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage, 0);
    while (frame_pipe_unsent(&stage.pipe) < UNSENT_MAX / 2) {
        cr_assert(push_numbered(&stage, OUT_MAX, 0, NULL));
        frame_pipe_flush(&stage.pipe);
    }
    stage_cleanup(&stage);
    cr_expect(stage.num_gone == 0);
}

Test(frame_pipe, what_cannot_be_read_and_written_is_refused, .timeout = 20)
{
    int fds[2];
    cr_assert(pipe(fds) == 0);
    const int candidates[] = {fds[0], fds[1], 987};
    for (size_t i = 0; i < 3; i++) {
        struct stage stage = {.peer = -1};
        struct frame_pipe_spec spec = plain_spec;
        struct err err = {0};
        spec.ctx = &stage;
        cr_assert(uv_loop_init(&stage.loop) == 0);
        cr_expect(!frame_pipe_init(&stage.pipe, &stage.loop, candidates[i], &spec, &err));
        cr_expect_str_eq(err.text, "bad file descriptor");
        stage_cleanup(&stage);
        cr_expect(fcntl(candidates[i], F_GETFD) == -1, "it was taken over");
    }
}
