// SPDX-License-Identifier: Apache-2.0
//
// A call from inside: what its connection, its channel and its server do with it.
// Heap, owned by its connection; the loop's thread only; bounded as call.h says. nghttp2's
// callbacks only record here (call_take_*); call_settle, which runs outside them, calls the user.
// Nobody outside net/grpc includes this.
#ifndef TABARD_NET_GRPC_CALL_IMPL_H
#define TABARD_NET_GRPC_CALL_IMPL_H

#include <nghttp2/nghttp2.h>

#include "net/grpc/call.h"
#include "net/grpc/message.h"

struct grpc_conn;

// A message to send, with its prefix.
struct send_item {
    struct send_item *next; // owned
    size_t len;
    uint8_t bytes[];
};

struct grpc_call {
    struct grpc_conn *conn; // borrowed: outlives its calls
    struct grpc_call *prev; // in the connection's list
    struct grpc_call *next;
    struct grpc_call *next_ready;        // in its list of calls to settle
    const struct grpc_call_hooks *hooks; // borrowed; of a server's call NULL until routed
    void *ctx;
    int32_t stream_id;

    struct grpc_metadata headers; // received
    struct grpc_metadata trailers;
    struct grpc_metadata headers_out; // a server's, to be sent
    struct grpc_metadata trailers_out;
    struct grpc_reader reader;
    size_t unconsumed;   // bytes that the stream's window doesn't have back yet
    size_t held_counted; // of the connection's held_bytes
    uint64_t num_received;

    struct send_item *first; // owned
    struct send_item *last;
    size_t first_sent; // bytes of the first item that are out
    size_t queued_bytes;

    uint64_t deadline_ms;   // loop time; 0: none
    uint64_t recv_since_ms; // a message is under way since; 0: none
    uint64_t send_since_ms; // bytes wait and none went since; 0: none wait
    unsigned http_status;   // the response's: a client's received, a server's to send
    enum grpc_code code;    // with has_status
    char *message;          // owned; NULL: empty
    bool is_server;
    bool is_ready;       // in the list of calls to settle
    bool is_in_trailers; // the header list under way is the second
    bool has_headers;    // the peer's headers are complete (a final response)
    bool has_news;       // and the user doesn't know
    bool headers_too_large;
    bool is_remote_done; // END_STREAM came
    bool is_half_close_told;
    bool is_paused;
    bool is_request_sent;     // a client's
    bool is_response_started; // a server's: headers are submitted
    bool is_deferred;         // nghttp2 waits for more to send
    bool is_sending_done;     // half-closed or finished: nothing more comes behind the queue
    bool is_sending_over;     // END_STREAM is out, or trailers are submitted
    bool was_full;            // on_drained is due when there is room
    bool is_drained;
    bool has_status; // the end is decided
    bool is_local;
    bool is_unprocessed;
    bool is_hard;          // it doesn't wait for messages
    bool is_stream_closed; // nghttp2 knows the stream no more
    bool is_dead;          // on_end was called
};

// call_new links a call into its connection. NULL: out of memory.
struct grpc_call *call_new(struct grpc_conn *conn, bool is_server);
void call_free(struct grpc_call *call); // only of a dead call, by its connection

// What nghttp2's callbacks report.
void call_take_header(struct grpc_call *call, const char *name, size_t name_len, const char *value,
                      size_t value_len);
void call_take_headers_end(struct grpc_call *call, bool is_end_stream);
void call_take_bytes(struct grpc_call *call, const uint8_t *bytes, size_t len);
void call_take_end_stream(struct grpc_call *call);
void call_take_close(struct grpc_call *call, uint32_t error_code);

// call_pull gives nghttp2 what to send; as nghttp2_data_source_read_callback.
ssize_t call_pull(struct grpc_call *call, uint8_t *buf, size_t len, uint32_t *flags);

// call_end decides the end, unless it is decided: of a client's call at once, of a server's by a
// status to the client. call_end_hard ends it without waiting for the peer or for paused messages.
void call_end(struct grpc_call *call, enum grpc_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void call_end_hard(struct grpc_call *call, enum grpc_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// call_settle tells the user what there is to tell.
void call_settle(struct grpc_call *call);
void call_deliver_end(struct grpc_call *call);

// call_check_deadlines ends the call if it waits for too long; *next becomes the time of the next
// check, if earlier.
void call_check_deadlines(struct grpc_call *call, uint64_t now_ms, uint64_t *next_ms);

// call_decide records how the call ends: the first one counts. `message` is copied.
void call_decide(struct grpc_call *call, enum grpc_code code, const char *message, bool is_local);

// In call_client.c: what a client makes of the peer's headers and trailers.
void call_judge_response(struct grpc_call *call);
void call_judge_trailers(struct grpc_call *call);

// In call_send.c. call_leave_stream resets the stream, if there still is one, and hears no more of
// it.
void call_leave_stream(struct grpc_call *call, uint32_t error_code);
void call_drop_queue(struct grpc_call *call);

// call_nv turns fixed pairs and two lists, which may be NULL, into nghttp2's array, malloc'd; it
// borrows all text. NULL: out of memory.
nghttp2_nv *call_nv(const char *const (*fixed)[2], size_t num_fixed,
                    const struct grpc_metadata *first, const struct grpc_metadata *second,
                    size_t *out_num);

#endif
