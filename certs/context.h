// SPDX-License-Identifier: Apache-2.0
//
// The two SSL_CTX of one generation: how every mesh handshake is spoken. TLS 1.3 only, three AEAD
// suites, no tickets, no session cache, no early data, both sides present certificates (RFC 8446;
// NIST SP 800-52r2). The pair is owned by a snapshot and immutable once built; any thread may make
// an SSL of it. It holds no private key: the signatures come through the private-key method it is
// given.
#ifndef TABARD_CERTS_CONTEXT_H
#define TABARD_CERTS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/err.h"
#include "tabard/v1/mesh.pb-c.h"

#define CONTEXT_ALPN     "tabard/1"
#define CONTEXT_ALPN_LEN 8

struct context_pair {
    SSL_CTX *server; // owned
    SSL_CTX *client; // owned
};

// What the caller plugs in. on_verify decides on the peer's chain (SSL_get0_peer_certificates)
// inside the handshake.
struct context_hooks {
    const SSL_PRIVATE_KEY_METHOD *key_method; // borrowed for the pair's life
    enum ssl_verify_result_t (*on_verify)(SSL *ssl, uint8_t *out_alert);
    // NULL, or sees each ClientHello before anything else is decided.
    enum ssl_select_cert_result_t (*on_client_hello)(const SSL_CLIENT_HELLO *hello);
};

// context_pair_init builds both contexts for `identity`, whose chain is copied. Refused: an empty
// or too long chain, DER that doesn't parse, a leaf key of a kind that the mesh doesn't sign with
// (Ed25519, ECDSA P-256 and P-384, RSA of 2048 bits and more). false sets err; *out is then the
// zero state.
bool context_pair_init(struct context_pair *out, const Tabard__V1__Identity *identity,
                       const struct context_hooks *hooks, struct err *err);
void context_pair_cleanup(struct context_pair *pair);

// context_has_mesh_alpn says whether a ClientHello offers CONTEXT_ALPN. For use inside
// on_client_hello.
bool context_has_mesh_alpn(const SSL_CLIENT_HELLO *hello);

#endif
