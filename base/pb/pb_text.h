// SPDX-License-Identifier: Apache-2.0
//
// Reads protobuf messages from YAML, of which JSON is a part, and prints them as JSON, by their
// protobuf-c descriptors: one schema, no second set of structs. It checks the form alone (names,
// types, ranges of types, names of enums); the user of the message checks what it means. Bounded by
// the PB_TEXT_*_MAX below.
#ifndef TABARD_BASE_PB_TEXT_H
#define TABARD_BASE_PB_TEXT_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define PB_TEXT_BYTES_MAX (8u << 20) // of a text
#define PB_TEXT_DEPTH_MAX 16         // of nested messages and lists

struct pb_text_marks; // opaque: where each field stood, path -> line and column

// pb_text_parse reads one YAML document into a message of `descriptor`; free it with
// protobuf_c_message_free_unpacked(message, NULL). NULL sets err: an unknown or repeated key, a
// wrong type, an unknown or zero enum value, an anchor, an alias, a tag, a second document, a NUL
// or bad UTF-8 in a string, text over PB_TEXT_BYTES_MAX, nesting over PB_TEXT_DEPTH_MAX. Also what
// is written and empty where that would read as absent: null, a text without characters, a list of
// values without any. A list of messages may be empty, and a message may have no keys. err.text
// then reads "mesh.yaml:14:3: policies[2].ports[0]: ..." and says what would be right. An absent
// field takes proto3's zero. `bytes` fields are base64. A uint32 field named `port` or `ports`
// takes a port or a range of ports, as base/data/port_range.h has them. *out_marks (out_marks may
// be NULL) is owned by the caller.
ProtobufCMessage *pb_text_parse(const ProtobufCMessageDescriptor *descriptor, const char *text,
                                size_t text_len, const char *file_name,
                                struct pb_text_marks **out_marks, struct err *err);

// pb_text_parse_known does so, but passes over keys and names of enums that are unknown, and says
// how many there were: for what another version shows people. What decides must not use it.
ProtobufCMessage *pb_text_parse_known(const ProtobufCMessageDescriptor *descriptor,
                                      const char *text, size_t text_len, const char *file_name,
                                      size_t *out_num_unknown, struct err *err);

// pb_text_marks_locate turns an error of a later check, whose err.where names a field, into
// "file:line:column: path: text", using the nearest enclosing field that stands in the file. It
// clears err.where. It returns false.
bool pb_text_marks_locate(const struct pb_text_marks *marks, const char *file_name,
                          struct err *err);
void pb_text_marks_free(struct pb_text_marks *marks);

// pb_text_marks_are_none says whether no key stood in the text: nothing, blanks, comments, "{}".
bool pb_text_marks_are_none(const struct pb_text_marks *marks);

// pb_text_to_json prints a message as JSON by its field names, enums by name, bytes as base64,
// ranges of ports as text, zero values left out; pb_text_parse reads it back unless a list or a
// oneof holds an empty text. Returns malloc'd text with a newline at its end.
char *pb_text_to_json(const ProtobufCMessage *message);

// pb_text_has_unknown says whether a message or any message in it kept fields that its descriptor
// doesn't know, or an enum value that its descriptor doesn't name. *out_where (at least 160 bytes,
// may be NULL) gets the path.
bool pb_text_has_unknown(const ProtobufCMessage *message, char *out_where);

// pb_text_check_known refuses such a message, since what is unknown in it would be ignored. false
// sets err, with the path.
bool pb_text_check_known(const ProtobufCMessage *message, struct err *err);

// pb_text_is_set says whether a field differs from its zero value; a list does once it has an item.
bool pb_text_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

#endif
