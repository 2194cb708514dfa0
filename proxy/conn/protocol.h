// SPDX-License-Identifier: Apache-2.0
//
// Which application protocol a handshake agrees on (ALPN, RFC 7301): what a client offers to its
// destination, and what a server selects for its port; and by the same names, whether both sidecars
// mean the same address (docs/binding.md). proxy/conn/handshake.c calls it, and hands the server's
// half to the TLS contexts.
#ifndef TABARD_PROXY_CONN_PROTOCOL_H
#define TABARD_PROXY_CONN_PROTOCOL_H

#include "proxy/conn/handshake.h"

// protocol_offer gives the client's TLS object, which has not begun, the list of its destination.
void protocol_offer(struct handshake *handshake);

// protocol_is_good says, once the server has chosen, whether a client may go on. false: the
// destination wants its binding confirmed, and it is not; made_detail says so.
bool protocol_is_good(struct handshake *handshake);

// protocol_on_alpn is context_hooks.on_alpn. A client that is bound to another address than the one
// by which it came is refused (misdirected), and a sidecar that is not bound, where the settings
// want that (unbound_destination). Else it selects the mesh's own protocol if it is offered,
// else the port's first one that is. A port with a list refuses a client that offers others alone
// (no_application_protocol, section 3.2); a port without one serves it, with none selected.
int protocol_on_alpn(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                     unsigned in_len, void *arg);

// protocol_is_mesh_hello says whether the whole ClientHello in `in` is a sidecar's: it offers the
// mesh's protocol.
bool protocol_is_mesh_hello(const struct ring *in);

// protocol_is_none_selected says of a client whether its server has selected nothing of what was
// offered.
bool protocol_is_none_selected(const struct side *side);

#endif
