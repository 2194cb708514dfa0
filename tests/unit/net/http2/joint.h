// SPDX-License-Identifier: Apache-2.0
//
// A client's and a server's HTTP/2 connection joined by a Unix socket in one loop, and ends of
// streams that keep what they were told. joint_start, then joint_open and the ends' own functions,
// then joint_stop, which expects that everything was given back. A mistake of the test aborts.
#ifndef TABARD_TESTS_UNIT_NET_HTTP2_JOINT_H
#define TABARD_TESTS_UNIT_NET_HTTP2_JOINT_H

#include <uv.h>

#include "net/http2/conn.h"
#include "tests/unit/support/loop.h"

#define JOINT_WAIT_MS 20000
#define JOINT_ENDS    8

// One end of a stream. A test sets those of the first part.
struct end {
    struct h2_stream stream; // first
    const char *trailer;     // sent by a server's end behind its last byte
    bool keeps;              // consumes nothing by itself
    bool leaves_early;       // leaves with CANCEL at the first bytes

    const uint8_t *out; // where the next byte to send lies
    size_t out_len;     // and how many wait
    uint64_t num_in;
    bool is_in_wrong; // what came is not the pattern that end_send sends
    char authority[64];
    char trailer_in[64];
    unsigned num_headers;
    unsigned num_ends; // END_STREAM
    unsigned num_closes;
    unsigned num_turns;
    unsigned num_times;
    unsigned num_released;
    struct h2_close close; // `why` is in close_why
    char close_why[128];
};

struct joint {
    uv_loop_t loop;
    uv_pipe_t listener;
    char folder[80];
    struct h2_limits server_limits;
    struct h2_conn *client; // NULL once on_closed came
    struct h2_conn *server;
    uint64_t client_bites[H2_LIMIT_NUM];
    uint64_t server_bites[H2_LIMIT_NUM];
    struct end ends[JOINT_ENDS];  // the client's
    struct end taken[JOINT_ENDS]; // the server's, in the same order
    unsigned num_taken;
    unsigned refuses; // the server's on_request refuses from this stream on; 0: never
    unsigned num_open;
    unsigned num_going_away;
    unsigned num_closed;
    char closed_why[300]; // the client's
};

// joint_start joins the two. NULL: the usual limits.
void joint_start(struct joint *joint, const struct h2_limits *client,
                 const struct h2_limits *server);
void joint_stop(struct joint *joint);

// joint_drop releases a stream, for h2_conn_abandon.
void joint_drop(struct h2_stream *stream, void *ctx);

// joint_open opens the next stream, a CONNECT, and waits until the server has it.
struct end *joint_open(struct joint *joint, const char *authority);

// end_answer sends a response; with is_last nothing follows.
void end_answer(struct end *end, const char *status, bool is_last);

// end_send offers the next len bytes of one pattern, and no more than JOINT_BYTES in all.
#define JOINT_BYTES 400000
void end_send(struct end *end, size_t len);

// Waits that abort when they take too long.
#define joint_wait(joint, cond) cr_assert(run_until((joint), (cond), JOINT_WAIT_MS), #cond)

// joint_settle runs the loop until it has nothing to do at once.
void joint_settle(struct joint *joint);

#endif
