// SPDX-License-Identifier: Apache-2.0
//
// What the files of pb_text share: where each field stood, and how one scalar's text becomes a
// field.
#ifndef TABARD_BASE_PB_TEXT_INTERNAL_H
#define TABARD_BASE_PB_TEXT_INTERNAL_H

#include <stdint.h>

#include "base/pb/pb_text.h"

#define PB_TEXT_PATH_MAX 160 // of a path's text with its NUL; the same as err.where

// One field or list item that stands in the text. The marks are in the text's order, so a parent
// comes before its children.
struct pb_text_mark {
    const char *name; // borrowed from the descriptor; NULL: an item of a list
    uint32_t parent;  // a mark's number; the root is its own parent
    uint32_t index;   // of an item
    uint32_t line;    // from 1
    uint32_t column;  // from 1, in characters
};

struct pb_text_marks {
    struct pb_text_mark *marks; // owned
    uint32_t num_marks;
    uint32_t cap;
};

// pb_text_marks_add appends a mark and returns its number.
uint32_t pb_text_marks_add(struct pb_text_marks *marks, struct pb_text_mark mark);

// pb_text_mark_path writes the path of a mark, "policies[2].ports[0]", into buf of PB_TEXT_PATH_MAX
// bytes; "" for the root.
void pb_text_mark_path(const struct pb_text_marks *marks, uint32_t number, char *buf);

// pb_text_field_at returns where a field's value lives in its message.
void *pb_text_field_at(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

// pb_text_value_size returns how many bytes one value of a field's type takes in memory, also as an
// element of a repeated field.
size_t pb_text_value_size(const ProtobufCFieldDescriptor *field);

// pb_text_is_ports says whether a field holds a port or a range of ports (base/data/port_range.h).
bool pb_text_is_ports(const ProtobufCFieldDescriptor *field);

// A scalar as it stood in the text.
struct pb_text_scalar {
    const char *text; // borrowed
    size_t len;
    bool is_quoted;
};

// pb_text_scalar_store converts a scalar to the field's type and stores it at `at`; strings and
// bytes are malloc'd. false sets err.text without path or position.
bool pb_text_scalar_store(const ProtobufCFieldDescriptor *field,
                          const struct pb_text_scalar *scalar, void *at, struct err *err);

// pb_text_unknown_key sets err.text to what is wrong with a key that names no field, and which do.
void pb_text_unknown_key(const ProtobufCMessageDescriptor *descriptor,
                         const struct pb_text_scalar *key, struct err *err);

// pb_text_quote writes up to about 60 bytes of a text between quotes into buf, anything unprintable
// as \xNN, and returns buf.
#define PB_TEXT_QUOTE_MAX 96
const char *pb_text_quote(const char *text, size_t len, char *buf);

// pb_text_nearest returns the known name that `text` most likely meant, or NULL when none is near.
const char *pb_text_nearest(const char *text, size_t len,
                            const char *(*name_at)(const void *ctx, unsigned i), const void *ctx,
                            unsigned num_names);

#endif
