// SPDX-License-Identifier: Apache-2.0
//
// Which public keys and signature algorithms the mesh accepts: ML-DSA-44 and ML-DSA-65, Ed25519,
// ECDSA on P-256 and P-384, RSA of 2048 to 8192 bits, never SHA-1 or MD5 (RFC 9881; NIST SP 800-57,
// part 1; SP 800-131A).
#ifndef TABARD_CERTS_KEY_H
#define TABARD_CERTS_KEY_H

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define KEY_RSA_BITS_MIN 2048
#define KEY_RSA_BITS_MAX 8192 // a longer one costs whoever must check its signatures too much
#define KEY_TEXT_MAX     32

// key_check says whether a public key may stand in a mesh certificate. NULL (a key that didn't
// parse) is refused. false sets err, which says what the key is and which would be right.
bool key_check(const EVP_PKEY *key, struct err *err);

// key_text names a key: "ML-DSA-44", "ECDSA P-256", "RSA 4096", "unknown". The text lives in buf,
// of KEY_TEXT_MAX bytes.
const char *key_text(const EVP_PKEY *key, char *buf);

// key_pem_read reads the first private key of a PEM text (PKCS#8, SEC 1 or PKCS#1, without a
// password), which key_check accepts. Of the forms that RFC 9881, section 6, has for ML-DSA it
// takes the seed alone. NULL sets err.
EVP_PKEY *key_pem_read(const char *pem, size_t pem_len, struct err *err);

enum key_sign_result { KEY_SIGNED, KEY_OTHER_SCHEME, KEY_SIGN_FAILED };

// key_sign signs for a TLS 1.3 handshake by a SignatureScheme (RFC 8446, section 4.2.3). *out_len
// is the room in out, and then the signature's length. KEY_OTHER_SCHEME: such a key doesn't sign
// so.
enum key_sign_result key_sign(EVP_PKEY *key, uint32_t algorithm, const uint8_t *input,
                              size_t input_len, uint8_t *out, size_t *out_len);

// key_signature_check says whether the algorithm of a certificate's, a CRL's or a signing request's
// signature (X509_get0_signature and its like give it) is accepted. It is judged with its
// parameters, because RSA-PSS names its digests there alone (RFC 4055, section 3.1): SHA-256,
// SHA-384 or SHA-512, MGF1 by the same digest, a salt as long as the digest (BoringSSL knows no
// other), trailer field 1. false sets err, which says what it is and what would be right.
bool key_signature_check(const X509_ALGOR *algorithm, struct err *err);

#endif
