// SPDX-License-Identifier: Apache-2.0
#include "base/backoff.h"

#include <criterion/criterion.h>

// The ceiling after so many failures in a row.
static const struct {
    uint32_t num_failures;
    uint32_t ceiling_ms;
} rows[] = {
    {0, 100},
    {1, 100},
    {2, 200},
    {3, 400},
    {4, 800},
    {5, 1600},
    {6, 3200},
    {7, 6400},
    {8, 10000},
    {20, 10000},
    {UINT32_MAX, 10000},
};

// The least and the greatest wait of each kind of jitter, for a ceiling and a first wait of 100.
static const struct {
    enum backoff_jitter jitter;
    uint32_t least_percent; // of the ceiling
    bool is_first_least;
} kinds[] = {
    {BACKOFF_EXACT, 100, false},
    {BACKOFF_FROM_ZERO, 0, false},
    {BACKOFF_FROM_HALF, 50, false},
    {BACKOFF_FROM_FIRST, 0, true},
};

Test(backoff, doubles_up_to_its_greatest_and_spreads_over_the_whole_width, .timeout = 10)
{
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct backoff waits = {
            .first_ms = 100, .min_ms = 200, .max_ms = 10000, .jitter = kinds[k].jitter};
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            uint32_t ceiling = rows[i].ceiling_ms;
            uint32_t floor = kinds[k].is_first_least ? 100 : ceiling * kinds[k].least_percent / 100;
            uint32_t width = ceiling - floor;
            cr_expect_eq(backoff_ms(&waits, rows[i].num_failures, 0), floor, "kind %zu row %zu", k,
                         i);
            cr_expect_eq(backoff_ms(&waits, rows[i].num_failures, width), ceiling,
                         "kind %zu row %zu", k, i);
            cr_expect_eq(backoff_ms(&waits, rows[i].num_failures, width + 1), floor,
                         "kind %zu row %zu: never above the ceiling", k, i);
        }
    }
}

Test(backoff, the_first_wait_may_be_short_and_none, .timeout = 10)
{
    const struct backoff waits = {
        .first_ms = 0, .min_ms = 5000, .max_ms = 60000, .jitter = BACKOFF_FROM_HALF};
    cr_expect_eq(backoff_ms(&waits, 1, 12345), 0);
    cr_expect_eq(backoff_ms(&waits, 2, 0), 2500);
    cr_expect_eq(backoff_ms(&waits, 2, 2500), 5000);
    cr_expect_eq(backoff_ms(&waits, 5, 0), 20000);
    cr_expect_eq(backoff_ms(&waits, 6, 0), 30000);
}
