// SPDX-License-Identifier: Apache-2.0
//
// A token bucket, which limits how many requests are taken at once and how many a second. Its user
// embeds one, made by bucket_full, and calls bucket_take for each request. bucket_take never waits:
// a request without a drop is refused.
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

// bucket_full returns a bucket of `burst` drops that refills by per_second drops a second.
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
