// SPDX-License-Identifier: Apache-2.0
//
// Which application protocol a handshake agrees on (ALPN, RFC 7301): what a client offers to its
// destination, and what a server selects for its port. proxy/conn/handshake.c calls it, and hands
// the server's half to the TLS contexts.
#ifndef TABARD_PROXY_CONN_PROTOCOL_H
#define TABARD_PROXY_CONN_PROTOCOL_H

#include "proxy/conn/handshake.h"

// protocol_offer gives the client's TLS object, which has not begun, the list of its destination.
void protocol_offer(struct handshake *handshake);

// protocol_on_alpn is context_hooks.on_alpn. It selects the mesh's own protocol if it is offered,
// else the port's first one that is. A port with a list refuses a client that offers others alone
// (no_application_protocol, section 3.2); a port without one serves it, with none selected.
int protocol_on_alpn(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                     unsigned in_len, void *arg);

// protocol_is_none_selected says of a client whether its server has selected nothing of what was
// offered.
bool protocol_is_none_selected(const struct side *side);

#endif
