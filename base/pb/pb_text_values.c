// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/port_range.h"
#include "base/digits.h"
#include "base/must.h"
#include "base/pb/pb_text_internal.h"

void *pb_text_field_at(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return (char *)(uintptr_t)message + field->offset;
}

size_t pb_text_value_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return sizeof(uint64_t);
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(double);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return sizeof(uint32_t); // the 32-bit numbers, float, bool (an int in protobuf-c) and enums
    }
}

bool pb_text_is_ports(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_UINT32 &&
           (strcmp(field->name, "port") == 0 || strcmp(field->name, "ports") == 0);
}

const char *pb_text_quote(const char *text, size_t len, char *buf)
{
    size_t at = 0;
    buf[at++] = '"';
    size_t i = 0;
    for (; i < len && at < PB_TEXT_QUOTE_MAX - 12; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c > 0x7e) {
            at += (size_t)snprintf(buf + at, PB_TEXT_QUOTE_MAX - at, "\\x%02x", c);
        } else {
            buf[at++] = (char)c;
        }
    }
    snprintf(buf + at, PB_TEXT_QUOTE_MAX - at, "%s\"", i < len ? "..." : "");
    return buf;
}

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

// Returns how many characters to insert, delete or replace to make one text of the other, letter
// case aside.
static unsigned edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    enum { LEN_MAX = 64 };
    unsigned row[LEN_MAX + 1];
    if (a_len > LEN_MAX || b_len > LEN_MAX) {
        return LEN_MAX;
    }
    for (unsigned j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (unsigned i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b_len; j++) {
            unsigned best = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = best;
        }
    }
    return row[b_len];
}

const char *pb_text_nearest(const char *text, size_t len,
                            const char *(*name_at)(const void *ctx, unsigned i), const void *ctx,
                            unsigned num_names)
{
    const char *nearest = NULL;
    unsigned least = 0;
    for (unsigned i = 0; i < num_names; i++) {
        const char *name = name_at(ctx, i);
        unsigned distance = edit_distance(text, len, name, strlen(name));
        if (name[0] != '\0' && distance <= 1 + strlen(name) / 4 &&
            (nearest == NULL || distance < least)) {
            nearest = name;
            least = distance;
        }
    }
    return nearest;
}

static bool refuse_quoted(const struct pb_text_scalar *scalar, const char *kind, struct err *err)
{
    char quote[PB_TEXT_QUOTE_MAX];
    return err_set(err, "%s is a text in quotes: write the %s without them",
                   pb_text_quote(scalar->text, scalar->len, quote), kind);
}

static bool read_unsigned(const struct pb_text_scalar *scalar, uint64_t max, uint64_t *out,
                          struct err *err)
{
    char quote[PB_TEXT_QUOTE_MAX];
    if (scalar->is_quoted) {
        return refuse_quoted(scalar, "number", err);
    }
    if (!digits_read(out, scalar->text, scalar->len, DIGITS_REFUSE_ZEROS, max)) {
        return err_set(err, "%s is not a whole number from 0 to %" PRIu64,
                       pb_text_quote(scalar->text, scalar->len, quote), max);
    }
    return true;
}

// A range may stand in quotes, which a number may not.
static bool read_ports(const struct pb_text_scalar *scalar, uint32_t *out, struct err *err)
{
    struct port_range range;
    if (scalar->is_quoted && memchr(scalar->text, '-', scalar->len) == NULL) {
        return refuse_quoted(scalar, "number", err);
    }
    if (!port_range_parse(&range, scalar->text, scalar->len, err)) {
        return false;
    }
    *out = port_range_value(range);
    return true;
}

static bool read_signed(const struct pb_text_scalar *scalar, int64_t min, int64_t max, int64_t *out,
                        struct err *err)
{
    char quote[PB_TEXT_QUOTE_MAX];
    if (scalar->is_quoted) {
        return refuse_quoted(scalar, "number", err);
    }
    bool negative = scalar->len > 0 && scalar->text[0] == '-';
    uint64_t limit = negative ? (uint64_t)0 - (uint64_t)min : (uint64_t)max;
    uint64_t magnitude = 0;
    if (!digits_read(&magnitude, scalar->text + negative, scalar->len - negative,
                     DIGITS_REFUSE_ZEROS, limit)) {
        return err_set(err, "%s is not a whole number from %" PRId64 " to %" PRId64,
                       pb_text_quote(scalar->text, scalar->len, quote), min, max);
    }
    *out = (int64_t)(negative ? (uint64_t)0 - magnitude : magnitude);
    return true;
}

