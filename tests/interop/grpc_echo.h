// SPDX-License-Identifier: Apache-2.0
//
// The echo service that gRPC is tested with, on every shape of call: methods for a grpc_server.
// Static; the loop's thread only; bounded by the server's limits: what it echoes waits for the
// client to read. It knows no socket. Its ctx is a struct echo_seen, or NULL.
#ifndef TABARD_TESTS_INTEROP_GRPC_ECHO_H
#define TABARD_TESTS_INTEROP_GRPC_ECHO_H

#include "net/grpc/server.h"

// What the service has seen, for tests in the same process.
struct echo_seen {
    unsigned num_started;
    unsigned num_ended;
    unsigned num_cancelled;
    unsigned num_half_closed;
    unsigned num_sent;      // messages by Numbers
    struct grpc_call *last; // of the last call started; stale once it has ended
    enum grpc_code last_code;
    char last_message[256];
};

// "/echo.Echo/Unary"    answers with the request
// "/echo.Echo/Status"   ends with the code in the request's first byte and the words behind it
// "/echo.Echo/Numbers"  is asked with two 32-bit big-endian numbers, how many messages and how long
// each
// "/echo.Echo/Chat"     echoes each message, until the client half-closes
// "/echo.Echo/Collect"  answers the half-close with the number of bytes received, 64-bit big-endian
// "/echo.Echo/Hold"     never answers
extern const struct grpc_method echo_methods[];
extern const size_t echo_num_methods;

// echo_fill writes the bytes of message number `index`.
void echo_fill(uint8_t *bytes, size_t len, uint32_t index);

#endif
