// SPDX-License-Identifier: Apache-2.0
//
// The two clocks that a program has. Pure code takes a struct now as an argument and reads neither.
#ifndef TABARD_BASE_NOW_H
#define TABARD_BASE_NOW_H

#include <stdint.h>

struct now {
    uint64_t ms;     // never jumps, for waits; on a loop's thread it is uv_now's
    int64_t unix_ms; // the wall clock, for dates
};

// now_ms reads CLOCK_MONOTONIC, which uv_now counts too; now_unix_ms reads CLOCK_REALTIME.
uint64_t now_ms(void);
int64_t now_unix_ms(void);

// now_unix_s returns the date in whole seconds, as certificates have it.
static inline int64_t now_unix_s(struct now now)
{
    return now.unix_ms / 1000;
}

#endif
