// SPDX-License-Identifier: Apache-2.0
//
// A peer without manners: a Unix socket on which a test writes HTTP/2 frames by hand and reads
// those that come. The caller's, zeroed; the test's thread; bounded by its buffers. A mistake of
// the test aborts. It answers nothing.
#ifndef TABARD_TESTS_UNIT_NET_GRPC_RAW_H
#define TABARD_TESTS_UNIT_NET_GRPC_RAW_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/unit/net/grpc/rig.h"

#define RAW_MAGIC "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

struct raw {
    struct rig *rig;
    int fd; // blocking for writing
    int listener;
    uint8_t in[1 << 20];
    size_t in_len;
    size_t at;
    bool is_eof;
};

struct raw_frame {
    uint8_t type;
    uint8_t flags;
    int32_t stream;
    const uint8_t *payload; // borrowed from the raw
    size_t len;
};

// raw_connect connects to the rig's socket; with `starts` it sends the magic and empty SETTINGS,
// and takes the server's as known. So does raw_accept with the client's.
void raw_connect(struct raw *raw, struct rig *rig, bool starts);

// raw_listen stands in for the rig's server; raw_accept waits for the channel and sends SETTINGS
// with `settings`.
void raw_listen(struct raw *raw, struct rig *rig);
void raw_accept(struct raw *raw, const uint8_t *settings, size_t len);
void raw_close(struct raw *raw);

// raw_play_client starts the rig's server and connects to it; raw_play_server starts the rig's
// channel and is the server that it has connected to. NULL limits are the usual ones. raw_stop ends
// either, and the rig.
void raw_play_client(struct raw *raw, struct rig *rig, const struct grpc_limits *limits,
                     bool starts);
void raw_play_server(struct raw *raw, struct rig *rig, const struct grpc_limits *limits,
                     const uint8_t *settings, size_t len);
void raw_stop(struct raw *raw, struct rig *rig);

void raw_send(struct raw *raw, const void *bytes, size_t len);
void raw_frame(struct raw *raw, uint8_t type, uint8_t flags, int32_t stream, const void *payload,
               size_t len);

// raw_headers sends HEADERS of literals: pairs of text up to a NULL.
void raw_headers(struct raw *raw, uint8_t flags, int32_t stream, const char *const *pairs);

// The usual ones. raw_request opens a call of "/echo.Echo/METHOD", raw_response answers,
// raw_trailers ends with a code.
void raw_request(struct raw *raw, int32_t stream, const char *method);
void raw_response(struct raw *raw, int32_t stream);
void raw_trailers(struct raw *raw, int32_t stream, const char *code, const char *message);
void raw_message(struct raw *raw, uint8_t flags, int32_t stream, const char *text);
void raw_goaway(struct raw *raw, int32_t last_stream, uint32_t code, const char *debug);

// raw_expect runs the loop until a frame of this type (and stream, unless -1) comes, skipping
// others. false: none came before the end or in time.
bool raw_expect(struct raw *raw, uint8_t type, int32_t stream, struct raw_frame *out);

// raw_holds decodes a header list and says whether it holds name: value, and other: other_value
// unless other is NULL.
bool raw_holds(const struct raw_frame *headers, nghttp2_hd_inflater *inflater, const char *name,
               const char *value, const char *other, const char *other_value);

// raw_expect_status expects the header list that ends `stream`, with this grpc-status. Not for a
// connection whose earlier header lists went unread.
void raw_expect_status(struct raw *raw, int32_t stream, const char *code, const char *what);

// raw_at_end runs the loop until the other side has closed.
bool raw_at_end(struct raw *raw);

uint32_t raw_u32(const uint8_t *in);

#endif
