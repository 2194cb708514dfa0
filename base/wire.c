// SPDX-License-Identifier: Apache-2.0
#include "base/wire.h"

#include <stdlib.h>
#include <string.h>

#define CAP_MIN 256

enum wire_type { WIRE_VARINT = 0, WIRE_LEN = 2 };

void wire_cleanup(struct wire *wire)
{
    free(wire->bytes);
    *wire = (struct wire){.bytes = NULL};
}

static uint8_t *room_for(struct wire *wire, size_t len)
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

void wire_put_raw(struct wire *wire, const void *bytes, size_t len)
{
    uint8_t *at = len > 0 ? room_for(wire, len) : NULL;
    if (at != NULL) {
        memcpy(at, bytes, len);
    }
}

static void put_varint(struct wire *wire, uint64_t value)
{
    uint8_t bytes[10];
    size_t len = 0;
    do {
        bytes[len++] = (uint8_t)(value | 0x80);
        value >>= 7;
    } while (value != 0);
    bytes[len - 1] &= 0x7f;
    wire_put_raw(wire, bytes, len);
}

void wire_put_head(struct wire *wire, uint32_t number, size_t len)
{
    put_varint(wire, (uint64_t)number << 3 | WIRE_LEN);
    put_varint(wire, len);
}

void wire_put_field(struct wire *wire, uint32_t number, const void *bytes, size_t len)
{
    wire_put_head(wire, number, len);
    wire_put_raw(wire, bytes, len);
}

void wire_put_number(struct wire *wire, uint32_t number, uint64_t value)
{
    put_varint(wire, (uint64_t)number << 3 | WIRE_VARINT);
    put_varint(wire, value);
}

void wire_put_message(struct wire *wire, uint32_t number, const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    wire_put_head(wire, number, len);
    uint8_t *at = len > 0 ? room_for(wire, len) : NULL;
    if (at != NULL) {
        protobuf_c_message_pack(message, at);
    }
}
