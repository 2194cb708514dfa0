// SPDX-License-Identifier: Apache-2.0
//
// What transport.c, transport_dial.c and transport_tls.c share: how a client's socket is connected,
// and TLS between the socket's bytes and the user's.
// Nobody else includes this.
#ifndef TABARD_NET_HTTP2_TRANSPORT_IMPL_H
#define TABARD_NET_HTTP2_TRANSPORT_IMPL_H

#include "net/http2/transport.h"

// transport_end reports the end, once. `why` is copied by whoever needs it longer.
void transport_end(struct transport *transport, const char *why);

// transport_connected goes on from a socket that has just been connected; transport_closed is the
// handle's last callback.
void transport_connected(struct transport *transport);
void transport_closed(uv_handle_t *handle);

// transport_watch_silence has the kernel watch over a TCP peer.
void transport_watch_silence(int fd);

// transport_dial_start begins to connect to a target. false sets err. transport_dial_stop gives up
// what it waits for, before the handle is closed.
bool transport_dial_start(struct transport *transport, uv_loop_t *loop,
                          const struct h2_target *target, struct err *err);
void transport_dial_stop(struct transport *transport);

// transport_tls_start makes the SSL. false sets err.
bool transport_tls_start(struct transport *transport, SSL_CTX *ctx, bool is_server,
                         const char *server_name, struct err *err);

// transport_tls_await has a server wait for the ClientHello; transport_tls_hello takes what came,
// and returns whether it is there: transport->in is then all of it. false, too, when it failed.
void transport_tls_await(struct transport *transport, SSL_CTX *ctx);
bool transport_tls_hello(struct transport *transport);

// transport_tls_step handshakes and reads as far as transport->in goes.
void transport_tls_step(struct transport *transport);

// transport_tls_seal seals transport->plain into transport->out. false: it can't, which is
// reported.
bool transport_tls_seal(struct transport *transport);

#endif
