// SPDX-License-Identifier: Apache-2.0
#include "base/backoff.h"

static uint32_t ceiling_of(const struct backoff *backoff, uint32_t num_failures)
{
    if (num_failures <= 1) {
        return backoff->first_ms;
    }
    uint32_t ceiling = backoff->min_ms;
    for (uint32_t i = 2; i < num_failures && ceiling < backoff->max_ms; i++) {
        ceiling *= 2;
    }
    return ceiling < backoff->max_ms ? ceiling : backoff->max_ms;
}

uint32_t backoff_ms(const struct backoff *backoff, uint32_t num_failures, uint32_t random)
{
    uint32_t ceiling = ceiling_of(backoff, num_failures);
    uint32_t least = 0;
    switch (backoff->jitter) {
    case BACKOFF_EXACT:
        least = ceiling;
        break;
    case BACKOFF_FROM_ZERO:
        break;
    case BACKOFF_FROM_HALF:
        least = ceiling / 2;
        break;
    case BACKOFF_FROM_FIRST:
        least = backoff->first_ms;
        break;
    }
    return least + random % (ceiling - least + 1);
}
