// SPDX-License-Identifier: Apache-2.0
//
// The clients that an HTTP server has, and who must go: whoever is late, and whoever stands in the
// way of a newcomer. No source holds more than its share. Where there are too many of all sources,
// whoever has never sent a whole request goes first, of the source that has most of them; a source
// that is known, since others of its clients have asked, has some of them free. So strangers shut
// out neither the probe of an operator nor an API server, whether they are few or many. The server
// embeds it; the loop's thread.
#ifndef TABARD_CONTROL_HOST_HTTP_CLIENTS_H
#define TABARD_CONTROL_HOST_HTTP_CLIENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/data/list.h"

// The limits of pages for operators.
#define HTTP_CONNECTIONS_MAX            64
#define HTTP_CONNECTIONS_PER_SOURCE_MAX 16
#define HTTP_LEFT_MAX                   384
#define HTTP_HEAD_MS_MAX                5000
#define HTTP_ANSWER_MS_MAX              10000

#define HTTP_FREE_SHARE 8 // of source_max, the strangers that a known source has free: an eighth

struct http_limits {
    unsigned connections_max;
    unsigned source_max;     // connections of one source
    unsigned left_max;       // with those that are ended and wait for an answer
    uint32_t head_ms;        // to the end of a request's head, from the connection on
    uint32_t idle_ms;        // the same, from the last answer on
    uint32_t body_ms;        // from there to the end of its body
    uint32_t answer_ms;      // from there to the answer's last byte
    size_t body_bytes_max;   // of one request; 0: no request has a body, and POST is refused
    size_t bodies_bytes_max; // of all requests together; at least body_bytes_max
};

extern const struct http_limits http_limits_pages;

// What a client's next deadline is for.
enum http_wait { HTTP_WAIT_HEAD, HTTP_WAIT_NEXT, HTTP_WAIT_BODY, HTTP_WAIT_ANSWER, HTTP_NUM_WAITS };

// The clients of one address, or of one IPv6 /64; the zero address: of a Unix socket.
struct http_source {
    struct list link;
    struct list clients; // in order of arrival
    struct ip ip;
    unsigned num;           // clients
    unsigned num_live;      // those that aren't ended
    unsigned num_strangers; // of them, those that have never sent a whole request
};

struct http_client {
    struct list link;           // of its source
    struct http_source *source; // shared; goes with its last client
    unsigned num_holders;
    enum http_wait wait;
    bool has_asked; // a whole request has come once
    bool is_ended;  // about to be closed
    uint64_t since_ms;
    void (*end)(void *ctx); // has the connection closed; NULL: it is being closed already
    void *ctx;              // borrowed
};

struct http_clients {
    const struct http_limits *limits; // borrowed for ever
    struct list sources;              // in order of arrival
    unsigned num;                     // all clients
    unsigned num_live;                // those that aren't ended
    uint64_t num_late;                // ended since the start because they were late
    uint64_t num_room;                // ended or turned away since the start because of a limit
};

void http_clients_init(struct http_clients *clients, const struct http_limits *limits);

// http_source_ip gives what counts as one source of connections.
struct ip http_source_ip(const struct ip *ip);

// http_clients_make_room says whether one more client of a source may come. It may have ended
// another for that.
bool http_clients_make_room(struct http_clients *clients, const struct ip *source);

// http_client_new adds a client, which it holds once. http_client_hold holds it once more, and
// http_client_free takes one hold away, and with the last the client.
struct http_client *http_client_new(struct http_clients *clients, const struct ip *source,
                                    void (*end)(void *ctx), void *ctx, uint64_t now_ms);
void http_client_hold(struct http_client *client);
void http_client_free(struct http_clients *clients, struct http_client *client);

// http_client_waits says what is waited for from now on. A client for whose answer we wait, or have
// waited, is none that never asked.
void http_client_waits(struct http_client *client, enum http_wait wait, uint64_t now_ms);

// http_client_forget has a client count as one that never asked: it was told to go.
void http_client_forget(struct http_client *client);

// http_client_end has a client's connection closed, once.
void http_client_end(struct http_clients *clients, struct http_client *client);

// http_clients_end_late ends those who are late and returns in how many ms the next one will be;
// UINT64_MAX: none.
uint64_t http_clients_end_late(struct http_clients *clients, uint64_t now_ms);

#endif
