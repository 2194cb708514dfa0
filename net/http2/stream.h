// SPDX-License-Identifier: Apache-2.0
//
// One stream of an HTTP/2 connection (RFC 9113, section 5): header lists, bytes both ways with
// back-pressure, an end of each direction, a reset with a code, deadlines. Its user embeds struct
// h2_stream at the head of an object of its own and sets `hooks`. A client hands it to
// h2_stream_request; a server's comes out of the connection's on_request. From then on it belongs
// to the connection until on_release, which h2_stream_release asks for and in which the user frees
// it. The loop's thread only; bounded by struct h2_limits.
//
// What a stream costs. Received bytes are handed over where they lie: in the buffer that the socket
// was read into, or that TLS opened into. Bytes to send are taken out of the user's memory
// (NGHTTP2_DATA_FLAG_NO_COPY): the transport joins them with their frame's header, which is the one
// copy on the way, because a TLS record must lie in one piece. No frame of DATA allocates; nghttp2
// allocates for a WINDOW_UPDATE, which goes out once half a window was consumed, and once for a
// stream. A frame of DATA is 16 KiB at most, as nghttp2 has it unless its
// data_source_read_length_callback says more.
#ifndef TABARD_NET_HTTP2_STREAM_H
#define TABARD_NET_HTTP2_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/data/list.h"

#define H2_HEADERS_MAX 16

// Error codes that users send or map (RFC 9113, section 7).
#define H2_NO_ERROR            0x0u
#define H2_REFUSED_STREAM      0x7u
#define H2_CANCEL              0x8u
#define H2_ENHANCE_YOUR_CALM   0xbu
#define H2_INADEQUATE_SECURITY 0xcu

struct h2_conn;
struct h2_stream;

// What comes. GONE: the connection knows the stream no more, nothing comes or goes.
enum h2_receiving { H2_RECEIVING_HEADERS, H2_RECEIVING_BODY, H2_RECEIVING_DONE, H2_RECEIVING_GONE };

// What goes. CLOSING: nothing more is added behind what waits. OVER: the end was handed to nghttp2.
enum h2_sending { H2_SENDING_HEADERS, H2_SENDING_BODY, H2_SENDING_CLOSING, H2_SENDING_OVER };

enum h2_close_kind {
    H2_CLOSE_STREAM,  // both directions ended, or the peer reset it with `code`
    H2_CLOSE_CONN,    // the connection was lost
    H2_CLOSE_UNSENT,  // its headers could not be sent
    H2_CLOSE_STALLED, // the peer took nothing of what waits within send_stall_ms
};

struct h2_close {
    enum h2_close_kind kind;
    uint32_t code;   // of RFC 9113, section 7
    const char *why; // borrowed during the hook; foreign text: log it quoted
    // A client's: the server has certainly not seen the request, so it is safe to try again.
    bool is_unprocessed;
};

// A NULL value leaves the header out. The texts are copied.
struct h2_header {
    const char *name;
    const char *value;
};

struct h2_stream_hooks {
    // The next nine are called inside nghttp2: they take and record. They may call every h2_stream
    // function but h2_stream_release, and nothing that ends the connection.

    // One header of a list; pseudo-headers come first. Not for informational (1xx) lists. Headers
    // over header_bytes_max are left out, and is_list_too_large says so.
    void (*on_header)(struct h2_stream *stream, const char *name, size_t name_len,
                      const char *value, size_t value_len);
    // A list is complete: the first, or the trailers. `receiving` is BODY or DONE.
    void (*on_headers)(struct h2_stream *stream, bool is_trailers);
    // Bytes, borrowed during the hook. The user gives each back by h2_stream_consume, when it
    // likes.
    void (*on_data)(struct h2_stream *stream, const uint8_t *bytes, size_t len);
    // END_STREAM: nothing more comes.
    void (*on_end)(struct h2_stream *stream);
    // The stream is GONE, and not by h2_stream_leave.
    void (*on_close)(struct h2_stream *stream, const struct h2_close *close);
    // How many bytes wait to be sent.
    size_t (*waiting)(const struct h2_stream *stream);
    // Takes the first len of them: the user passes exactly so many to h2_stream_write.
    void (*on_take)(struct h2_stream *stream, size_t len);
    // The last bytes are going out behind h2_stream_finish. true: the hook has called
    // h2_stream_send_trailers. NULL, or false: END_STREAM goes with the bytes.
    bool (*on_last)(struct h2_stream *stream);
    // END_STREAM of ours is with the transport. NULL: the user doesn't care.
    void (*on_finished)(struct h2_stream *stream);

