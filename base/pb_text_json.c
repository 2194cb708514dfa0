// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb_text_internal.h"

// The text under way. After one failed allocation nothing more is added.
struct out {
    char *text; // owned
    size_t len;
    size_t cap;
    bool is_broken;
};

static void put(struct out *out, const char *text, size_t len)
{
    if (!out->is_broken && out->len + len + 1 > out->cap) {
        size_t cap = (out->len + len + 1) * 2;
        char *grown = realloc(out->text, cap);
        if (grown == NULL) {
            out->is_broken = true;
        } else {
            out->text = grown;
            out->cap = cap;
        }
    }
    if (!out->is_broken) {
        memcpy(out->text + out->len, text, len);
        out->len += len;
        out->text[out->len] = '\0';
    }
}

static void put_text(struct out *out, const char *text)
{
    put(out, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void put_format(struct out *out, const char *format,
                                                             ...)
{
    char buf[64];
    va_list args;
    va_start(args, format);
    vsnprintf(buf, sizeof buf, format, args);
    va_end(args);
    put_text(out, buf);
}

static void put_line(struct out *out, unsigned depth)
{
    put_text(out, "\n");
    for (unsigned i = 0; i < depth; i++) {
        put_text(out, "  ");
    }
}

// Decodes one character of UTF-8 (RFC 3629) and returns its length; 0 when the bytes are no such
// thing.
static size_t utf8_decode(const unsigned char *text, size_t len, uint32_t *out)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t want = text[0] < 0x80   ? 1
                  : text[0] < 0xc2 ? 0
                  : text[0] < 0xe0 ? 2
                  : text[0] < 0xf0 ? 3
                  : text[0] < 0xf5 ? 4
                                   : 0;
    if (want == 0 || want > len) {
        return 0;
    }
    uint32_t value = want == 1 ? text[0] : text[0] & (0xffu >> (want + 1));
    for (size_t i = 1; i < want; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (text[i] & 0x3fu);
    }
    if (value < least[want] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return 0;
    }
    *out = value;
    return want;
}

// Strings may come from the wire, where protobuf-c doesn't check their UTF-8: bad bytes print as
// U+FFFD. What JSON allows raw and YAML doesn't, or takes for a line break, is escaped, so that
// pb_text_parse reads every text back.
static void put_string(struct out *out, const char *string)
{
    const unsigned char *at = (const unsigned char *)string;
    size_t left = strlen(string);
    put_text(out, "\"");
    while (left > 0) {
        uint32_t c = 0;
        size_t len = utf8_decode(at, left, &c);
        if (len == 0) {
            c = 0xfffd;
        }
        bool is_raw = (c >= 0x20 && c <= 0x7e && c != '"' && c != '\\') ||
                      (c >= 0xa0 && c != 0x2028 && c != 0x2029 && c != 0xfeff && c != 0xfffd &&
                       c != 0xfffe && c != 0xffff);
        if (is_raw) {
            put(out, (const char *)at, len);
        } else if (c == '"' || c == '\\') {
            put_format(out, "\\%c", (int)c);
        } else if (c == '\n') {
            put_text(out, "\\n");
        } else {
            put_format(out, "\\u%04x", (unsigned)c);
        }
        at += len == 0 ? 1 : len;
        left -= len == 0 ? 1 : len;
    }
    put_text(out, "\"");
}

static void put_base64(struct out *out, const ProtobufCBinaryData *bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    put_text(out, "\"");
    for (size_t i = 0; i < bytes->len; i += 3) {
        size_t left = bytes->len - i;
        uint32_t group = (uint32_t)bytes->data[i] << 16;
        group |= left > 1 ? (uint32_t)bytes->data[i + 1] << 8 : 0;
        group |= left > 2 ? bytes->data[i + 2] : 0;
        char quad[4] = {digits[group >> 18], digits[group >> 12 & 63],
                        left > 1 ? digits[group >> 6 & 63] : '=',
                        left > 2 ? digits[group & 63] : '='};
        put(out, quad, sizeof quad);
    }
    put_text(out, "\"");
}

// The shortest text that reads back as the same value.
static void put_real(struct out *out, double value, bool is_float)
{
    char buf[40];
    int digits = is_float ? 6 : 15;
    do {
        snprintf(buf, sizeof buf, "%.*g", digits++, value);
    } while (digits <= 17 && (is_float ? (double)strtof(buf, NULL) : strtod(buf, NULL)) != value);
    put_text(out, isfinite(value) ? buf : "null"); // JSON has no word for the others
}

static void put_message(struct out *out, const ProtobufCMessage *message, unsigned depth);

static void put_value(struct out *out, const ProtobufCFieldDescriptor *field, const void *at,
                      unsigned depth)
{
    const ProtobufCEnumValue *value = NULL;
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        put_format(out, "%" PRIu32, *(const uint32_t *)at);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        put_format(out, "%" PRIu64, *(const uint64_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        put_format(out, "%" PRId32, *(const int32_t *)at);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        put_format(out, "%" PRId64, *(const int64_t *)at);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        put_real(out, (double)*(const float *)at, true);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        put_real(out, *(const double *)at, false);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        put_text(out, *(const protobuf_c_boolean *)at ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        value = protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)at);
        if (value == NULL) {
            put_format(out, "%d", *(const int *)at);
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

// Whether a field that is not repeated holds something to print.
static bool is_present(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const void *at = pb_text_field_at(message, field);
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

static void put_field(struct out *out, const ProtobufCMessage *message,
                      const ProtobufCFieldDescriptor *field, unsigned depth)
{
    const char *at = pb_text_field_at(message, field);
    put_string(out, field->name);
    put_text(out, ": ");
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        put_value(out, field, at, depth);
        return;
    }
    size_t num = *(const size_t *)((const char *)message + field->quantifier_offset);
    const char *values = *(char *const *)at;
    put_text(out, "[");
    for (size_t i = 0; i < num; i++) {
        put_text(out, i == 0 ? "" : ",");
        put_line(out, depth + 1);
        put_value(out, field, values + i * pb_text_value_size(field), depth + 1);
    }
    put_line(out, depth);
    put_text(out, "]");
}

static void put_message(struct out *out, const ProtobufCMessage *message, unsigned depth)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    bool is_first = true;
    put_text(out, "{");
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        bool is_there =
            field->label == PROTOBUF_C_LABEL_REPEATED
                ? *(const size_t *)((const char *)message + field->quantifier_offset) > 0
                : is_present(message, field);
        if (is_there) {
            put_text(out, is_first ? "" : ",");
            put_line(out, depth + 1);
            put_field(out, message, field, depth + 1);
            is_first = false;
        }
    }
    if (!is_first) {
        put_line(out, depth);
    }
    put_text(out, "}");
}

char *pb_text_to_json(const ProtobufCMessage *message)
{
    struct out out = {0};
    put_message(&out, message, 0);
    put_text(&out, "\n");
    if (out.is_broken) {
        free(out.text);
        return NULL;
    }
    return out.text;
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
            (!is_repeated && !is_present(message, field))) {
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
