// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/bytes.h"
#include "base/data/port_range.h"
#include "base/data/quote.h"
#include "base/pb/pb_text_internal.h"

static void put_line(struct bytes *out, unsigned depth)
{
    bytes_push_text(out, "\n");
    for (unsigned i = 0; i < depth; i++) {
        bytes_push_text(out, "  ");
    }
}

// Strings may come from the wire, where protobuf-c doesn't check their UTF-8. pb_text_parse reads
// every text back.
static void put_string(struct bytes *out, const char *string)
{
    quote_push(out, string, strlen(string));
}

static void put_base64(struct bytes *out, const ProtobufCBinaryData *bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes_push_text(out, "\"");
    for (size_t i = 0; i < bytes->len; i += 3) {
        size_t left = bytes->len - i;
        uint32_t group = (uint32_t)bytes->data[i] << 16;
        group |= left > 1 ? (uint32_t)bytes->data[i + 1] << 8 : 0;
        group |= left > 2 ? bytes->data[i + 2] : 0;
        char quad[4] = {digits[group >> 18], digits[group >> 12 & 63],
                        left > 1 ? digits[group >> 6 & 63] : '=',
                        left > 2 ? digits[group & 63] : '='};
        bytes_push(out, quad, sizeof quad);
    }
    bytes_push_text(out, "\"");
}

// Prints the shortest text that reads back as the same value.
static void put_real(struct bytes *out, double value, bool is_float)
{
    char buf[40];
    int digits = is_float ? 6 : 15;
    do {
        snprintf(buf, sizeof buf, "%.*g", digits++, value);
    } while (digits <= 17 && (is_float ? (double)strtof(buf, NULL) : strtod(buf, NULL)) != value);
    bytes_push_text(out, isfinite(value) ? buf : "null"); // JSON has no word for the others
}

// Ports that are none, which only the wire can bring, print as the number that they are.
static void put_uint32(struct bytes *out, const ProtobufCFieldDescriptor *field, uint32_t value)
{
    struct port_range range;
    char text[PORT_RANGE_TEXT_MAX];
    if (value > UINT16_MAX && pb_text_is_ports(field) && port_range_of(&range, value, NULL)) {
        put_string(out, port_range_text(range, text));
    } else {
        bytes_push_format(out, "%" PRIu32, value);
    }
}

static void put_message(struct bytes *out, const ProtobufCMessage *message, unsigned depth);

static void put_value(struct bytes *out, const ProtobufCFieldDescriptor *field, const void *at,
                      unsigned depth)
{
    const ProtobufCEnumValue *value = NULL;
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        put_uint32(out, field, *(const uint32_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        bytes_push_format(out, "%" PRIu64, *(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        bytes_push_format(out, "%" PRId32, *(const int32_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        bytes_push_format(out, "%" PRId64, *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        put_real(out, (double)*(const float *)at, true);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        put_real(out, *(const double *)at, false);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        bytes_push_text(out, *(const protobuf_c_boolean *)at ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        value = protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)at);
        if (value == NULL) {
            bytes_push_format(out, "%d", *(const int *)at);
        } else {
            put_string(out, value->name);
        }
        break;
    case PROTOBUF_C_TYPE_STRING:
        put_string(out, *(char *const *)at == NULL ? "" : *(char *const *)at);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        put_base64(out, at);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        put_message(out, *(ProtobufCMessage *const *)at, depth);
        break;
    }
}

bool pb_text_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const void *at = pb_text_field_at(message, field);
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return *(const size_t *)((const char *)message + field->quantifier_offset) > 0;
    }
    static const char zeros[sizeof(ProtobufCBinaryData)];
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        return *(const uint32_t *)((const char *)message + field->quantifier_offset) == field->id &&
               (field->type != PROTOBUF_C_TYPE_MESSAGE || *(void *const *)at != NULL);
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return *(void *const *)at != NULL;
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        return *(char *const *)at != NULL && **(char *const *)at != '\0';
    }
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        return ((const ProtobufCBinaryData *)at)->len > 0;
    }
    return memcmp(at, zeros, pb_text_value_size(field)) != 0;
}

static void put_field(struct bytes *out, const ProtobufCMessage *message,
                      const ProtobufCFieldDescriptor *field, unsigned depth)
{
    const char *at = pb_text_field_at(message, field);
    put_string(out, field->name);
    bytes_push_text(out, ": ");
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        put_value(out, field, at, depth);
        return;
    }
    size_t num = *(const size_t *)((const char *)message + field->quantifier_offset);
    const char *values = *(char *const *)at;
    bytes_push_text(out, "[");
    for (size_t i = 0; i < num; i++) {
        bytes_push_text(out, i == 0 ? "" : ",");
        put_line(out, depth + 1);
        put_value(out, field, values + i * pb_text_value_size(field), depth + 1);
    }
    put_line(out, depth);
    bytes_push_text(out, "]");
}

static void put_message(struct bytes *out, const ProtobufCMessage *message, unsigned depth)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    bool is_first = true;
    bytes_push_text(out, "{");
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        if (pb_text_is_set(message, field)) {
            bytes_push_text(out, is_first ? "" : ",");
            put_line(out, depth + 1);
            put_field(out, message, field, depth + 1);
            is_first = false;
        }
    }
    if (!is_first) {
        put_line(out, depth);
    }
    bytes_push_text(out, "}");
}

char *pb_text_to_json(const ProtobufCMessage *message)
{
    struct bytes out = {0};
    put_message(&out, message, 0);
    bytes_push_text(&out, "\n");
    return bytes_take_text(&out);
}

// `path` holds path_len bytes of the way here, and the answer when there is one.
static bool has_unknown(const ProtobufCMessage *message, char *path, size_t path_len)
{
    if (message->n_unknown_fields > 0) {
        return true;
    }
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        bool is_repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        if ((field->type != PROTOBUF_C_TYPE_MESSAGE && field->type != PROTOBUF_C_TYPE_ENUM) ||
            !pb_text_is_set(message, field)) {
            continue;
        }
        const char *at = pb_text_field_at(message, field);
        size_t num = 1;
        if (is_repeated) {
            num = *(const size_t *)((const char *)message + field->quantifier_offset);
            at = *(char *const *)at;
        }
        for (size_t k = 0; k < num; k++, at += pb_text_value_size(field)) {
            size_t len = path_len;
            const char *dot = len == 0 ? "" : ".";
            int more =
                is_repeated
                    ? snprintf(path + len, PB_TEXT_PATH_MAX - len, "%s%s[%zu]", dot, field->name, k)
                    : snprintf(path + len, PB_TEXT_PATH_MAX - len, "%s%s", dot, field->name);
            len += more > 0 ? (size_t)more : 0;
            len = len < PB_TEXT_PATH_MAX ? len : PB_TEXT_PATH_MAX - 1;
            if (field->type == PROTOBUF_C_TYPE_ENUM
                    ? protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)at) ==
                          NULL
                    : has_unknown(*(ProtobufCMessage *const *)at, path, len)) {
                return true;
            }
        }
    }
    path[path_len] = '\0';
    return false;
}

bool pb_text_has_unknown(const ProtobufCMessage *message, char *out_where)
{
    char path[PB_TEXT_PATH_MAX] = "";
    bool result = has_unknown(message, path, 0);
    if (result && out_where != NULL) {
        memcpy(out_where, path, sizeof path);
    }
    return result;
}

bool pb_text_check_known(const ProtobufCMessage *message, struct err *err)
{
    char where[PB_TEXT_PATH_MAX];
    return !pb_text_has_unknown(message, where) ||
           err_set_at(err, where, "there is a field or value here that this version doesn't know");
}
