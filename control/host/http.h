// SPDX-License-Identifier: Apache-2.0
//
// A small HTTP/1.1 server for operators: GET and HEAD, an answer now or a little later. A program
// makes one with http_new or http_new_tcp and frees it with http_free; its handler answers each
// request with http_answer. Runs on the loop's thread (libmicrohttpd without threads of its own).
// Whom it serves at its limits, and how long a client may take, is http_clients.h's.
#ifndef TABARD_CONTROL_HOST_HTTP_H
#define TABARD_CONTROL_HOST_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/err.h"
#include "control/host/listen.h"

#define HTTP_CONNECTION_BYTES_MAX 16384

#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_JSON "application/json"

struct http_server;  // opaque
struct http_request; // opaque: one question, until it is answered

// Handles one GET or HEAD of `path` (without its query), by calling http_answer once, now or later.
typedef void http_on_request(void *ctx, struct http_request *request, const char *path);

// http_new serves on a listening descriptor, which it takes over, also on failure. NULL sets err.
struct http_server *http_new(uv_loop_t *loop, int fd, http_on_request *on_request, void *ctx,
                             struct err *err);

// http_new_tcp serves on addresses, one at least, and logs which, with the port that the kernel
// chose for 0. The host's own it follows when they change. `what` is the flag that gave them
// (borrowed for ever), and stands in the log and before an error. NULL sets err.
struct http_server *http_new_tcp(uv_loop_t *loop, const char *what,
                                 const struct listen_addrs *addrs, http_on_request *on_request,
                                 void *ctx, struct err *err);

// How many connections the server has ended since the start because they were late, and how many
// it has ended or turned away because of a limit.
uint64_t http_num_late(const struct http_server *server);
uint64_t http_num_room(const struct http_server *server);

// http_free ends every connection and closes the listening descriptors. Every request must have
// been answered. NULL is allowed. The memory goes with the loop's next turn.
void http_free(struct http_server *server);

// http_answer answers and ends the request. `body` is malloc'd and taken over; NULL: 500.
void http_answer(struct http_request *request, unsigned status, const char *content_type,
                 char *body);

// http_answer_not_found answers 404, with words that say which pages there are.
void http_answer_not_found(struct http_request *request, const char *pages);

// http_query_number returns the number that the query gives as `name`, cut at `max`, or `otherwise`
// if it gives none.
uint32_t http_query_number(const struct http_request *request, const char *name, uint32_t max,
                           uint32_t otherwise);

#endif
