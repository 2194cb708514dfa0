// SPDX-License-Identifier: Apache-2.0
//
// Certificates of any shape for the tests of path building: CAs of one name and different keys, of
// one key and different issuers, with right, wrong or no key identifiers, with any extension. A
// leaf is a good X.509-SVID but for what is asked. Aborts on a mistake in the test. Results are
// owned by the caller.
#ifndef TABARD_TESTS_SUPPORT_ANY_CERT_H
#define TABARD_TESTS_SUPPORT_ANY_CERT_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <time.h>

// An extension, whatever its bytes mean.
struct any_extension {
    const char *oid; // "2.5.29.36"
    const char *der; // hexadecimal
    bool is_critical;
};

struct any_cert {
    const char *subject; // a common name; NULL: the name is empty
    const char *issuer;  // likewise
    EVP_PKEY *key;
    EVP_PKEY *signer;
    const char *spiffe_id;  // NULL: it is a CA
    bool has_key_ids;       // of its own key and its signer's
    EVP_PKEY *wrong_signer; // the authority key identifier names this key instead
    int path_len;           // plus one; 0: none
    time_t not_before;
    time_t not_after;
    unsigned long serial; // 0: a new one
    // Up to the first without OID. A subjectAltName stands first and takes the place of the usual
    // one.
    struct any_extension extensions[4];
};

X509 *any_cert_new(const struct any_cert *any);

// any_cert_sign signs a certificate and returns it as its bytes are read; `cert` is freed. digest
// may be NULL: the usual one of the key.
X509 *any_cert_sign(X509 *cert, EVP_PKEY *key, const EVP_MD *digest);

#endif
