// SPDX-License-Identifier: Apache-2.0
//
// Copies protobuf messages that the program holds already, and whose size is therefore bounded.
// Without memory these functions abort (base/must.h).
#ifndef TABARD_BASE_PB_COPY_H
#define TABARD_BASE_PB_COPY_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

// pb_copy returns a deep copy, unknown fields included, to free with
// protobuf_c_message_free_unpacked(copy, NULL). It has the message's type:
// `Tabard__V1__Policy *copy = pb_copy(&policy->base)`.
void *pb_copy(const ProtobufCMessage *message);

// pb_copy_packed returns the packed message, which the caller frees.
uint8_t *pb_copy_packed(const ProtobufCMessage *message, size_t *out_len);

#endif
