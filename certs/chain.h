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
#include "certs/verify.h"

// Zero state: no certificate.
struct chain {
    // One more than a peer accepts, so that the verifier sees that a chain is too long.
    CRYPTO_BUFFER *certs[VERIFY_CHAIN_MAX + 1];
    size_t num;
};

// chain_init copies 1 to VERIFY_CHAIN_MAX certificates without looking into them. false sets err,
// and *out is then the zero state.
bool chain_init(struct chain *out, const ProtobufCBinaryData *ders, size_t num, struct err *err);
void chain_cleanup(struct chain *chain);

// chain_lent returns the chain that a peer sent (NULL: none), borrowed from `sent`.
struct chain chain_lent(const STACK_OF(CRYPTO_BUFFER) * sent);

// chain_pool returns the pool that holds each certificate of this process once, however many
// connections and contexts share it. It has its own lock and lives as long as the process.
CRYPTO_BUFFER_POOL *chain_pool(void);

#endif
