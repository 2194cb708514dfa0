// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "base/data/utf8.h"
#include "control/agent/sources/policy_agent/pa_response.h"

enum wire_type { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

struct wire {
    const uint8_t *at;
    const uint8_t *end;
};

static bool take_varint(struct wire *wire, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && wire->at < wire->end; shift += 7) {
        uint8_t byte = *wire->at++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return true;
        }
    }
    return false;
}

static bool check_message(const ProtobufCMessageDescriptor *descriptor, struct wire wire,
                          unsigned depth, struct err *err);

static bool check_bytes(const ProtobufCFieldDescriptor *field, struct wire value, unsigned depth,
                        struct err *err)
{
    size_t len = (size_t)(value.end - value.at);
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        if (memchr(value.at, 0, len) != NULL) {
            return err_set_at(err, field->name, "a NUL is in this text");
        }
        return utf8_is_valid(value.at, len) ||
               err_set_at(err, field->name, "this text is not UTF-8");
    }
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        return true;
    }
    if (depth >= PA_RESPONSE_DEPTH_MAX) {
        return err_set_at(err, field->name, "messages in it are nested deeper than %d",
                          PA_RESPONSE_DEPTH_MAX);
    }
    return check_message(field->descriptor, value, depth + 1, err) ||
           err_prefix_where(err, "%s", field->name);
}

static bool check_message(const ProtobufCMessageDescriptor *descriptor, struct wire wire,
                          unsigned depth, struct err *err)
{
    while (wire.at < wire.end) {
        uint64_t tag = 0;
        uint64_t number = 0;
        if (!take_varint(&wire, &tag)) {
            return err_set(err, "no protobuf message");
        }
        size_t left = (size_t)(wire.end - wire.at);
        switch (tag & 7) {
        case WIRE_VARINT:
            if (!take_varint(&wire, &number)) {
                return err_set(err, "no protobuf message");
            }
            break;
        case WIRE_64:
        case WIRE_32: {
            size_t size = (tag & 7) == WIRE_64 ? 8 : 4;
            if (left < size) {
                return err_set(err, "no protobuf message");
            }
            wire.at += size;
            break;
        }
        case WIRE_BYTES: {
            if (!take_varint(&wire, &number) || number > (size_t)(wire.end - wire.at)) {
                return err_set(err, "no protobuf message");
            }
            struct wire value = {.at = wire.at, .end = wire.at + number};
            wire.at = value.end;
            const ProtobufCFieldDescriptor *field =
                protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(tag >> 3));
            if (field != NULL && !check_bytes(field, value, depth, err)) {
                return false;
            }
            break;
        }
        default:
            return err_set(err, "no protobuf message");
        }
    }
    return true;
}

bool pa_text_check(const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t len,
                   struct err *err)
{
    return check_message(descriptor, (struct wire){.at = bytes, .end = bytes + len}, 0, err);
}
