// SPDX-License-Identifier: Apache-2.0
//
// A limit of so many at once and so many a second, as a value of its user. bucket_take never waits:
// a caller that gets no drop refuses what it was asked for.
#ifndef TABARD_BASE_BUCKET_H
#define TABARD_BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    double drops;
    double drops_max;
    double drops_per_ms;
    uint64_t last_ms;
};

static inline struct bucket bucket_full(double burst, double per_second)
{
    return (struct bucket){.drops = burst, .drops_max = burst, .drops_per_ms = per_second / 1000};
}

// bucket_take takes one drop. false: there is none.
static inline bool bucket_take(struct bucket *bucket, uint64_t now_ms)
{
    if (bucket->last_ms != 0 && now_ms > bucket->last_ms) {
        bucket->drops += (double)(now_ms - bucket->last_ms) * bucket->drops_per_ms;
        bucket->drops = bucket->drops < bucket->drops_max ? bucket->drops : bucket->drops_max;
    }
    bucket->last_ms = now_ms;
    if (bucket->drops < 1) {
        return false;
    }
    bucket->drops -= 1;
    return true;
}

#endif
