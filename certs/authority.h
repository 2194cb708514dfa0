// SPDX-License-Identifier: Apache-2.0
//
// Checks a certificate that signs others: the rules for the roots of a bundle, and for the
// certificates that a peer sends above its leaf.
#ifndef TABARD_CERTS_AUTHORITY_H
#define TABARD_CERTS_AUTHORITY_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

// authority_key_digest computes SHA-256 of a certificate's SubjectPublicKeyInfo.
void authority_key_digest(uint8_t out[32], const X509 *cert);

// authority_id_check says whether each SPIFFE id that a signing certificate carries, if any, names
// `domain` and has no path (X509-SVID, section 3.2). false sets err.
bool authority_id_check(X509 *cert, const char *domain, size_t domain_len, struct err *err);

// authority_check says whether a certificate may sign certificates: CA:TRUE and a key usage
// with keyCertSign (X509-SVID, sections 4.1 and 4.3). false sets err.
bool authority_check(X509 *cert, struct err *err);

#endif
