// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/subscription_waits.h"

#include "base/backoff.h"

uint32_t subscription_backoff_ms(uint32_t num_failures, uint32_t random)
{
    static const struct backoff waits = {.first_ms = SUBSCRIPTION_FIRST_MS_MAX,
                                         .min_ms = SUBSCRIPTION_BACKOFF_MS_MIN,
                                         .max_ms = SUBSCRIPTION_BACKOFF_MS_MAX,
                                         .jitter = BACKOFF_FROM_ZERO};
    return backoff_ms(&waits, num_failures, random);
}

uint32_t subscription_csr_ms(uint32_t num_refused, uint32_t random)
{
    static const struct backoff waits = {.first_ms = 0,
                                         .min_ms = SUBSCRIPTION_CSR_MS_MIN,
                                         .max_ms = SUBSCRIPTION_CSR_MS_MAX,
                                         .jitter = BACKOFF_FROM_HALF};
    return backoff_ms(&waits, num_refused + 1, random);
}

int64_t subscription_renewal_s(int64_t not_before, int64_t not_after, int64_t now, uint32_t random)
{
    int64_t start = not_before > now ? not_before : now;
    int64_t life = not_after > start ? not_after - start : 0;
    int64_t percent = 45 + (int64_t)(random % 11);
    return start + life * percent / 100;
}
