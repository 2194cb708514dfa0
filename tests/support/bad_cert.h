// SPDX-License-Identifier: Apache-2.0
//
// Certificates that no CA should sign, for tests of those who must refuse them: a good leaf is
// spoiled and signed again. Results are owned by the caller; one thread. Bounded by the leaf that
// is given. It lives here so that certs/ca/mint.c can't be asked for any of this.
#ifndef TABARD_TESTS_SUPPORT_BAD_CERT_H
#define TABARD_TESTS_SUPPORT_BAD_CERT_H

#include <openssl/x509.h>

#include "certs/ca/mint.h"

// What is wrong with the leaf. Zero state: nothing.
struct bad_leaf {
    const char *const *uris; // the URI SANs instead of the SPIFFE id, if has_uris; may be none
    const size_t *uri_lens;  // their lengths, or NULL: NUL-terminated. For an embedded NUL
    size_t num_uris;
    bool has_uris;
    bool no_san; // no subjectAltName at all
    bool is_ca;  // CA:TRUE
    bool no_basic_constraints;
    bool has_uses;
    unsigned uses; // keyUsage instead of digitalSignature, if has_uses; 0: none at all
    bool uses_not_critical;
    bool has_purpose;
    int purpose_nid; // extendedKeyUsage holds this alone, if has_purpose; 0: the extension is left
                     // out
    bool has_unknown_critical; // an extension that nobody understands
    bool has_times;
    time_t not_before; // instead of the good ones, if has_times
    time_t not_after;
    const EVP_MD *digest; // sign with this instead of what is right
};

// bad_leaf_new makes a leaf for `key`, of the kind that mint_leaf_new would refuse. `ca` signs it
// whatever it is; a key that mint_leaf_new refuses (RSA 1024, P-224) is fine. Aborts on a mistake
// in the test.
X509 *bad_leaf_new(const struct mint_ca *ca, EVP_PKEY *key, const char *spiffe_id, time_t now,
                   const struct bad_leaf *bad);

// Keys that the mesh does not mint.
EVP_PKEY *bad_key_rsa(int bits);
EVP_PKEY *bad_key_ec(int curve_nid);

// bad_ca_init makes a CA that `parent` signs (NULL: self-signed) with whatever is asked: any key
// (owned by *out then), any URI ("spiffe://td/with/path", NULL: none), any keyUsage, CA:FALSE, any
// times.
struct bad_ca {
    EVP_PKEY *key;
    const char *uri;
    unsigned uses;
    bool is_not_ca;
    time_t not_before;
    time_t not_after;
    const EVP_MD *digest;
};
void bad_ca_init(struct mint_ca *out, const struct mint_ca *parent, const struct bad_ca *bad);

#endif
