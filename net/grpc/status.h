// SPDX-License-Identifier: Apache-2.0
//
// How a gRPC call ended, and the texts of PROTOCOL-HTTP2.md that belong to it: codes, grpc-message,
// grpc-timeout. Pure. A text longer than GRPC_STATUS_MESSAGE_MAX is cut.
#ifndef TABARD_NET_GRPC_STATUS_H
#define TABARD_NET_GRPC_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRPC_STATUS_MESSAGE_MAX 1024 // of a decoded message, with its NUL
#define GRPC_TIMEOUT_TEXT_MAX   16

// X(name, number): the codes of gRPC's statuscodes.md.
#define GRPC_CODES(X)                                                                              \
    X(OK, 0)                                                                                       \
    X(CANCELLED, 1)                                                                                \
    X(UNKNOWN, 2)                                                                                  \
    X(INVALID_ARGUMENT, 3)                                                                         \
    X(DEADLINE_EXCEEDED, 4)                                                                        \
    X(NOT_FOUND, 5)                                                                                \
    X(ALREADY_EXISTS, 6)                                                                           \
    X(PERMISSION_DENIED, 7)                                                                        \
    X(RESOURCE_EXHAUSTED, 8)                                                                       \
    X(FAILED_PRECONDITION, 9)                                                                      \
    X(ABORTED, 10)                                                                                 \
    X(OUT_OF_RANGE, 11)                                                                            \
    X(UNIMPLEMENTED, 12)                                                                           \
    X(INTERNAL, 13)                                                                                \
    X(UNAVAILABLE, 14)                                                                             \
    X(DATA_LOSS, 15)                                                                               \
    X(UNAUTHENTICATED, 16)

enum grpc_code {
#define X(name, number) GRPC_##name = number,
    GRPC_CODES(X)
#undef X
};

// How a call ended, as its on_end is told.
struct grpc_status {
    enum grpc_code code;
    const char *message; // never NULL; borrowed during the callback. Foreign text: log it quoted
    bool is_local;       // this side decided: a deadline, a limit, a lost connection, a cancel
    bool is_unprocessed; // the server has certainly not seen the call: it is safe to try again
};

// grpc_code_name returns "UNAVAILABLE"; "UNKNOWN" for a number that is no code.
const char *grpc_code_name(enum grpc_code code);

// grpc_code_parse reads a grpc-status value: decimal digits. false: it is no number, or one that is
// no code; *out is then GRPC_UNKNOWN (statuscodes.md).
bool grpc_code_parse(enum grpc_code *out, const char *text, size_t len);

// grpc_code_of_http maps a response's :status for an answer without grpc-status
// (http-grpc-status-mapping.md).
enum grpc_code grpc_code_of_http(unsigned http_status);

// grpc_code_of_reset maps an HTTP/2 error code of RST_STREAM or GOAWAY (PROTOCOL-HTTP2.md,
// "Errors").
enum grpc_code grpc_code_of_reset(uint32_t error_code);

// grpc_message_encode percent-encodes text for grpc-message into out, NUL-terminated, cut between
// characters if it is too long. Returns the length.
size_t grpc_message_encode(char *out, size_t out_cap, const char *text);

// grpc_message_decode is its inverse. Bad escapes are kept as they are, as the specification
// demands; a decoded NUL becomes '?'. The result is NUL-terminated and cut at out_cap - 1. Returns
// the length.
size_t grpc_message_decode(char *out, size_t out_cap, const char *text, size_t len);

// grpc_timeout_format writes a grpc-timeout value of at most 8 digits that isn't shorter than ms.
// Returns out.
const char *grpc_timeout_format(char out[GRPC_TIMEOUT_TEXT_MAX], uint64_t ms);

// grpc_timeout_parse reads one, rounding up to milliseconds. false: it isn't 1 to 8 digits and a
// unit of HMSmun.
bool grpc_timeout_parse(uint64_t *out_ms, const char *text, size_t len);

#endif
