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

Test(backoff, stays_between_its_least_and_its_doubled_ceiling, .timeout = 10)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t least = UINT32_MAX;
        uint32_t most = 0;
        for (uint32_t random = 0; random < 20000; random++) {
            uint32_t wait = backoff_ms(rows[i].num_failures, random * 2654435761u);
            least = wait < least ? wait : least;
            most = wait > most ? wait : most;
        }
        cr_expect_geq(least, BACKOFF_MS_MIN, "%u failures", rows[i].num_failures);
        cr_expect_leq(most, rows[i].ceiling_ms, "%u failures", rows[i].num_failures);
        cr_expect_geq(most, rows[i].ceiling_ms * 9 / 10, "%u failures: the whole width is used",
                      rows[i].num_failures);
    }
}
