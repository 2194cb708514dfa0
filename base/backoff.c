// SPDX-License-Identifier: Apache-2.0
#include "base/backoff.h"

uint32_t backoff_ms(uint32_t num_failures, uint32_t random)
{
    uint32_t ceiling = BACKOFF_MS_MIN;
    for (uint32_t i = 1; i < num_failures && ceiling < BACKOFF_MS_MAX; i++) {
        ceiling *= 2;
    }
    if (ceiling > BACKOFF_MS_MAX) {
        ceiling = BACKOFF_MS_MAX;
    }
    return BACKOFF_MS_MIN + random % (ceiling - BACKOFF_MS_MIN + 1);
}
