// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/hello.h"

#include <openssl/bytestring.h>
#include <stdbool.h>
#include <string.h>

enum {
    RECORD_HEADER = 5,
    RECORD_HANDSHAKE = 22,
    RECORD_BYTES_MAX = 1 << 14,
    MAJOR_VERSION = 3,
    MINOR_VERSION_MAX = 4,
    MESSAGE_HEADER = 4,
    MESSAGE_CLIENT_HELLO = 1,
};

// How far the records have been read: the bytes of the handshake message that they hold, and its
// whole length once its header is there.
struct reading {
    size_t num_bytes;
    uint8_t header[MESSAGE_HEADER];
};

// Says whether a record's length can still be one of plaintext; its two bytes stand at 3 and 4.
static bool is_record_len(const uint8_t first[HELLO_DECIDES], size_t len)
{
    if (len <= 4) {
        return len < 4 || first[3] <= RECORD_BYTES_MAX >> 8;
    }
    size_t record_len = (size_t)first[3] << 8 | first[4];
    return record_len > 0 && record_len <= RECORD_BYTES_MAX;
}

// Says whether the first bytes, as many as there are, can still be those of a ClientHello.
static bool is_beginning(const uint8_t first[HELLO_DECIDES], size_t len)
{
    return (len < 1 || first[0] == RECORD_HANDSHAKE) && (len < 2 || first[1] == MAJOR_VERSION) &&
           (len < 3 || first[2] <= MINOR_VERSION_MAX) && is_record_len(first, len) &&
           (len < 6 || first[5] == MESSAGE_CLIENT_HELLO);
}

// Counts the content of a record, of which `len` bytes at `skip` are there.
static void take_content(struct reading *reading, const struct ring *in, size_t skip, size_t len)
{
    if (reading->num_bytes < MESSAGE_HEADER) {
        size_t room = MESSAGE_HEADER - reading->num_bytes;
        ring_copy(in, skip, reading->header + reading->num_bytes, len < room ? len : room);
    }
    reading->num_bytes += len;
}

static size_t message_len(const struct reading *reading)
{
    const uint8_t *header = reading->header;
    return MESSAGE_HEADER + ((size_t)header[1] << 16 | (size_t)header[2] << 8 | (size_t)header[3]);
}

static bool has_length(const struct reading *reading)
{
    return reading->num_bytes >= MESSAGE_HEADER;
}

enum hello_state hello_look(const struct ring *in)
{
    uint8_t first[HELLO_DECIDES];
    const size_t len_seen = in->len < HELLO_BYTES_MAX ? in->len : HELLO_BYTES_MAX;
    size_t at = 0;
    struct reading reading = {0};
    if (!is_beginning(first, ring_copy(in, 0, first, sizeof first))) {
        return HELLO_NONE;
    }
    if (len_seen < HELLO_DECIDES) {
        return HELLO_UNDECIDED;
    }
    while (len_seen - at >= RECORD_HEADER) {
        uint8_t record[RECORD_HEADER];
        ring_copy(in, at, record, sizeof record);
        at += RECORD_HEADER;
        size_t len = (size_t)record[3] << 8 | (size_t)record[4];
        if (record[0] != RECORD_HANDSHAKE || record[1] != MAJOR_VERSION || len == 0) {
            return HELLO_WHOLE;
        }
        size_t there = len_seen - at < len ? len_seen - at : len;
        take_content(&reading, in, at, there);
        if (has_length(&reading) && message_len(&reading) > HELLO_BYTES_MAX) {
            return HELLO_TOO_LONG;
        }
        if (has_length(&reading) && reading.num_bytes >= message_len(&reading)) {
            return HELLO_WHOLE;
        }
        at += there;
    }
    return len_seen < HELLO_BYTES_MAX ? HELLO_PART : HELLO_TOO_LONG;
}

// Copies the handshake message out of its records; returns how many bytes of it are there.
static size_t gather(const struct ring *in, uint8_t *out)
{
    const size_t len_seen = in->len < HELLO_BYTES_MAX ? in->len : HELLO_BYTES_MAX;
    size_t at = 0;
    size_t out_len = 0;
    while (len_seen - at >= RECORD_HEADER) {
        uint8_t record[RECORD_HEADER];
        ring_copy(in, at, record, sizeof record);
        at += RECORD_HEADER;
        size_t len = (size_t)record[3] << 8 | (size_t)record[4];
        if (record[0] != RECORD_HANDSHAKE || len == 0) {
            break;
        }
        size_t there = len_seen - at < len ? len_seen - at : len;
        ring_copy(in, at, out + out_len, there);
        out_len += there;
        at += there;
    }
    return out_len;
}

// Finds the extensions of a ClientHello's message.
static bool find_extensions(CBS *out, const uint8_t *message, size_t len)
{
    enum { RANDOM_BYTES = 32 };
    CBS all, body, skipped;
    uint8_t type;
    uint16_t version;
    CBS_init(&all, message, len);
    return CBS_get_u8(&all, &type) && CBS_get_u24_length_prefixed(&all, &body) &&
           CBS_get_u16(&body, &version) && CBS_skip(&body, RANDOM_BYTES) &&
           CBS_get_u8_length_prefixed(&body, &skipped) &&  // the session's id
           CBS_get_u16_length_prefixed(&body, &skipped) && // cipher suites
           CBS_get_u8_length_prefixed(&body, &skipped) &&  // compression methods
           CBS_get_u16_length_prefixed(&body, out);
}

size_t hello_alpn(const struct ring *in, uint8_t *out)
{
    enum { EXTENSION_ALPN = 16 };
    uint8_t message[HELLO_BYTES_MAX];
    CBS extensions, data, list;
    uint16_t type;
    if (!find_extensions(&extensions, message, gather(in, message))) {
        return 0;
    }
    while (CBS_get_u16(&extensions, &type) && CBS_get_u16_length_prefixed(&extensions, &data)) {
        if (type == EXTENSION_ALPN && CBS_get_u16_length_prefixed(&data, &list)) {
            memcpy(out, CBS_data(&list), CBS_len(&list));
            return CBS_len(&list);
        }
    }
    return 0;
}
