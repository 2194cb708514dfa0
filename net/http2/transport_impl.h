// SPDX-License-Identifier: Apache-2.0
//
// What transport.c and transport_tls.c share: TLS between the socket's bytes and the user's.
// As transport.h. Plain bytes are bounded by the record size. Nobody else includes this.
#ifndef TABARD_NET_HTTP2_TRANSPORT_IMPL_H
#define TABARD_NET_HTTP2_TRANSPORT_IMPL_H

#include "net/http2/transport.h"

// transport_end reports the end, once. `why` is copied by whoever needs it longer.
void transport_end(struct transport *transport, const char *why);

// transport_put appends to what is written next. false: out of memory.
bool transport_put(struct transport *transport, const uint8_t *bytes, size_t len);

// transport_tls_start makes the SSL. false sets err.
bool transport_tls_start(struct transport *transport, SSL_CTX *ctx, bool is_server,
                         const char *server_name, struct err *err);

// transport_tls_step handshakes and reads as far as transport->in goes.
void transport_tls_step(struct transport *transport);

// transport_tls_write seals bytes into transport->out. false: it can't.
bool transport_tls_write(struct transport *transport, const uint8_t *bytes, size_t len);

#endif
