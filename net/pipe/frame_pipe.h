// SPDX-License-Identifier: Apache-2.0
//
// Frames (net/pipe/frame.h) over one end of a Unix stream socket, in both directions. Embedded by
// its user, on whose loop's thread everything happens: frame_pipe_init, then frame_pipe_push for
// each frame to send, until on_gone or frame_pipe_close; the memory stays until on_closed. Bounded
// by its spec. It looks into no frame.
#ifndef TABARD_NET_PIPE_FRAME_PIPE_H
#define TABARD_NET_PIPE_FRAME_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/data/bytes.h"
#include "base/err.h"
#include "net/pipe/frame.h"

struct frame_pipe_spec {
    size_t in_bytes_max;     // of a frame that comes, without its prefix
    size_t out_bytes_max;    // of a frame that is sent, without its prefix
    size_t unsent_bytes_max; // that wait for the peer to take them
    // While more than this is unsent nothing is read, until the peer has taken all of it: an end
    // that answers requests makes no more answers than are taken. 0: it always reads. Of the two
    // ends of a socket one must always read, or each may wait for the other.
    size_t unsent_bytes_pause;
    // A frame has come; it is borrowed until the call returns. false sets err and breaks the pipe.
    bool (*on_frame)(void *ctx, const uint8_t *body, size_t body_len, struct err *err);
    // The peer's end is closed (is_eof), or what it sent is over a bound, or on_frame said no.
    // Once, from the loop; the pipe is closing then.
    void (*on_gone)(void *ctx, bool is_eof, const char *why);
    void (*on_closed)(void *ctx); // the memory may go; NULL: nobody needs to know
    void *ctx;
};

struct frame_pipe {
    struct frame_pipe_spec spec;
    uv_pipe_t pipe;
    uv_prepare_t turn_end; // frames pushed in one turn of the loop leave as one write
    uv_write_t write;
    struct frame_reader reader;
    struct bytes queue;   // owned: frames that no write has begun with
    struct bytes writing; // owned: what `write` is about; empty when none is under way
    unsigned handles_open;
    bool is_open; // neither gone nor closed
    bool is_paused;
};

// frame_pipe_init takes over `fd`, also on failure, and begins to read. false sets err; the pipe is
// closing then, and on_closed is called all the same.
bool frame_pipe_init(struct frame_pipe *pipe, uv_loop_t *loop, int fd,
                     const struct frame_pipe_spec *spec, struct err *err);

// frame_pipe_push adds a frame to what is to be sent, and returns where its body of body_len bytes
// is to be written before the caller returns to the loop or pushes again. It leaves when the loop's
// turn ends. NULL sets err, and nothing was added: the pipe is closed, the body is over
// out_bytes_max, or the peer leaves too much unread. No hook is called.
uint8_t *frame_pipe_push(struct frame_pipe *pipe, size_t body_len, struct err *err);

// frame_pipe_flush lets what was pushed leave at once. No hook is called.
void frame_pipe_flush(struct frame_pipe *pipe);

// frame_pipe_unsent returns how many bytes wait for the peer to take them.
size_t frame_pipe_unsent(const struct frame_pipe *pipe);

// frame_pipe_close closes the socket and forgets what is unsent. on_gone is not called any more. A
// closed pipe stays closed.
void frame_pipe_close(struct frame_pipe *pipe);

#endif
