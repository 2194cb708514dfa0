// SPDX-License-Identifier: Apache-2.0
//
// Whether a chain of ordinary certificates, of somebody outside the mesh, leads to one of some
// roots: by BoringSSL's own search, without SPIFFE ids, CRLs, or a floor for keys and digests, of
// which docs/certificates.md tells. named_server.c asks it about servers, known_client.c about
// clients. No globals; any thread.
#ifndef TABARD_CERTS_ORDINARY_CHAIN_H
#define TABARD_CERTS_ORDINARY_CHAIN_H

#include <openssl/x509.h>
#include <stdbool.h>

#include "base/err.h"
#include "certs/der_list.h"

// ordinary_roots makes a store of roots, self-signed or not, one at least. NULL sets err.
X509_STORE *ordinary_roots(const struct der_list *roots, struct err *err);

// Who is to be proved.
struct ordinary_peer {
    bool is_client;
    const char *name; // of a server: the DNS name or IP address that its certificate must have
    bool is_ip;       // the name is an IP address
};

// ordinary_chain_verify verifies what a peer sent. Returns NULL, or what is wrong, a constant text,
// and then *out_alert is the alert to send (RFC 8446, section 6.2).
const char *ordinary_chain_verify(X509_STORE *roots, const STACK_OF(CRYPTO_BUFFER) * sent,
                                  const struct ordinary_peer *peer, uint8_t *out_alert);

#endif
