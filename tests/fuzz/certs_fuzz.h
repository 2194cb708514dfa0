// SPDX-License-Identifier: Apache-2.0
//
// The fuzz target of certs/: ids, PEM, keys, bundles, CRLs, chains, signing requests and name
// constraints out of arbitrary bytes. One thread. Bounded by the input. The names and keys of the
// CAs behind it are always the same, so that what the fuzzer finds can be replayed. Its seeds,
// whose certificates must stay valid, are made by tests/fuzz/certs_seeds.h.
#ifndef TABARD_TESTS_FUZZ_CERTS_FUZZ_H
#define TABARD_TESTS_FUZZ_CERTS_FUZZ_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "certs/ca/mint.h"

#define CERTS_FUZZ_NOW     ((time_t)1900000000)
#define CERTS_FUZZ_ID_TEXT "spiffe://prod.example/ns/shop/sa/web"

// The first byte of an input says what the rest is.
enum certs_fuzz_kind {
    CERTS_FUZZ_ID,
    CERTS_FUZZ_PEM_CERT,
    CERTS_FUZZ_PEM_CRL,
    CERTS_FUZZ_ROOT,  // a DER root of a bundle
    CERTS_FUZZ_CRL,   // a DER CRL of a good bundle with a root of each kind of key
    CERTS_FUZZ_CHAIN, // certificates, each after its length in two bytes
    CERTS_FUZZ_CSR,
    CERTS_FUZZ_RULES, // extensions of an intermediate and of a leaf that are well signed
    CERTS_FUZZ_KEY_PEM,
    CERTS_FUZZ_URI, // a name constraint after its length in a byte, and a URI
    CERTS_FUZZ_KINDS,
};

// What an input came to, so that a test can assert it.
enum certs_fuzz_result { CERTS_FUZZ_REFUSED, CERTS_FUZZ_TAKEN };
enum certs_fuzz_result certs_fuzz_run(const uint8_t *data, size_t len);

// The CAs, one for each of these kinds of key.
enum certs_fuzz_key {
    CERTS_FUZZ_ED25519,
    CERTS_FUZZ_ML_DSA_44,
    CERTS_FUZZ_ML_DSA_65,
    CERTS_FUZZ_KEYS,
};
const struct mint_ca *certs_fuzz_ca(enum certs_fuzz_key kind);

// certs_fuzz_key_new makes the key whose secret bytes are all `fill`: the same in every run.
EVP_PKEY *certs_fuzz_key_new(enum certs_fuzz_key kind, uint8_t fill);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#endif
