// SPDX-License-Identifier: Apache-2.0
//
// The other end of a socket on which a program speaks in frames (net/pipe/frame.h), for tests. What
// can't be sent, doesn't come or is no such message fails the test.
#ifndef TABARD_TESTS_UNIT_SUPPORT_FRAMES_H
#define TABARD_TESTS_UNIT_SUPPORT_FRAMES_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

void frames_send_bytes(int fd, const void *bytes, size_t len);

// frames_send_body sends one frame; frames_send one that holds a message.
void frames_send_body(int fd, const void *body, size_t len);
void frames_send(int fd, const ProtobufCMessage *message);

// frames_receive waits for one frame and returns its message, which the caller frees.
void *frames_receive(int fd, const ProtobufCMessageDescriptor *descriptor);

#endif
