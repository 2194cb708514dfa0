// SPDX-License-Identifier: Apache-2.0
//
// The inside of a call, and what gRPC keeps of a connection: what client.c, server.c and the files
// of a call share. The hooks of its stream only record; call_on_turn, which runs outside nghttp2,
// calls the user. Nobody outside net/grpc includes this.
#ifndef TABARD_NET_GRPC_CALL_IMPL_H
#define TABARD_NET_GRPC_CALL_IMPL_H

#include "net/grpc/call.h"
#include "net/grpc/limits.h"
#include "net/grpc/message.h"
#include "net/grpc/strangers.h"
#include "net/http2/conn.h"

// What a server does with calls, as its connections see it.
struct grpc_service {
    struct strangers *strangers;       // borrowed: the server's; NULL: it asks for no proof
    const struct grpc_method *methods; // borrowed
    size_t num_methods;
    void *ctx;           // the server's
    uint64_t *num_calls; // borrowed: routed, since the start
};

// One connection of a channel or a server: the owner of an h2_conn. It goes with the h2_conn.
struct grpc_conn {
    struct list link;   // in its owner's list
    struct h2_conn *h2; // borrowed: lives as long
    void *owner;        // borrowed: the channel or the server; NULL after grpc_conn_abandon
    struct grpc_service *service; // borrowed: the server's; NULL of a channel
    struct grpc_limits limits;
    struct grpc_bites *bites; // borrowed: the owner's
    size_t held_bytes;        // of messages not yet delivered
    struct stranger stranger; // of a server, until a call proves who it is
};

// A message to send, with its prefix.
struct send_item {
    struct send_item *next; // owned
    size_t len;
    uint8_t bytes[];
};

// What the user was told last: START and HALF_CLOSE a server's. After END the call is gone for it.
enum call_told { CALL_TOLD_NOTHING, CALL_TOLD_START, CALL_TOLD_HALF_CLOSE, CALL_TOLD_END };

// How far the call's end is. DECIDED: its status is known, and waits for messages and for the peer.
// ENDS_HARD: it waits for neither.
enum call_ending { CALL_GOES_ON, CALL_DECIDED, CALL_ENDS_HARD };

// The state of the send queue: on_drained is due once it was FULL and is DRAINED.
enum call_room { CALL_HAS_ROOM, CALL_FULL, CALL_DRAINED };

// What a header list said, as far as gRPC cares. Of several headers of one name the first counts.
struct call_headers {
    const struct grpc_method *method; // of a server, by ":path"; NULL: none
    uint64_t timeout_ms;
    enum grpc_code code;
    char *message; // owned; NULL: none
    bool is_post;
    bool has_type;
    bool is_grpc_type;
    bool has_timeout;
    bool is_timeout_fine;
    bool has_encoding;
    bool is_identity;
    bool has_code;
};

struct grpc_call {
    struct h2_stream stream;             // first
    struct grpc_conn *conn;              // borrowed: outlives its calls
    const struct grpc_call_hooks *hooks; // borrowed; of a server's call NULL until routed
    void *ctx;
    struct call_headers headers; // of the list that came last
    struct grpc_reader reader;
    size_t unconsumed;   // bytes that the stream's window doesn't have back yet
    size_t held_counted; // of the connection's held_bytes

    struct send_item *first; // owned
    struct send_item *last;
    size_t first_sent; // bytes of the first item that are out
    size_t queued_bytes;

    uint64_t deadline_ms;   // loop time; 0: none
    uint64_t recv_since_ms; // a message is under way since; 0: none
    enum call_told told;
    enum call_ending ending;
    enum call_room room;
    enum grpc_code code; // once it is decided, with the next three
    char *message;       // owned; NULL: empty
    bool is_local;
    bool is_unprocessed;
    bool is_paused;
};

// call_new makes a call whose stream is not yet the connection's; call_free frees it then. A stream
// that is the connection's frees its call in on_release.
struct grpc_call *call_new(struct grpc_conn *conn, const struct h2_stream_hooks *hooks);
void call_free(struct grpc_call *call);

static inline struct grpc_call *call_of(const struct h2_stream *stream)
{
    return LIST_OF(stream, struct grpc_call, stream);
}

static inline bool call_is_server(const struct grpc_call *call)
{
    return h2_conn_is_server(call->conn->h2);
}

// call_decide records how the call ends: the first one counts. `message` is copied. call_undecide
// takes it back: a status that did not get through, or that came behind bytes that are no messages.
void call_decide(struct grpc_call *call, enum grpc_code code, const char *message, bool is_local);
void call_undecide(struct grpc_call *call);

// call_end decides the end, unless it is decided: of a client's call at once, of a server's by a
// status to the client. call_end_hard ends it without waiting for the peer or for paused messages.
void call_end(struct grpc_call *call, enum grpc_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void call_end_hard(struct grpc_call *call, enum grpc_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// call_leave ends the call's stream, whose bytes to send are dropped.
void call_leave(struct grpc_call *call, uint32_t code);

// call_bite counts that a limit of gRPC's own has bitten.
void call_bite(struct grpc_call *call, enum grpc_limit limit);

// The hooks of streams that both roles share.
void call_on_data(struct h2_stream *stream, const uint8_t *bytes, size_t len);
uint64_t call_on_time(struct h2_stream *stream, uint64_t now_ms);
void call_on_turn(struct h2_stream *stream);
void call_on_release(struct h2_stream *stream);
size_t call_waiting(const struct h2_stream *stream);
void call_on_take(struct h2_stream *stream, size_t len);

// In call_send.c.
void call_drop_queue(struct grpc_call *call);

// In call_headers.c. call_headers_take records one header, and call_headers_cleanup forgets them.
void call_headers_take(struct call_headers *headers, const char *name, size_t name_len,
                       const char *value, size_t value_len);
void call_headers_cleanup(struct call_headers *headers);

// In call_client.c and call_server.c: the hooks of each role's streams.
extern const struct h2_stream_hooks call_client_hooks;
extern const struct h2_stream_hooks call_server_hooks;

// call_finish is grpc_call_finish; http_status is for an answer of nothing but this status.
void call_finish(struct grpc_call *call, unsigned http_status, enum grpc_code code,
                 const char *message);

// call_route, in call_server.c, starts a call by its method, or finishes one that is no gRPC.
void call_route(struct grpc_call *call);

// grpc_conn_new, in call.c, makes what h2_conn_connect and h2_conn_accept are then given as owner.
struct grpc_conn *grpc_conn_new(void *owner, const struct grpc_limits *limits,
                                struct grpc_bites *bites);

// grpc_conn_leave_strangers is for a connection that has proved who it is, or ends. Twice is fine.
void grpc_conn_leave_strangers(struct grpc_conn *conn);

// grpc_conn_abandon ends every call with this status (on_end is called inside) and the connection.
void grpc_conn_abandon(struct grpc_conn *conn, enum grpc_code code, const char *why);

// grpc_conn_free is for on_closed, or when there was no connection.
void grpc_conn_free(struct grpc_conn *conn);

#endif
