// SPDX-License-Identifier: Apache-2.0
//
// Length-prefixed messages on a byte stream: a 32-bit big-endian length, then as many bytes.
// Whoever reads a stream owns a frame_reader and pushes the stream's bytes into it, which hands out
// whole frames. A length over frame_bytes_max is refused before anything is allocated for it.
#ifndef TABARD_NET_PIPE_FRAME_H
#define TABARD_NET_PIPE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define FRAME_PREFIX_LEN 4

// Puts frames together again that arrive in pieces of any length. Zero state: {.frame_bytes_max =
// n}.
struct frame_reader {
    uint8_t *bytes;         // owned, malloc; prefix and body of the frame under way
    size_t bytes_len;       // how many are there
    size_t bytes_cap;       // how many there is room for
    size_t frame_bytes_max; // the longest body accepted
};

// frame_reader_cleanup frees what is held and leaves the zero state with the same limit.
void frame_reader_cleanup(struct frame_reader *reader);

// frame_reader_push takes `len` bytes and calls on_frame for every frame that they complete, in
// order; the body is borrowed until the call returns. false sets err: a frame is over the limit,
// there is no memory for it, or on_frame has set err and returned false. The stream is unusable
// after that.
bool frame_reader_push(struct frame_reader *reader, const uint8_t *bytes, size_t len,
                       bool (*on_frame)(void *ctx, const uint8_t *body, size_t body_len,
                                        struct err *err),
                       void *ctx, struct err *err);

// frame_prefix_write writes the prefix of a body of body_len bytes.
void frame_prefix_write(uint8_t out[FRAME_PREFIX_LEN], uint32_t body_len);

#endif
