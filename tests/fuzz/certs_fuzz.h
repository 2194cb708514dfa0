// SPDX-License-Identifier: Apache-2.0
//
// The fuzz target of certs/: ids, PEM, bundles, CRLs, chains and signing requests out of arbitrary
// bytes, and its seeds. Seeds are owned by the caller; one thread. Bounded by the input. The CA
// behind it is always the same, byte for byte, so that what the fuzzer finds can be replayed.
#ifndef TABARD_TESTS_FUZZ_CERTS_FUZZ_H
#define TABARD_TESTS_FUZZ_CERTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The first byte of an input says what the rest is.
enum certs_fuzz_kind {
    CERTS_FUZZ_ID,
    CERTS_FUZZ_PEM_CERT,
    CERTS_FUZZ_PEM_CRL,
    CERTS_FUZZ_ROOT,  // a DER root of a bundle
    CERTS_FUZZ_CRL,   // a DER CRL of a good bundle
    CERTS_FUZZ_CHAIN, // certificates, each after its length in two bytes
    CERTS_FUZZ_CSR,
    CERTS_FUZZ_RULES, // extensions of an intermediate and of a leaf that are well signed
    CERTS_FUZZ_KINDS,
};

// What an input came to, so that a test can assert it.
enum certs_fuzz_result { CERTS_FUZZ_REFUSED, CERTS_FUZZ_TAKEN };
enum certs_fuzz_result certs_fuzz_run(const uint8_t *data, size_t len);

// certs_fuzz_seed makes a good input of a kind, malloc'd: certs_fuzz_run takes it. false: out of
// memory.
bool certs_fuzz_seed(enum certs_fuzz_kind kind, uint8_t **out, size_t *out_len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#endif
