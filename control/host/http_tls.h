// SPDX-License-Identifier: Apache-2.0
//
// TLS before libmicrohttpd: one connection of a client. BoringSSL meets the client, by the
// transport that HTTP/2 uses; what it decrypts goes through a socket pair to libmicrohttpd, which
// sees a connection in the clear. libmicrohttpd could speak TLS itself, but by GnuTLS: a second
// implementation that strangers meet, with settings of its own. Before the handshake is done,
// libmicrohttpd and the handler know nothing of the connection. The server (http.c) makes one for
// each connection that it accepts; it frees itself. Each direction holds some 64 KiB at most: where
// one end doesn't read, reading from the other stops. It keeps no deadlines: they are
// http_clients.h's.
#ifndef TABARD_CONTROL_HOST_HTTP_TLS_H
#define TABARD_CONTROL_HOST_HTTP_TLS_H

#include <sys/socket.h>

#include "control/host/http_impl.h"

// http_tls_prepare has a context take the protocol http/1.1 (RFC 7301). A client that names no
// protocol is served, too; one that names others alone is refused.
void http_tls_prepare(struct ssl_ctx_st *ctx);

// http_tls_accept serves a connection, which it takes over.
void http_tls_accept(struct http_server *server, int fd, const struct sockaddr_storage *from,
                     socklen_t len);

// http_tls_end_all ends every connection of a server.
void http_tls_end_all(struct http_server *server);

#endif
