// SPDX-License-Identifier: Apache-2.0
//
// TLS contexts, for every handshake of the mesh and between a sidecar and its policy agent. They
// allow TLS 1.3 only, three AEAD suites, one list of groups and one of signature algorithms, no
// tickets, no session cache, no early data (RFC 8446; NIST SP 800-52r2). A server takes
// X25519MLKEM768 from whoever offers it, if need be by a HelloRetryRequest, and else the group that
// the client prefers. A context is the caller's
// and immutable once built; any thread may make an SSL of it. The caller's on_verify decides whom a
// peer's chain proves; see certs/path/verify.h.
#ifndef TABARD_CERTS_CONTEXT_H
#define TABARD_CERTS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/err.h"
#include "certs/chain.h"

enum context_role { CONTEXT_SERVER, CONTEXT_CLIENT };

// The caller's functions. on_verify decides on the peer's chain (SSL_get0_peer_certificates) inside
// the handshake.
struct context_hooks {
    const SSL_PRIVATE_KEY_METHOD *key_method; // borrowed for the context's life; see `key`
    enum ssl_verify_result_t (*on_verify)(SSL *ssl, uint8_t *out_alert);
    // Sees each ClientHello before anything else is decided. NULL: nobody looks.
    enum ssl_select_cert_result_t (*on_client_hello)(const SSL_CLIENT_HELLO *hello);
    // Selects the protocol of a client that offers `in`, as SSL_CTX_set_alpn_select_cb has it;
    // `arg` is NULL. NULL: ALPN_MESH if it is offered, else none.
    int (*on_alpn)(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                   unsigned in_len, void *arg);
};

struct context_options {
    enum context_role role;
    bool is_mesh;                 // offers or chooses ALPN_MESH
    bool is_certificate_optional; // of a server: a client may show none
    bool needs_post_quantum;      // X25519MLKEM768 or nothing
    const struct chain *chain;    // NULL: a client that shows no certificate
    const struct chain *fallback; // for peers that can't take the other; NULL: none; not with `key`
    EVP_PKEY *key;                // signs for the chains; NULL: hooks.key_method does
    struct context_hooks hooks;
};

// context_new makes a context. It refuses a chain that holds anything but DER certificates, and a
// leaf whose key is of a kind that the mesh doesn't accept (see certs/key.h) or is not `key`. NULL
// sets err, whose path is "chain" or "fallback.chain", or below it.
SSL_CTX *context_new(const struct context_options *options, struct err *err);

// The two contexts of a sidecar in the mesh.
struct context_pair {
    SSL_CTX *server; // owned
    SSL_CTX *client; // owned
};

// context_pair_init makes both of the same options, whose role and is_mesh it sets. false sets err
// as context_new does; *out is then the zero state.
bool context_pair_init(struct context_pair *out, const struct context_options *options,
                       struct err *err);
void context_pair_cleanup(struct context_pair *pair);

// context_shows_fallback says whether the chain that is shown in a handshake is the fallback. For
// use inside key_method's functions.
bool context_shows_fallback(const SSL *ssl);

// context_has_mesh_alpn says whether a ClientHello offers ALPN_MESH. For use inside
// on_client_hello.
bool context_has_mesh_alpn(const SSL_CLIENT_HELLO *hello);

#endif