static bool read_double(const struct pb_text_scalar *scalar, double *out, struct err *err)
{
    char quote[PB_TEXT_QUOTE_MAX];
    char copy[64];
    if (scalar->is_quoted) {
        return refuse_quoted(scalar, "number", err);
    }
    // strtod would take hexadecimal, "nan", "inf" and white space too.
    bool plain = scalar->len > 0 && scalar->len < sizeof copy;
    for (size_t i = 0; plain && i < scalar->len; i++) {
        plain = strchr("0123456789+-.eE", scalar->text[i]) != NULL;
    }
    char *end = NULL;
    if (plain) {
        memcpy(copy, scalar->text, scalar->len);
        copy[scalar->len] = '\0';
        *out = strtod(copy, &end);
    }
    if (!plain || *end != '\0' || !isfinite(*out)) {
        return err_set(err, "%s is not a number", pb_text_quote(scalar->text, scalar->len, quote));
    }
    return true;
}

static bool read_bool(const struct pb_text_scalar *scalar, protobuf_c_boolean *out, struct err *err)
{
    char quote[PB_TEXT_QUOTE_MAX];
    if (scalar->is_quoted) {
        return refuse_quoted(scalar, "word", err);
    }
    bool is_true = scalar->len == 4 && memcmp(scalar->text, "true", 4) == 0;
    if (!is_true && !(scalar->len == 5 && memcmp(scalar->text, "false", 5) == 0)) {
        return err_set(err, "%s is neither true nor false",
                       pb_text_quote(scalar->text, scalar->len, quote));
    }
    *out = is_true;
    return true;
}

static const char *field_name_at(const void *ctx, unsigned i)
{
    const ProtobufCMessageDescriptor *descriptor = ctx;
    return descriptor->fields[i].name;
}

void pb_text_unknown_key(const ProtobufCMessageDescriptor *descriptor,
                         const struct pb_text_scalar *key, struct err *err)
{
    char known[400] = "";
    size_t len = 0;
    for (unsigned i = 0; i < descriptor->n_fields && len < sizeof known; i++) {
        len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", len == 0 ? "" : ", ",
                                descriptor->fields[i].name);
    }
    char quote[PB_TEXT_QUOTE_MAX];
    const char *near =
        pb_text_nearest(key->text, key->len, field_name_at, descriptor, descriptor->n_fields);
    err_set(err, "unknown key %s%s%s%s; known here: %s", pb_text_quote(key->text, key->len, quote),
            near == NULL ? "" : ", did you mean ", near == NULL ? "" : near,
            near == NULL ? "" : "?", known);
}

static const char *enum_name_at(const void *ctx, unsigned i)
{
    const ProtobufCEnumDescriptor *values = ctx;
    // The unspecified value is no choice, so it is never what was meant.
    return values->values[i].value == 0 ? "" : values->values[i].name;
}

static bool read_enum(const ProtobufCEnumDescriptor *values, const struct pb_text_scalar *scalar,
                      int *out, struct err *err)
{
    for (unsigned i = 0; i < values->n_values; i++) {
        const ProtobufCEnumValue *value = &values->values[i];
        if (value->value != 0 && strlen(value->name) == scalar->len &&
            memcmp(value->name, scalar->text, scalar->len) == 0) {
            *out = value->value;
            return true;
        }
    }
    char known[400] = "";
    size_t len = 0;
    for (unsigned i = 0; i < values->n_values && len < sizeof known; i++) {
        if (values->values[i].value != 0) {
            len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", len == 0 ? "" : ", ",
                                    values->values[i].name);
        }
    }
    char quote[PB_TEXT_QUOTE_MAX];
    const char *near =
        pb_text_nearest(scalar->text, scalar->len, enum_name_at, values, values->n_values);
    return err_set(
        err, "%s is not one of %s%s%s%s", pb_text_quote(scalar->text, scalar->len, quote), known,
        near == NULL ? "" : "; did you mean ", near == NULL ? "" : near, near == NULL ? "" : "?");
}

