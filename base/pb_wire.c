// SPDX-License-Identifier: Apache-2.0
#include "base/pb_wire.h"

#include <stdlib.h>
#include <string.h>

#define CAP_MIN 256

enum wire_type { WIRE_VARINT = 0, WIRE_LEN = 2 };

void pb_wire_cleanup(struct pb_wire *wire)
{
    free(wire->bytes);
    *wire = (struct pb_wire){.bytes = NULL};
}

static uint8_t *room_for(struct pb_wire *wire, size_t len)
{
    if (wire->is_broken) {
        return NULL;
    }
    if (wire->cap - wire->len < len) {
        size_t cap = wire->cap == 0 ? CAP_MIN : wire->cap;
        while (cap - wire->len < len) {
            cap *= 2;
        }
        uint8_t *grown = realloc(wire->bytes, cap);
        if (grown == NULL) {
            wire->is_broken = true;
            return NULL;
        }
        wire->bytes = grown;
        wire->cap = cap;
    }
    uint8_t *at = wire->bytes + wire->len;
    wire->len += len;
    return at;
}

void pb_wire_put_raw(struct pb_wire *wire, const void *bytes, size_t len)
{
    uint8_t *at = len > 0 ? room_for(wire, len) : NULL;
    if (at != NULL) {
        memcpy(at, bytes, len);
    }
}

static void put_varint(struct pb_wire *wire, uint64_t value)
{
    uint8_t bytes[10];
    size_t len = 0;
    do {
        bytes[len++] = (uint8_t)(value | 0x80);
        value >>= 7;
    } while (value != 0);
    bytes[len - 1] &= 0x7f;
    pb_wire_put_raw(wire, bytes, len);
}

void pb_wire_put_head(struct pb_wire *wire, uint32_t number, size_t len)
{
    put_varint(wire, (uint64_t)number << 3 | WIRE_LEN);
    put_varint(wire, len);
}

void pb_wire_put_field(struct pb_wire *wire, uint32_t number, const void *bytes, size_t len)
{
    pb_wire_put_head(wire, number, len);
    pb_wire_put_raw(wire, bytes, len);
}

void pb_wire_put_number(struct pb_wire *wire, uint32_t number, uint64_t value)
{
    put_varint(wire, (uint64_t)number << 3 | WIRE_VARINT);
    put_varint(wire, value);
}

void pb_wire_put_message(struct pb_wire *wire, uint32_t number, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    pb_wire_put_head(wire, number, len);
    uint8_t *at = len > 0 ? room_for(wire, len) : NULL;
    if (at != NULL) {
        protobuf_c_message_pack(message, at);
    }
}
