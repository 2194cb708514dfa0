// SPDX-License-Identifier: Apache-2.0
//
// A certificate chain, leaf first, in the form that the verifier and the TLS contexts take.
// Our own is copied (chain_init, and chain_cleanup by its owner); a peer's is lent by the handshake
// that received it (chain_lent) and never cleaned up.
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
    // One more than a peer accepts, so that a chain that is too long is seen as that.
    CRYPTO_BUFFER *certs[VERIFY_CHAIN_MAX + 1];
    size_t num;
};

// chain_init copies 1 to VERIFY_CHAIN_MAX certificates, whatever is in them. false sets err, and
// *out is then the zero state.
bool chain_init(struct chain *out, const ProtobufCBinaryData *ders, size_t num, struct err *err);
void chain_cleanup(struct chain *chain);

// chain_lent returns what a peer sent (NULL: nothing), for as long as `sent` lives.
struct chain chain_lent(const STACK_OF(CRYPTO_BUFFER) * sent);

// chain_pool is where the certificates of this process are held once each, however many connections
// and contexts share them. It has its own lock and lives as long as the process.
CRYPTO_BUFFER_POOL *chain_pool(void);

#endif
