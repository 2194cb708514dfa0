// SPDX-License-Identifier: Apache-2.0
//
// What http.c (the server), http_request.c (one request) and http_tls.c (TLS before libmicrohttpd)
// share. Nobody else includes this.
#ifndef TABARD_CONTROL_HOST_HTTP_IMPL_H
#define TABARD_CONTROL_HOST_HTTP_IMPL_H

#include <microhttpd.h>
#include <sys/socket.h>

#include "base/data/bytes.h"
#include "control/host/http.h"
#include "control/host/http_listeners.h"

struct http_server {
    struct MHD_Daemon *daemon; // owned
    uv_poll_t poll;            // of the daemon's epoll descriptor
    uv_timer_t timer;
    struct http_listeners listeners;
    struct http_clients clients;
    struct ssl_ctx_st *tls; // counted; NULL: in the clear
    struct list tls_conns;  // of http_tls
    struct list uploads;    // of http_request: those with a body
    size_t bodies_bytes;    // that these hold
    // Whose connection libmicrohttpd is being given: its source, and under TLS the client itself.
    struct ip arriving_ip;
    struct http_client *arriving;
    http_on_request *on_request;
    void *ctx;
    uint64_t num_tls_failed;
    unsigned handles_open;
    bool is_running; // inside MHD_run, which sees an answer that is given now
    bool is_draining;
    bool is_closing;
};

struct http_request {
    struct http_server *server;        // borrowed
    struct MHD_Connection *connection; // borrowed until it completes
    const char *method;                // borrowed from libmicrohttpd
    struct list link;                  // of the server's uploads, if it has a body
    struct bytes upload;
    size_t upload_cap; // that the server counts for it
    unsigned refused;  // by what status, though the body is still coming; 0: it isn't
    bool is_asked;     // the handler was called
    bool is_suspended;
    bool is_answered;
    unsigned status;
    const char *content_type; // borrowed for ever
    const char *header;       // borrowed for ever; NULL: none
    const char *header_value;
    char *body; // owned
};

// http_due has the server look at its connections in this turn of the loop.
void http_due(struct http_server *server);

// http_release takes one handle away, with the last one the server.
void http_release(struct http_server *server);

struct http_client *http_client_of(struct MHD_Connection *connection);

// What libmicrohttpd calls; see MHD_AccessHandlerCallback and MHD_RequestCompletedCallback.
enum MHD_Result http_on_access(void *ctx, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *upload,
                               size_t *upload_len, void **connection_ctx);
void http_on_completed(void *ctx, struct MHD_Connection *connection, void **connection_ctx,
                       enum MHD_RequestTerminationCode code);

#endif
