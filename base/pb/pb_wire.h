// SPDX-License-Identifier: Apache-2.0
//
// Bytes of a protobuf message put together out of parts that are packed already, so that what many
// sidecars are sent is packed once. It appends to a buffer of the caller's and reads nothing: see
// the generated code for that.
#ifndef TABARD_BASE_PB_WIRE_H
#define TABARD_BASE_PB_WIRE_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "base/data/bytes.h"

// pb_wire_put_field appends a field of type bytes, string or message; pb_wire_put_number a varint
// field; pb_wire_put_message packs a message as a field.
void pb_wire_put_field(struct bytes *to, uint32_t number, const void *bytes, size_t len);
void pb_wire_put_number(struct bytes *to, uint32_t number, uint64_t value);
void pb_wire_put_message(struct bytes *to, uint32_t number, const ProtobufCMessage *message);

#endif