    // The rest is called from the loop, and may do everything. on_turn comes once after any number
    // of h2_stream_wake. on_time ends what has waited for too long and returns when to look again,
    // UINT64_MAX for never; NULL: the user has no deadlines. on_release: the memory is the user's.
    void (*on_turn)(struct h2_stream *stream);
    uint64_t (*on_time)(struct h2_stream *stream, uint64_t now_ms);
    void (*on_release)(struct h2_stream *stream);
};

// Zero state: a client's stream before h2_stream_request. All but `hooks` is read only for its
// user.
struct h2_stream {
    const struct h2_stream_hooks *hooks; // borrowed
    struct h2_conn *conn;                // borrowed: outlives its streams
    struct list link;       // in the connection's list of streams, or of those released
    struct list ready_link; // in its list of streams to give a turn
    int32_t id;
    unsigned status;     // a client's: of the response, once it came
    uint32_t list_bytes; // of the header list under way
    enum h2_receiving receiving;
    enum h2_sending sending;
    uint64_t send_since_ms; // bytes wait and none went since; 0: none wait
    size_t taking_len;      // what on_take owes still
    bool is_sent;           // its header list has left, a client's request or a server's response
    bool is_deferred;       // nghttp2 waits for h2_stream_offer
    bool is_list_too_large;
};

// h2_stream_request opens a client's stream on a connection that takes some
// (h2_conn_takes_streams). false: stream numbers have run out (2^30), and the stream is still the
// user's.
bool h2_stream_request(struct h2_stream *stream, struct h2_conn *conn,
                       const struct h2_header *headers, size_t num);

// h2_stream_send_headers sends a server's response; with is_last it ends the stream.
void h2_stream_send_headers(struct h2_stream *stream, const struct h2_header *headers, size_t num,
                            bool is_last);

// h2_stream_send_trailers is for on_last.
void h2_stream_send_trailers(struct h2_stream *stream, const struct h2_header *headers, size_t num);

// h2_stream_offer says that there is more to send.
void h2_stream_offer(struct h2_stream *stream);

// h2_stream_finish says that nothing more comes behind what waits.
void h2_stream_finish(struct h2_stream *stream);

// h2_stream_write is for on_take, in one piece or several.
void h2_stream_write(struct h2_stream *stream, const uint8_t *bytes, size_t len);

// h2_stream_consume gives bytes of the stream's window back to the peer. The connection's window is
// given back as the bytes come, so that a stream that isn't read stops nobody else.
void h2_stream_consume(struct h2_stream *stream, size_t len);

// h2_stream_leave ends the stream here, at once: RST_STREAM with the code unless both directions
// have ended. Only on_turn and on_release come after it. Twice is fine.
void h2_stream_leave(struct h2_stream *stream, uint32_t code);

// h2_stream_release gives a stream that is GONE back to its user, once nobody uses it any more.
void h2_stream_release(struct h2_stream *stream);

// h2_stream_wake asks for on_turn, in this turn of the loop.
void h2_stream_wake(struct h2_stream *stream);

// h2_stream_due asks for on_time at this time of the loop or earlier.
void h2_stream_due(struct h2_stream *stream, uint64_t at_ms);

// h2_stream_now returns the loop's time in milliseconds.
uint64_t h2_stream_now(const struct h2_stream *stream);

#endif
