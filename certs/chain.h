// SPDX-License-Identifier: Apache-2.0
//
// A certificate chain, leaf first, in the form that the verifier and the TLS contexts take. Our own
// is copied by chain_init, and its owner calls chain_cleanup; a peer's is borrowed by chain_lent
// from the handshake that received it, and never cleaned up.
#ifndef TABARD_CERTS_CHAIN_H
#define TABARD_CERTS_CHAIN_H

#include <openssl/pool.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define CHAIN_CERTS_MAX 10 // certificates that a peer may send
// The bytes of a chain as a Certificate message carries it (RFC 8446, section 4.4.2). BoringSSL
// refuses a longer message of a peer before anything is parsed, and our own chain must fit into
// this limit, since every peer has it.
#define CHAIN_BYTES_MAX (32u << 10)

// Zero state: no certificate.
struct chain {
    // One more than a peer accepts, so that the verifier sees that a chain is too long.
    CRYPTO_BUFFER *certs[CHAIN_CERTS_MAX + 1];
    size_t num;
};

// chain_init copies 1 to CHAIN_CERTS_MAX certificates without looking into them. false sets err,
// and *out is then the zero state.
bool chain_init(struct chain *out, const ProtobufCBinaryData *ders, size_t num, struct err *err);
void chain_cleanup(struct chain *chain);

// chain_lent returns the chain that a peer sent (NULL: none), borrowed from `sent`.
struct chain chain_lent(const STACK_OF(CRYPTO_BUFFER) * sent);

// chain_pool returns the pool that holds each certificate of this process once, however many
// connections and contexts share it. It has its own lock and lives as long as the process.
CRYPTO_BUFFER_POOL *chain_pool(void);

#endif
