// SPDX-License-Identifier: Apache-2.0
//
// Good inputs of the fuzz target of certs/: of each kind, and for what is signed of each kind of
// key. tests/unit/certs/fuzz_test.c damages them, and certs_seeds_main.c writes them for the
// fuzzer.
#ifndef TABARD_TESTS_FUZZ_CERTS_SEEDS_H
#define TABARD_TESTS_FUZZ_CERTS_SEEDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/fuzz/certs_fuzz.h"

struct certs_seed {
    const char *name; // "chain_ml_dsa_44"
    enum certs_fuzz_kind kind;
    enum certs_fuzz_key key; // of what is signed
    const char *text;        // the input behind its first byte, where nothing is signed
    size_t text_len;
};

// The seeds, in an order that doesn't change.
extern const struct certs_seed certs_seeds[];
extern const size_t certs_seeds_num;

// certs_seed_make makes a seed's input, malloc'd: certs_fuzz_run takes it. false: out of memory.
bool certs_seed_make(const struct certs_seed *seed, uint8_t **out, size_t *out_len);

#endif
