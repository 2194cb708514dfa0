// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/protocol.h"

#include <openssl/ssl.h>
#include <string.h>

#include "base/must.h"
#include "certs/tls/alpn.h"

void protocol_offer(struct handshake *handshake)
{
    struct route route = route_outbound(handshake->snapshot->routes, handshake->remote);
    if (route.alpn != NULL) {
        // Zero means success here, unlike everywhere else in this library.
        int failed = SSL_set_alpn_protos(handshake->side->ssl, route.alpn->wire, route.alpn->len);
        must_have(failed ? NULL : handshake); // only memory can be missing
    }
}

int protocol_on_alpn(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                     unsigned in_len, void *arg)
{
    (void)arg;
    const struct handshake *handshake = SSL_get_app_data(ssl);
    *out = alpn_find(in, in_len, ALPN_MESH, strlen(ALPN_MESH));
    *out_len = (uint8_t)strlen(ALPN_MESH);
    if (*out != NULL) {
        return SSL_TLSEXT_ERR_OK;
    }
    const struct inbound inbound = route_inbound(handshake->snapshot->routes, handshake->port);
    if (inbound.alpn == NULL) {
        return SSL_TLSEXT_ERR_NOACK; // its certificate decides
    }
    return alpn_select(inbound.alpn, in, in_len, out, out_len) ? SSL_TLSEXT_ERR_OK
                                                               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

bool protocol_is_none_selected(const struct side *side)
{
    const uint8_t *name;
    unsigned name_len;
    SSL_get0_alpn_selected(side->ssl, &name, &name_len);
    return name_len == 0;
}
