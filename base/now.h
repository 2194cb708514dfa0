// SPDX-License-Identifier: Apache-2.0
//
// The two clocks. What is pure takes a struct now as an argument and never reads them.
#ifndef TABARD_BASE_NOW_H
#define TABARD_BASE_NOW_H

#include <stdint.h>

struct now {
    uint64_t ms;     // of a clock that never jumps, for waits; on a loop's thread that of uv_now
    int64_t unix_ms; // of the wall clock, for dates
};

// now_ms reads CLOCK_MONOTONIC, which uv_now counts too; now_unix_ms reads CLOCK_REALTIME.
uint64_t now_ms(void);
int64_t now_unix_ms(void);

// now_unix_s is the date in whole seconds, as certificates have it.
static inline int64_t now_unix_s(struct now now)
{
    return now.unix_ms / 1000;
}

#endif
