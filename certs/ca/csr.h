// SPDX-License-Identifier: Apache-2.0
//
// Makes a request for a certificate: a fresh key and a PKCS#10 request that the key signs (RFC
// 2986). The key is the caller's and never leaves memory. Whoever answers the request decides what
// is granted; see certs/ca/mint.h.
#ifndef TABARD_CERTS_CA_CSR_H
#define TABARD_CERTS_CA_CSR_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "certs/ca/mint.h"

// csr_new makes a key of a kind and a request that names spiffe_id as its one URI SAN, or no name
// at all if it is empty: what is granted is then the answerer's. *out_key and *out_der (malloc'd)
// are the caller's. false sets err.
bool csr_new(EVP_PKEY **out_key, uint8_t **out_der, size_t *out_len, enum mint_key_kind kind,
             const char *spiffe_id, struct err *err);

#endif
