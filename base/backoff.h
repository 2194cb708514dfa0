// SPDX-License-Identifier: Apache-2.0
//
// How long to wait after so many failures in a row: one wait for the first, then a doubling one,
// and spread by chance, so that many programs that failed together don't come back together. A
// constant of its user, who counts the failures, starts the timer and draws the random number.
#ifndef TABARD_BASE_BACKOFF_H
#define TABARD_BASE_BACKOFF_H

#include <stdint.h>

// Which waits chance picks from; `ceiling` is the first, doubled or greatest wait.
enum backoff_jitter {
    BACKOFF_EXACT,      // the ceiling itself
    BACKOFF_FROM_ZERO,  // 0 to the ceiling
    BACKOFF_FROM_HALF,  // half of the ceiling to the ceiling
    BACKOFF_FROM_FIRST, // first_ms to the ceiling
};

struct backoff {
    uint32_t first_ms; // the ceiling after the first failure
    uint32_t min_ms;   // after the second, doubled with each one more; at least 1
    uint32_t max_ms;   // it never rises above this; at most UINT32_MAX / 2
    enum backoff_jitter jitter;
};

// backoff_ms returns the wait after num_failures in a row; none counts as one.
uint32_t backoff_ms(const struct backoff *backoff, uint32_t num_failures, uint32_t random);

#endif
