// SPDX-License-Identifier: Apache-2.0
//
// One gRPC call, unary or streaming, as client and server alike see it: messages in, messages out,
// one end. Owned by the library: valid from its start until its on_end returns, which comes exactly
// once, from the loop or from inside grpc_channel_free and grpc_server_free, never from inside
// another function; the loop's thread only. Bounded by struct grpc_limits. It packs no protobuf: a
// message is bytes. Every function may be called in any callback.
#ifndef TABARD_NET_GRPC_CALL_H
#define TABARD_NET_GRPC_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/grpc/status.h"
#include "net/http2/transport.h"

struct grpc_call; // opaque

// Each may be NULL.
struct grpc_call_hooks {
    // One whole message, borrowed until the callback returns. Not called while paused.
    void (*on_message)(struct grpc_call *call, const uint8_t *bytes, size_t len);
    // A server's: the client will send no more messages.
    void (*on_half_close)(struct grpc_call *call);
    // grpc_call_can_send has become true again.
    void (*on_drained)(struct grpc_call *call);
    // The end. The call is gone when this returns.
    void (*on_end)(struct grpc_call *call, const struct grpc_status *status);
};

// What a server does with the calls of one path.
struct grpc_method {
    const char *path; // "/package.Service/Method"; compared whole
    // Starts a call: its headers and its peer are there. It may finish the call at once. ctx is the
    // server's.
    void (*on_start)(void *ctx, struct grpc_call *call);
    struct grpc_call_hooks hooks;
};

void *grpc_call_ctx(const struct grpc_call *call);
void grpc_call_set_ctx(struct grpc_call *call, void *ctx);

// grpc_call_send queues a copy of one message. false sets err: the call has ended or is
// half-closed, or grpc_call_can_send says no, so that at most send_queue_bytes_max and one message
// wait, or there is no memory.
bool grpc_call_send(struct grpc_call *call, const uint8_t *bytes, size_t len, struct err *err);
bool grpc_call_can_send(const struct grpc_call *call);

// grpc_call_pause keeps messages back until grpc_call_resume: the call's window (window_bytes)
// closes, and no other call's. A paused call's end waits behind its messages, except an end that
// comes of a failure or a deadline.
void grpc_call_pause(struct grpc_call *call);
void grpc_call_resume(struct grpc_call *call);

// grpc_call_peer says who is at the other end of the call's connection.
const struct h2_peer *grpc_call_peer(const struct grpc_call *call);

// grpc_call_silent_ms returns for how long nothing has come from the host at the other end, not
// even an acknowledgement. More than TRANSPORT_SILENT_MS: it does not answer, and the connection
// will end. 0 on a Unix socket.
uint64_t grpc_call_silent_ms(const struct grpc_call *call);

// grpc_call_prove, a server's, says that the call has proved who is at the other end: its
// connection is no stranger any more (strangers_max).
void grpc_call_prove(struct grpc_call *call);

// A client's: grpc_call_half_close says that no more messages will come; grpc_call_cancel ends the
// call with CANCELLED.
void grpc_call_half_close(struct grpc_call *call);
void grpc_call_cancel(struct grpc_call *call);

// A server's: grpc_call_send_headers sends the response's headers before the first message does.
void grpc_call_send_headers(struct grpc_call *call);

// grpc_call_finish, a server's, ends the call behind the messages queued, with this status. Only
// the first end counts. `message` is UTF-8 of at most GRPC_STATUS_MESSAGE_MAX bytes (cut), or NULL.
// on_end says later how it went.
void grpc_call_finish(struct grpc_call *call, enum grpc_code code, const char *message);

#endif
