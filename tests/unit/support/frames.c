// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/support/frames.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "net/pipe/frame.h"

enum { BODY_MAX = 1 << 20 };

void frames_send_bytes(int fd, const void *bytes, size_t len)
{
    cr_assert(send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len);
}

void frames_send_body(int fd, const void *body, size_t len)
{
    uint8_t prefix[FRAME_PREFIX_LEN];
    frame_prefix_write(prefix, (uint32_t)len);
    frames_send_bytes(fd, prefix, sizeof prefix);
    frames_send_bytes(fd, body, len);
}

void frames_send(int fd, const ProtobufCMessage *message)
{
    uint8_t *body = malloc(BODY_MAX);
    cr_assert(protobuf_c_message_get_packed_size(message) <= BODY_MAX);
    frames_send_body(fd, body, protobuf_c_message_pack(message, body));
    free(body);
}

void *frames_receive(int fd, const ProtobufCMessageDescriptor *descriptor)
{
    uint8_t prefix[FRAME_PREFIX_LEN];
    uint8_t *body = malloc(BODY_MAX);
    cr_assert(recv(fd, prefix, sizeof prefix, MSG_WAITALL) == sizeof prefix);
    size_t len =
        (size_t)prefix[0] << 24 | (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 | prefix[3];
    cr_assert(len <= BODY_MAX && recv(fd, body, len, MSG_WAITALL) == (ssize_t)len);
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, NULL, len, body);
    cr_assert(message != NULL, "a frame of %zu bytes is no %s", len, descriptor->short_name);
    free(body);
    return message;
}
