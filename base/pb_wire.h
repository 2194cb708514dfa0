// SPDX-License-Identifier: Apache-2.0
//
// Bytes of a protobuf message put together out of parts that are packed already, so that what many
// sidecars are sent is packed once. Owned by the caller; one thread; bounded by its caller. It
// reads nothing: see the generated code for that.
#ifndef TABARD_BASE_PB_WIRE_H
#define TABARD_BASE_PB_WIRE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Zero state: empty.
struct pb_wire {
    uint8_t *bytes; // owned
    size_t len;
    size_t cap;
    bool is_broken; // out of memory: what is there is not whole
};

void pb_wire_cleanup(struct pb_wire *wire);

// pb_wire_put_raw appends bytes as they are; pb_wire_put_field a field of type bytes, string or
// message; pb_wire_put_number a varint field; pb_wire_put_message packs a message as a field.
void pb_wire_put_raw(struct pb_wire *wire, const void *bytes, size_t len);
void pb_wire_put_field(struct pb_wire *wire, uint32_t number, const void *bytes, size_t len);
void pb_wire_put_number(struct pb_wire *wire, uint32_t number, uint64_t value);
void pb_wire_put_message(struct pb_wire *wire, uint32_t number, const ProtobufCMessage *message);

// pb_wire_put_head begins a field whose len bytes the caller appends next.
void pb_wire_put_head(struct pb_wire *wire, uint32_t number, size_t len);

#endif
