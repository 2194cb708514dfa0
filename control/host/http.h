// SPDX-License-Identifier: Apache-2.0
//
// A small HTTP/1.1 server: GET and HEAD, and POST where bodies are allowed; in the clear, or under
// TLS 1.3. A program makes one with http_new or http_new_tcp and frees it with http_free; its
// handler answers each request with http_answer, now or a little later. Runs on the loop's thread
// (libmicrohttpd without threads of its own). Whom it serves at its limits, and how long a client
// may take, is http_clients.h's; how TLS comes before libmicrohttpd, http_tls.h's.
#ifndef TABARD_CONTROL_HOST_HTTP_H
#define TABARD_CONTROL_HOST_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "control/host/http_clients.h"
#include "control/host/listen.h"

#define HTTP_CONNECTION_BYTES_MAX 16384

#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_JSON "application/json"

struct http_server;  // opaque
struct http_request; // opaque: one question, until it is answered
struct ssl_ctx_st;

// Handles one request for `path` (without its query), by calling http_answer once, now or later. A
// POST has come whole.
typedef void http_on_request(void *ctx, struct http_request *request, const char *path);

struct http_config {
    uv_loop_t *loop;
    const struct http_limits *limits; // borrowed for ever; NULL: http_limits_pages
    struct ssl_ctx_st *tls;           // counted; NULL: in the clear
    http_on_request *on_request;
    void *ctx;
};

// http_new serves on a listening descriptor, which it takes over, also on failure. NULL sets err.
struct http_server *http_new(const struct http_config *config, int fd, struct err *err);

// http_new_tcp serves on addresses, one at least, and logs which, with the port that the kernel
// chose for 0. The host's own it follows when they change. `what` is the flag that gave them
// (borrowed for ever), and stands in the log and before an error. NULL sets err.
struct http_server *http_new_tcp(const struct http_config *config, const char *what,
                                 const struct listen_addrs *addrs, struct err *err);

// http_set_tls has new connections use another context. The server must be one under TLS.
void http_set_tls(struct http_server *server, struct ssl_ctx_st *tls);

// http_drain begins to end in good order: requests are served as before, also those of new
// connections, but each answer tells its client to go elsewhere (Connection: close).
void http_drain(struct http_server *server);

// How many connections there are; how many the server has ended since the start because they were
// late, because of a limit, and because TLS failed.
unsigned http_num_clients(const struct http_server *server);
uint64_t http_num_late(const struct http_server *server);
uint64_t http_num_room(const struct http_server *server);
uint64_t http_num_tls_failed(const struct http_server *server);

// http_free ends every connection and closes the listening descriptors. Every request must have
// been answered. NULL is allowed. The memory goes with the loop's next turns.
void http_free(struct http_server *server);

// What was asked: the method is GET, HEAD or POST. The body is that of a POST, borrowed until the
// answer; other requests have none.
const char *http_method(const struct http_request *request);
const char *http_header(const struct http_request *request, const char *name); // NULL: none
const uint8_t *http_body(const struct http_request *request, size_t *out_len);

// http_local_ip gives the address of this host at which the request came; false: it came by a Unix
// socket.
bool http_local_ip(const struct http_request *request, struct ip *out);

// http_query_number returns the number that the query gives as `name`, cut at `max`, or `otherwise`
// if it gives none.
uint32_t http_query_number(const struct http_request *request, const char *name, uint32_t max,
                           uint32_t otherwise);

// http_answer answers and ends the request. `body` is malloc'd and taken over; NULL: 500.
void http_answer(struct http_request *request, unsigned status, const char *content_type,
                 char *body);

// http_set_header adds a header to the answer that comes, one at most. Both texts are borrowed for
// ever.
void http_set_header(struct http_request *request, const char *name, const char *value);

// http_answer_not_found answers 404, with words that say which pages there are.
void http_answer_not_found(struct http_request *request, const char *pages);

#endif
