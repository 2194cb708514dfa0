// SPDX-License-Identifier: Apache-2.0
#include "net/pipe/frame.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_KEPT_MAX 65536 // of an empty reader

void frame_reader_cleanup(struct frame_reader *reader)
{
    free(reader->bytes);
    *reader = (struct frame_reader){.frame_bytes_max = reader->frame_bytes_max};
}

void frame_prefix_write(uint8_t out[FRAME_PREFIX_LEN], uint32_t body_len)
{
    out[0] = (uint8_t)(body_len >> 24);
    out[1] = (uint8_t)(body_len >> 16);
    out[2] = (uint8_t)(body_len >> 8);
    out[3] = (uint8_t)body_len;
}

static size_t prefix_read(const uint8_t *in)
{
    return (size_t)in[0] << 24 | (size_t)in[1] << 16 | (size_t)in[2] << 8 | in[3];
}

// Makes room for `need` bytes in all.
static bool reserve(struct frame_reader *reader, size_t need, struct err *err)
{
    if (need <= reader->bytes_cap) {
        return true;
    }
    uint8_t *grown = realloc(reader->bytes, need);
    if (grown == NULL) {
        return err_set(err, "out of memory for a frame of %zu bytes", need);
    }
    reader->bytes = grown;
    reader->bytes_cap = need;
    return true;
}

// Fills the reader up to `want` bytes in all; returns how many it took from `bytes`.
static size_t fill(struct frame_reader *reader, size_t want, const uint8_t *bytes, size_t len)
{
    size_t missing = want - reader->bytes_len;
    size_t take = len < missing ? len : missing;
    memcpy(reader->bytes + reader->bytes_len, bytes, take);
    reader->bytes_len += take;
    return take;
}

// Says how many bytes the frame under way has in all: its prefix alone until that is complete.
// false sets err: it is over the limit.
static bool whole_len(const struct frame_reader *reader, size_t *out, struct err *err)
{
    *out = FRAME_PREFIX_LEN;
    if (reader->bytes_len >= FRAME_PREFIX_LEN) {
        size_t body_len = prefix_read(reader->bytes);
        if (body_len > reader->frame_bytes_max) {
            return err_set(err, "a frame of %zu bytes is over the limit of %zu", body_len,
                           reader->frame_bytes_max);
        }
        *out += body_len;
    }
    return true;
}

bool frame_reader_push(struct frame_reader *reader, const uint8_t *bytes, size_t len,
                       bool (*on_frame)(void *ctx, const uint8_t *body, size_t body_len,
                                        struct err *err),
                       void *ctx, struct err *err)
{
    while (len > 0) {
        size_t whole = 0;
        if (!whole_len(reader, &whole, err) || !reserve(reader, whole, err)) {
            return false;
        }
        size_t taken = fill(reader, whole, bytes, len);
        bytes += taken;
        len -= taken;
        if (!whole_len(reader, &whole, err)) { // the prefix may have become complete just now
            return false;
        }
        if (reader->bytes_len < FRAME_PREFIX_LEN || reader->bytes_len < whole) {
            continue;
        }
        reader->bytes_len = 0;
        bool accepted =
            on_frame(ctx, reader->bytes + FRAME_PREFIX_LEN, whole - FRAME_PREFIX_LEN, err);
        if (reader->bytes_cap > BYTES_KEPT_MAX) {
            frame_reader_cleanup(
                reader); // a large snapshot must not hold its memory until the next one
        }
        if (!accepted) {
            return false;
        }
    }
    return true;
}
