// SPDX-License-Identifier: Apache-2.0
//
// Computes the wait after a number of failures in a row: first_ms after the first one, then a wait
// that doubles from min_ms up to max_ms, spread at random so that many programs that failed
// together don't come back together. A struct backoff is a constant of its user, who counts the
// failures, draws the random number and starts the timer.
#ifndef TABARD_BASE_BACKOFF_H
#define TABARD_BASE_BACKOFF_H

#include <stdint.h>

// The range that the wait is drawn from. Its ceiling is first_ms, then the doubling wait, at most
// max_ms.
enum backoff_jitter {
    BACKOFF_EXACT,      // the ceiling itself
    BACKOFF_FROM_ZERO,  // 0 to the ceiling
    BACKOFF_FROM_HALF,  // half of the ceiling to the ceiling
    BACKOFF_FROM_FIRST, // first_ms to the ceiling
};

struct backoff {
    uint32_t first_ms; // the ceiling after the first failure
    uint32_t min_ms;   // the ceiling after the second, doubled after each one more; at least 1
    uint32_t max_ms;   // the greatest ceiling; at most UINT32_MAX / 2
    enum backoff_jitter jitter;
};

// backoff_ms returns the wait after num_failures in a row; none counts as one.
uint32_t backoff_ms(const struct backoff *backoff, uint32_t num_failures, uint32_t random);

#endif
