// SPDX-License-Identifier: Apache-2.0
//
// How long to wait before the next try: doubling, capped, and spread by chance so that many agents
// that failed together don't come back together. Pure; any thread; bounded by BACKOFF_MS_MIN and
// BACKOFF_MS_MAX. It counts nothing and starts no timer.
#ifndef TABARD_BASE_BACKOFF_H
#define TABARD_BASE_BACKOFF_H

#include <stdint.h>

#define BACKOFF_MS_MIN 100
#define BACKOFF_MS_MAX 10000

// backoff_ms returns the wait in milliseconds after num_failures in a row (1 and more), evenly
// spread by `random` between BACKOFF_MS_MIN and its doubled ceiling.
uint32_t backoff_ms(uint32_t num_failures, uint32_t random);

#endif
