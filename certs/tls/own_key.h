// SPDX-License-Identifier: Apache-2.0
//
// The key of a context that signs in this process: each signature is made where keys lie
// (base/secret/secret.h), not in the memory and on the stack of the handshake. Only
// certs/tls/context.c uses this. Any thread.
#ifndef TABARD_CERTS_OWN_KEY_H
#define TABARD_CERTS_OWN_KEY_H

#include <openssl/ssl.h>

// own_key_set counts a reference to the key, which the context keeps. Returns the method that signs
// with it, for SSL_CTX_set_chain_and_key.
const SSL_PRIVATE_KEY_METHOD *own_key_set(SSL_CTX *ctx, EVP_PKEY *key);

#endif
