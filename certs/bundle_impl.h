// SPDX-License-Identifier: Apache-2.0
//
// The inside of a trust bundle, for bundle.c, crl.c and verify.c only. Everything that a lookup
// needs (times, serial numbers, digests of keys) is computed when the bundle is built, and never at
// a handshake.
#ifndef TABARD_CERTS_BUNDLE_IMPL_H
#define TABARD_CERTS_BUNDLE_IMPL_H

#include <openssl/x509.h>

#include "certs/bundle.h"
#include "certs/crl.h"

struct bundle_root {
    X509 *cert; // owned
    time_t not_before;
    time_t not_after;
};

struct trust_bundle {
    char *domain; // owned
    size_t domain_len;
    struct bundle_root *roots; // owned
    size_t num_roots;
    struct crl *crls; // owned
    size_t num_crls;
    uint8_t digest[32];
};

#endif
