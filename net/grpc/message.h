// SPDX-License-Identifier: Apache-2.0
//
// gRPC's length-prefixed messages on a byte stream: a flag, a 32-bit big-endian length, as many
// bytes (PROTOCOL-HTTP2.md). A reader is bounded by message_bytes_max, which is checked before
// memory is made for a length, and by what its owner pushes before it takes messages. Memory grows
// with what has arrived, never with what is promised. Compression is not supported: its flag is an
// error.
#ifndef TABARD_NET_GRPC_MESSAGE_H
#define TABARD_NET_GRPC_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/data/bytes.h"

#define GRPC_PREFIX_LEN 5

// Zero state: {.message_bytes_max = n}.
struct grpc_reader {
    struct bytes bytes; // empty, and without memory, when idle
    size_t at;          // where the first message not yet taken starts
    size_t message_bytes_max;
};

enum grpc_reader_result {
    GRPC_READER_MORE,       // no whole message is there
    GRPC_READER_MESSAGE,    // *out_body is one
    GRPC_READER_TOO_LONG,   // its length, *out_len, is over message_bytes_max
    GRPC_READER_COMPRESSED, // its flag is 1
    GRPC_READER_BAD_FLAG    // its flag is neither 0 nor 1
};

void grpc_reader_cleanup(struct grpc_reader *reader);

// grpc_reader_push adds bytes, cut anywhere. false: out of memory. Bodies given out before are
// gone.
bool grpc_reader_push(struct grpc_reader *reader, const uint8_t *bytes, size_t len);

// grpc_reader_next takes the next whole message; the body is borrowed until the next push or
// cleanup. After an error it returns that error for ever.
enum grpc_reader_result grpc_reader_next(struct grpc_reader *reader, const uint8_t **out_body,
                                         size_t *out_len);

// grpc_reader_held returns how many bytes are there that no message has been made of.
size_t grpc_reader_held(const struct grpc_reader *reader);

// grpc_prefix_write writes the prefix of an uncompressed message.
void grpc_prefix_write(uint8_t out[GRPC_PREFIX_LEN], uint32_t body_len);

#endif
