// SPDX-License-Identifier: Apache-2.0
//
// Builds the bytes of a protobuf message out of parts that are packed already, so that a part that
// many sidecars get is packed once. It appends to a buffer of the caller's; the generated code does
// the reading.
#ifndef TABARD_BASE_PB_WIRE_H
#define TABARD_BASE_PB_WIRE_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "base/data/bytes.h"

// pb_wire_put_field appends a field of type bytes, string or message, pb_wire_put_number a varint
// field, and pb_wire_put_message a message that it packs.
void pb_wire_put_field(struct bytes *to, uint32_t number, const void *bytes, size_t len);
void pb_wire_put_number(struct bytes *to, uint32_t number, uint64_t value);
void pb_wire_put_message(struct bytes *to, uint32_t number, const ProtobufCMessage *message);

#endif
