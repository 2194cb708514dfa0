// SPDX-License-Identifier: Apache-2.0
//
// Reads the workload's own certificate and key, and judges them as a peer would. Pure. Errors name
// no file: the caller knows which it was.
#ifndef TABARD_CONTROL_AGENT_SNAPSHOT_CREDENTIALS_H
#define TABARD_CONTROL_AGENT_SNAPSHOT_CREDENTIALS_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "base/err.h"
#include "certs/bundle.h"
#include "certs/path/verify.h"
#include "tabard/v1/mesh.pb-c.h"

#define CREDENTIALS_RSA_BITS_MAX 4096

// credentials_key_read reads a private key as key_pem_read does, of a kind that signs handshakes
// fast enough. NULL sets err.
EVP_PKEY *credentials_key_read(const char *pem, size_t pem_len, struct err *err);

// credentials_leaf_read reads the public key and notBefore of a chain's first certificate. *out_key
// is the caller's, also on failure. false sets err.
bool credentials_leaf_read(const Tabard__V1__Identity *identity, EVP_PKEY **out_key,
                           time_t *out_not_before, struct err *err);

// credentials_chain_verify returns what a peer with the same bundles would say of the chain at
// `now`. All but VERIFY_OK set err: what is wrong, and what would be right.
enum verify_failure credentials_chain_verify(struct verified_peer *out,
                                             const Tabard__V1__Identity *identity,
                                             const struct trust_bundles *bundles, time_t now,
                                             struct err *err);

#endif
