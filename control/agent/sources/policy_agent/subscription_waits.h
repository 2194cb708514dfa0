// SPDX-License-Identifier: Apache-2.0
//
// How long a subscription waits after a lost stream, after a certificate that was refused and
// before a renewal, and how chance spreads these waits. Pure.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_SUBSCRIPTION_WAITS_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_SUBSCRIPTION_WAITS_H

#include <stdint.h>

#define SUBSCRIPTION_BACKOFF_MS_MIN                                                                \
    1000 // doubled with each failure; waits are 0 to that, by chance
#define SUBSCRIPTION_BACKOFF_MS_MAX 30000
#define SUBSCRIPTION_FIRST_MS_MAX   250 // of the first wait
#define SUBSCRIPTION_CSR_MS_MIN                                                                    \
    5000 // between requests for a certificate, from the second refusal on
#define SUBSCRIPTION_CSR_MS_MAX 60000

// subscription_backoff_ms returns the wait after num_failures in a row (1 and more), with full
// jitter: many sidecars that lost their policy agent together must not come back together.
uint32_t subscription_backoff_ms(uint32_t num_failures, uint32_t random);

// subscription_csr_ms returns the wait after a refusal that num_refused came before.
uint32_t subscription_csr_ms(uint32_t num_refused, uint32_t random);

// subscription_renewal_s returns when half of a certificate's life is over, in Unix seconds, and up
// to a tenth of that sooner or later, so that a fleet's renewals spread. The life begins when the
// certificate came, and not with a notBefore that was dated back.
int64_t subscription_renewal_s(int64_t not_before, int64_t not_after, int64_t now, uint32_t random);

#endif
