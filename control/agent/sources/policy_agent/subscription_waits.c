// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/subscription_waits.h"

// Doubles num times, up to a ceiling.
static uint32_t doubled(uint32_t ms, uint32_t num, uint32_t ms_max)
{
    for (uint32_t i = 0; i < num && ms < ms_max; i++) {
        ms *= 2;
    }
    return ms < ms_max ? ms : ms_max;
}

uint32_t subscription_backoff_ms(uint32_t num_failures, uint32_t random)
{
    uint32_t ceiling = num_failures < 2 ? SUBSCRIPTION_FIRST_MS_MAX
                                        : doubled(SUBSCRIPTION_BACKOFF_MS_MIN, num_failures - 2,
                                                  SUBSCRIPTION_BACKOFF_MS_MAX);
    return random % (ceiling + 1);
}

uint32_t subscription_csr_ms(uint32_t num_refused, uint32_t random)
{
    if (num_refused == 0) {
        return 0;
    }
    uint32_t wait = doubled(SUBSCRIPTION_CSR_MS_MIN, num_refused - 1, SUBSCRIPTION_CSR_MS_MAX);
    return wait / 2 + random % (wait / 2 + 1);
}

int64_t subscription_renewal_s(int64_t not_before, int64_t not_after, int64_t now, uint32_t random)
{
    int64_t start = not_before > now ? not_before : now;
    int64_t life = not_after > start ? not_after - start : 0;
    int64_t percent = 45 + (int64_t)(random % 11);
    return start + life * percent / 100;
}