static bool refuse_empty(struct err *err)
{
    return err_set(err, "the text is empty, which would mean the same as no text: write one, or "
                        "leave the key out");
}

static bool read_string(const struct pb_text_scalar *scalar, char **out, struct err *err)
{
    if (memchr(scalar->text, '\0', scalar->len) != NULL) {
        return err_set(err, "the text holds a NUL character, which no text here may");
    }
    if (scalar->len == 0) {
        return refuse_empty(err);
    }
    char *copy = must_alloc(scalar->len + 1, 1);
    memcpy(copy, scalar->text, scalar->len);
    *out = copy;
    return true;
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

// Reads base64 (RFC 4648, section 4, with its padding). Line breaks and spaces between the digits
// are passed over, since a block of text in YAML has them.
static bool read_base64(const struct pb_text_scalar *scalar, ProtobufCBinaryData *out,
                        struct err *err)
{
    uint8_t *bytes = must_alloc(scalar->len / 4 * 3 + 3, 1);
    size_t len = 0;
    uint32_t group = 0;
    unsigned num_digits = 0;
    unsigned num_pads = 0;
    bool good = true;
    for (size_t i = 0; good && i < scalar->len; i++) {
        char c = scalar->text[i];
        if (c == '\n' || c == '\r' || c == ' ') {
            continue;
        }
        int digit = base64_digit(c);
        if (c == '=') {
            good = num_digits >= 2 && num_digits + ++num_pads <= 4;
        } else {
            good = digit >= 0 && num_pads == 0;
            group = group << 6 | (uint32_t)digit;
            num_digits++;
        }
        if (good && num_digits + num_pads == 4) {
            group <<= 6 * num_pads;
            for (unsigned k = 0; k < 3 - num_pads; k++) {
                bytes[len++] = (uint8_t)(group >> (16 - 8 * k));
            }
            // Bits that the padding cuts off must be zero, or two texts would mean one value.
            good = num_pads == 0 || (group & (num_pads == 1 ? 0xffu : 0xffffu)) == 0;
            num_digits = num_pads == 0 ? 0 : 4;
            group = 0;
        }
    }
    if (!good || (num_pads == 0 ? num_digits != 0 : num_digits != 4)) {
        free(bytes);
        return err_set(err, "this is not base64 (RFC 4648, section 4, with its padding)");
    }
    if (len == 0) {
        free(bytes);
        return refuse_empty(err);
    }
    *out = (ProtobufCBinaryData){.len = len, .data = bytes};
    return true;
}

bool pb_text_scalar_store(const ProtobufCFieldDescriptor *field,
                          const struct pb_text_scalar *scalar, void *at, struct err *err)
{
    uint64_t number = 0;
    int64_t signed_number = 0;
    double real = 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        if (pb_text_is_ports(field)) {
            return read_ports(scalar, at, err);
        }
        if (!read_unsigned(scalar, UINT32_MAX, &number, err)) {
            return false;
        }
        *(uint32_t *)at = (uint32_t)number;
        return true;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return read_unsigned(scalar, UINT64_MAX, at, err);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        if (!read_signed(scalar, INT32_MIN, INT32_MAX, &signed_number, err)) {
            return false;
        }
        *(int32_t *)at = (int32_t)signed_number;
        return true;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return read_signed(scalar, INT64_MIN, INT64_MAX, at, err);
    case PROTOBUF_C_TYPE_FLOAT:
        if (!read_double(scalar, &real, err)) {
            return false;
        }
        *(float *)at = (float)real;
        return isfinite(*(float *)at) || err_set(err, "the number is too large for this field");
    case PROTOBUF_C_TYPE_DOUBLE:
        return read_double(scalar, at, err);
    case PROTOBUF_C_TYPE_BOOL:
        return read_bool(scalar, at, err);
    case PROTOBUF_C_TYPE_ENUM:
        return read_enum(field->descriptor, scalar, at, err);
    case PROTOBUF_C_TYPE_STRING:
        return read_string(scalar, at, err);
    case PROTOBUF_C_TYPE_BYTES:
        return read_base64(scalar, at, err);
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    return err_set(err, "this field takes no scalar");
}
