// SPDX-License-Identifier: Apache-2.0
#include "net/grpc/message.h"

#include <string.h>

void grpc_reader_cleanup(struct grpc_reader *reader)
{
    bytes_wipe(&reader->bytes); // a message may hold a token
    *reader = (struct grpc_reader){.message_bytes_max = reader->message_bytes_max};
}

void grpc_prefix_write(uint8_t out[GRPC_PREFIX_LEN], uint32_t body_len)
{
    out[0] = 0;
    out[1] = (uint8_t)(body_len >> 24);
    out[2] = (uint8_t)(body_len >> 16);
    out[3] = (uint8_t)(body_len >> 8);
    out[4] = (uint8_t)body_len;
}

size_t grpc_reader_held(const struct grpc_reader *reader)
{
    return reader->bytes.len - reader->at;
}

// Moves what is left to the front, so that the space of messages already taken is used again.
static void compact(struct grpc_reader *reader)
{
    size_t held = grpc_reader_held(reader);
    if (reader->at > 0 && held > 0) {
        memmove(reader->bytes.at, reader->bytes.at + reader->at, held);
    }
    reader->at = 0;
    reader->bytes.len = held;
}

bool grpc_reader_push(struct grpc_reader *reader, const uint8_t *bytes, size_t len)
{
    if (reader->bytes.len + len > reader->bytes.cap) {
        compact(reader);
    }
    if (!bytes_reserve(&reader->bytes, len)) {
        return false;
    }
    bytes_push(&reader->bytes, bytes, len);
    return true;
}

enum grpc_reader_result grpc_reader_next(struct grpc_reader *reader, const uint8_t **out_body,
                                         size_t *out_len)
{
    *out_body = NULL;
    *out_len = 0;
    size_t held = grpc_reader_held(reader);
    if (held == 0) {
        grpc_reader_cleanup(reader); // an idle call holds no memory
        return GRPC_READER_MORE;
    }
    const uint8_t *prefix = reader->bytes.at + reader->at;
    if (prefix[0] != 0) {
        return prefix[0] == 1 ? GRPC_READER_COMPRESSED : GRPC_READER_BAD_FLAG;
    }
    if (held < GRPC_PREFIX_LEN) {
        return GRPC_READER_MORE;
    }
    size_t body_len =
        (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];
    *out_len = body_len;
    if (body_len > reader->message_bytes_max) {
        return GRPC_READER_TOO_LONG;
    }
    if (held - GRPC_PREFIX_LEN < body_len) {
        return GRPC_READER_MORE;
    }
    *out_body = prefix + GRPC_PREFIX_LEN;
    reader->at += GRPC_PREFIX_LEN + body_len;
    return GRPC_READER_MESSAGE;
}
