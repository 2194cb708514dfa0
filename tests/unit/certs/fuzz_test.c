// SPDX-License-Identifier: Apache-2.0
//
// The fuzz target's seeds, whole and damaged in every place.
#include "tests/fuzz/certs_fuzz.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

Test(fuzz, every_seed_is_taken, .timeout = 20)
{
    for (int kind = 0; kind < CERTS_FUZZ_KINDS; kind++) {
        uint8_t *seed;
        size_t len;
        cr_assert(certs_fuzz_seed((enum certs_fuzz_kind)kind, &seed, &len));
        cr_expect_eq(certs_fuzz_run(seed, len), CERTS_FUZZ_TAKEN, "kind %d", kind);
        free(seed);
    }
}

// What is signed must be refused when any bit of it is another.
Test(fuzz, no_flipped_bit_of_a_chain_or_a_crl_is_taken, .timeout = 120)
{
    static const enum certs_fuzz_kind kinds[] = {CERTS_FUZZ_CHAIN, CERTS_FUZZ_CRL, CERTS_FUZZ_CSR};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        uint8_t *seed;
        size_t len;
        cr_assert(certs_fuzz_seed(kinds[k], &seed, &len));
        for (size_t i = 1; i < len; i++) {
            for (int bit = 0; bit < 8; bit++) {
                seed[i] ^= (uint8_t)(1u << bit);
                cr_expect_eq(certs_fuzz_run(seed, len), CERTS_FUZZ_REFUSED,
                             "kind %d, byte %zu, bit %d", kinds[k], i, bit);
                seed[i] ^= (uint8_t)(1u << bit);
            }
        }
        free(seed);
    }
}

Test(fuzz, nothing_that_is_cut_or_damaged_does_harm, .timeout = 120)
{
    for (int kind = 0; kind < CERTS_FUZZ_KINDS; kind++) {
        uint8_t *seed;
        size_t len;
        cr_assert(certs_fuzz_seed((enum certs_fuzz_kind)kind, &seed, &len));
        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *exact = malloc(cut == 0 ? 1 : cut);
            memcpy(exact, seed, cut);
            certs_fuzz_run(exact, cut);
            free(exact);
        }
        static const uint8_t bytes[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '-', '\n'};
        for (size_t i = 1; i < len; i++) {
            for (size_t b = 0; b < sizeof bytes; b++) {
                uint8_t saved = seed[i];
                seed[i] = bytes[b];
                certs_fuzz_run(seed, len);
                seed[i] = saved;
            }
        }
        free(seed);
    }
}
