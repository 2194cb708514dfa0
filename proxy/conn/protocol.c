// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/protocol.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "certs/tls/alpn.h"
#include "proxy/carry/hello.h"

static bool has_mesh_name(const uint8_t *wire, size_t len)
{
    return alpn_find(wire, len, ALPN_MESH, strlen(ALPN_MESH)) != NULL;
}

void protocol_offer(struct handshake *handshake)
{
    struct route route = route_outbound(handshake->snapshot->routes, handshake->remote);
    const uint8_t *names = (const uint8_t *)ALPN_USUAL;
    size_t names_len = sizeof ALPN_USUAL - 1;
    if (route.alpn != NULL) {
        names = route.alpn->wire;
        names_len = route.alpn->len;
    }
    uint8_t wire[1 + ALPN_BOUND_MAX + ALPN_WIRE_MAX];
    size_t len = 0;
    if (route.is_bound && has_mesh_name(names, names_len)) {
        char bound[ALPN_BOUND_MAX];
        len = 1 + alpn_bound(bound, handshake->remote);
        wire[0] = (uint8_t)(len - 1);
        memcpy(wire + 1, bound, len - 1);
    }
    memcpy(wire + len, names, names_len);
    // Zero means success here, unlike everywhere else in this library.
    int failed = SSL_set_alpn_protos(handshake->side->ssl, wire, (unsigned)(len + names_len));
    must_have(failed ? NULL : handshake); // only memory can be missing
}

// Refuses the ClientHello for the reason, with its own alert in the place of BoringSSL's.
static int refuse(struct handshake *handshake, enum reason reason, const char *detail)
{
    handshake->reason = reason;
    free(handshake->made_detail);
    handshake->made_detail = must_strdup(detail);
    (void)SSL_send_fatal_alert(handshake->side->ssl, (uint8_t)reason_alert(reason));
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int refuse_elsewhere(struct handshake *handshake, const uint8_t *name, size_t name_len)
{
    char detail[2 * ALPN_BOUND_MAX + 64], own[ALPN_BOUND_MAX], called[ALPN_BOUND_MAX];
    size_t called_len = 0;
    for (size_t i = sizeof ALPN_MESH; i < name_len && called_len < sizeof called - 1; i++) {
        called[called_len++] = name[i] > ' ' && name[i] <= '~' ? (char)name[i] : '?';
    }
    called[called_len] = '\0';
    snprintf(detail, sizeof detail, "the caller called %s and was led to %s", called,
             addr_text(handshake->reached, own));
    return refuse(handshake, REASON_MISDIRECTED, detail);
}

int protocol_on_alpn(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                     unsigned in_len, void *arg)
{
    (void)arg;
    struct handshake *handshake = SSL_get_app_data(ssl);
    const struct route_index *routes = handshake->snapshot->routes;
    switch (alpn_binding_of(in, in_len, handshake->reached, out, out_len)) {
    case ALPN_BOUND:
        return SSL_TLSEXT_ERR_OK;
    case ALPN_ELSEWHERE:
        return refuse_elsewhere(handshake, *out, *out_len);
    case ALPN_UNBOUND:
        break;
    }
    *out = alpn_find(in, in_len, ALPN_MESH, strlen(ALPN_MESH));
    *out_len = (uint8_t)strlen(ALPN_MESH);
    if (*out != NULL) {
        return route_needs_binding(routes)
                   ? refuse(handshake, REASON_UNBOUND,
                            "the caller's sidecar does not say which address it called, and "
                            "settings.require_bound_destinations wants that")
                   : SSL_TLSEXT_ERR_OK;
    }
    const struct inbound inbound = route_inbound(routes, handshake->port);
    if (inbound.alpn == NULL) {
        return SSL_TLSEXT_ERR_NOACK; // its certificate decides
    }
    return alpn_select(inbound.alpn, in, in_len, out, out_len) ? SSL_TLSEXT_ERR_OK
                                                               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

bool protocol_is_good(struct handshake *handshake)
{
    const uint8_t *name;
    unsigned name_len;
    char bound[ALPN_BOUND_MAX];
    if (handshake->is_server ||
        !route_outbound(handshake->snapshot->routes, handshake->remote).needs_binding) {
        return true;
    }
    SSL_get0_alpn_selected(handshake->side->ssl, &name, &name_len);
    size_t bound_len = alpn_bound(bound, handshake->remote);
    if (name_len == bound_len && memcmp(name, bound, bound_len) == 0) {
        return true;
    }
    free(handshake->made_detail);
    handshake->made_detail =
        must_strdup("the server does not confirm the address that was called, and the "
                    "destination's binding wants that");
    return false;
}

bool protocol_is_mesh_hello(const struct ring *in)
{
    uint8_t list[HELLO_BYTES_MAX];
    return has_mesh_name(list, hello_alpn(in, list));
}

bool protocol_is_none_selected(const struct side *side)
{
    const uint8_t *name;
    unsigned name_len;
    SSL_get0_alpn_selected(side->ssl, &name, &name_len);
    return name_len == 0;
}
