// SPDX-License-Identifier: Apache-2.0
#include "base/pb/pb_wire.h"

enum wire_type { WIRE_VARINT = 0, WIRE_LEN = 2 };

static void put_varint(struct bytes *to, uint64_t value)
{
    uint8_t bytes[10];
    size_t len = 0;
    do {
        bytes[len++] = (uint8_t)(value | 0x80);
        value >>= 7;
    } while (value != 0);
    bytes[len - 1] &= 0x7f;
    bytes_push(to, bytes, len);
}

// Begins a field whose len bytes come next.
static void put_head(struct bytes *to, uint32_t number, size_t len)
{
    put_varint(to, (uint64_t)number << 3 | WIRE_LEN);
    put_varint(to, len);
}

void pb_wire_put_field(struct bytes *to, uint32_t number, const void *bytes, size_t len)
{
    put_head(to, number, len);
    bytes_push(to, bytes, len);
}

void pb_wire_put_number(struct bytes *to, uint32_t number, uint64_t value)
{
    put_varint(to, (uint64_t)number << 3 | WIRE_VARINT);
    put_varint(to, value);
}

void pb_wire_put_message(struct bytes *to, uint32_t number, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    put_head(to, number, len);
    protobuf_c_message_pack(message, bytes_extend(to, len));
}
