// SPDX-License-Identifier: Apache-2.0
//
// The extensions that Tabard puts into the certificates it makes, for certs/ca/mint*.c and the
// tests' bad certificates. Each function adds one to a certificate that the caller owns, and
// returns false when it is there already. Names are checked by mint.c, not here.
#ifndef TABARD_CERTS_CA_MINT_EXT_H
#define TABARD_CERTS_CA_MINT_EXT_H

#include "certs/ca/mint.h"

// Bits of keyUsage, by their number (RFC 5280, section 4.2.1.3).
#define MINT_USE_DIGITAL_SIGNATURE (1u << 0)
#define MINT_USE_CERT_SIGN         (1u << 5)
#define MINT_USE_CRL_SIGN          (1u << 6)

// Critical. A negative path_len is left out.
bool mint_add_basic_constraints(X509 *cert, bool is_ca, int path_len);

// Critical. `uses` is an OR of MINT_USE_*.
bool mint_add_key_usage(X509 *cert, unsigned uses);

// serverAuth and clientAuth: a mesh identity is used in both roles (X509-SVID, section 4.4).
bool mint_add_ext_key_usage(X509 *cert);

// The SPIFFE id and the DNS names of `leaf`; its times are not looked at.
bool mint_add_names(X509 *cert, const struct mint_leaf *leaf, bool is_critical);

// The identifiers of its own and of its issuer's key. The issuer may be the certificate itself.
bool mint_add_key_ids(X509 *cert, const X509 *issuer);

// mint_key_id is the identifier of a certificate's key, an OCTET STRING that the caller owns: the
// first 160 bits of SHA-256 (RFC 7093, section 2).
ASN1_OCTET_STRING *mint_key_id(const X509 *cert);

// mint_sign_cert signs a certificate, anew where a test has changed it. Returns false when the
// library refuses.
bool mint_sign_cert(X509 *cert, EVP_PKEY *key);

// mint_digest_of is the digest to sign with: none for Ed25519 and ML-DSA, which sign
// the message itself.
const EVP_MD *mint_digest_of(const EVP_PKEY *key);

#endif
