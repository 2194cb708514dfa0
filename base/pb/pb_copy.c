// SPDX-License-Identifier: Apache-2.0
#include "base/pb/pb_copy.h"

#include <stdlib.h>

#include "base/must.h"

uint8_t *pb_copy_packed(const ProtobufCMessage *message, size_t *out_len)
{
    *out_len = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = must_alloc(*out_len, 1);
    protobuf_c_message_pack(message, packed);
    return packed;
}

void *pb_copy(const ProtobufCMessage *message)
{
    size_t len = 0;
    uint8_t *packed = pb_copy_packed(message, &len);
    ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, len, packed);
    free(packed);
    return must_have(copy);
}
