// SPDX-License-Identifier: Apache-2.0
//
// The fuzz target's seeds, whole and damaged in every place; the large ones, of ML-DSA, in many.
#include "tests/fuzz/certs_fuzz.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/certs_seeds.h"

// How far two bytes that are damaged lie apart: a large seed has 600 of them.
static size_t step_of(size_t len)
{
    return len <= 2000 ? 1 : len / 600;
}

Test(fuzz, every_seed_is_taken, .timeout = 20)
{
    bool has_kind[CERTS_FUZZ_KINDS] = {false};
    for (size_t i = 0; i < certs_seeds_num; i++) {
        uint8_t *seed;
        size_t len;
        cr_assert(certs_seed_make(&certs_seeds[i], &seed, &len));
        cr_expect_eq(certs_fuzz_run(seed, len), CERTS_FUZZ_TAKEN, "%s", certs_seeds[i].name);
        has_kind[certs_seeds[i].kind] = true;
        free(seed);
    }
    for (int kind = 0; kind < CERTS_FUZZ_KINDS; kind++) {
        cr_expect(has_kind[kind], "no seed of kind %d", kind);
    }
}

// What is signed must be refused when any bit of it is another.
Test(fuzz, no_flipped_bit_of_a_chain_a_crl_or_a_request_is_taken, .timeout = 120)
{
    for (size_t k = 0; k < certs_seeds_num; k++) {
        enum certs_fuzz_kind kind = certs_seeds[k].kind;
        if (kind != CERTS_FUZZ_CHAIN && kind != CERTS_FUZZ_CRL && kind != CERTS_FUZZ_CSR) {
            continue;
        }
        uint8_t *seed;
        size_t len;
        cr_assert(certs_seed_make(&certs_seeds[k], &seed, &len));
        bool is_large = step_of(len) > 1;
        for (size_t i = 1; i < len; i += step_of(len)) {
            for (unsigned bit = is_large ? i % 8 : 0; bit < 8; bit += is_large ? 8 : 1) {
                seed[i] ^= (uint8_t)(1u << bit);
                cr_expect_eq(certs_fuzz_run(seed, len), CERTS_FUZZ_REFUSED, "%s, byte %zu, bit %u",
                             certs_seeds[k].name, i, bit);
                seed[i] ^= (uint8_t)(1u << bit);
            }
        }
        free(seed);
    }
}

Test(fuzz, nothing_that_is_cut_or_damaged_does_harm, .timeout = 120)
{
    for (size_t k = 0; k < certs_seeds_num; k++) {
        uint8_t *seed;
        size_t len;
        cr_assert(certs_seed_make(&certs_seeds[k], &seed, &len));
        size_t step = step_of(len);
        for (size_t cut = 0; cut < len; cut += step) {
            uint8_t *exact = malloc(cut == 0 ? 1 : cut);
            memcpy(exact, seed, cut);
            certs_fuzz_run(exact, cut);
            free(exact);
        }
        static const uint8_t bytes[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '-', '\n'};
        for (size_t i = 1; i < len; i += step) {
            for (size_t b = step > 1 ? i % sizeof bytes : 0;
                 b<sizeof bytes; b += step> 1 ? sizeof bytes : 1) {
                uint8_t saved = seed[i];
                seed[i] = bytes[b];
                certs_fuzz_run(seed, len);
                seed[i] = saved;
            }
        }
        free(seed);
    }
}
