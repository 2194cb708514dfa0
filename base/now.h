// SPDX-License-Identifier: Apache-2.0
//
// The clocks that a program has, and the one judgement of what the date is. Pure code takes a
// struct now as an argument and reads none of them.
//
// The wall clock may be set while the program runs. What is to be believed is judged by two clocks:
// the wall clock, and CLOCK_BOOTTIME, which nobody sets and which goes on while the host sleeps.
// now_date_s is the later of the wall clock and of what it would show had it not been set back, so
// that what has ended (a certificate, a CRL, a token) does not count again. That is held for as
// long as it was set back by, when it shows the old date again; but no longer than it had shown
// later dates before, since the program started or since it was set forward from there: a clock
// that was ahead and is put right is believed after at most as long as it was ahead. Once somebody
// else who knows the date agrees with it (now_confirm), there is no such limit. A clock that
// is set forward counts at once, and is held like that once it has gone on for as long as it was
// set forward by, or for an hour.
// Whoever makes what ends must not make it live too long by either clock (policyd's ca/sign.c).
// Whoever keeps something that ends keeps a struct now_end: it ends at its date, or when as much
// time has passed by CLOCK_BOOTTIME as was left when it came.
#ifndef TABARD_BASE_NOW_H
#define TABARD_BASE_NOW_H

#include <stdbool.h>
#include <stdint.h>

#define NOW_STEP_MS        2000    // the least by which the wall clock was set, and did not drift
#define NOW_FORWARD_MS_MAX 3600000 // until a clock that was set forward is believed
#define NOW_FRESH_S_MAX    600     // what begins to live no longer ago may have been made just now

struct now {
    uint64_t ms;     // never jumps, for waits; on a loop's thread it is uv_now's
    int64_t unix_ms; // the date, as now_date_ms tells it
    int64_t boot_ms; // CLOCK_BOOTTIME
};

// now_ms reads CLOCK_MONOTONIC, which uv_now counts too; now_unix_ms reads CLOCK_REALTIME, for what
// is shown or compared with a file's times; now_boot_ms reads CLOCK_BOOTTIME.
uint64_t now_ms(void);
int64_t now_unix_ms(void);
int64_t now_boot_ms(void);

// now_date_ms and now_date_s return the date by which ends are judged; any thread may ask. The
// first call of a process believes the wall clock. now_read makes a struct now of it, with the
// caller's time for waits.
int64_t now_date_ms(void);
int64_t now_date_s(void);
struct now now_read(uint64_t ms);

// now_earlier_s returns the earlier of now_date_s and of the wall clock.
int64_t now_earlier_s(void);

// now_has_jumped says whether the wall clock or the date jumped since it was asked last, at first
// that they have. Zero state: {0}.
struct now_jumps {
    int64_t wall_offset_ms; // from CLOCK_BOOTTIME
    int64_t date_offset_ms;
};
bool now_has_jumped(struct now_jumps *jumps);

// now_confirm says that somebody else made something at the date `made_s` that has just come: whose
// clock agrees with now_date_s, if that is at most NOW_FRESH_S_MAX later.
void now_confirm(int64_t made_s);

// now_believe_wall believes the wall clock from now on, whatever it showed before: for whoever got
// something new that is over by now_date_s and not by the wall clock, as a certificate that was
// just issued. Its maker agrees with the wall clock.
void now_believe_wall(void);

// now_was_set says, once for each time that the wall clock was set, that it was, and by how many
// milliseconds (negative: back); *out_is_held: dates are judged by another time than it shows.
// now_log_set logs that; a program's main loop calls it often, since
// nobody sees two jumps between two looks.
bool now_was_set(int64_t *out_ms, bool *out_is_held);
void now_log_set(void);

// now_unix_s returns the date in whole seconds, as certificates have it.
static inline int64_t now_unix_s(struct now now)
{
    return now.unix_ms / 1000;
}

// When something ends. Zero state: it has ended.
struct now_end {
    int64_t unix_s;
    int64_t boot_ms;
};

// now_end_at makes the end of what ends at a date and came at `now`. now_end_left_ms returns how
// long that is from now on, by the clock that is ahead; 0: it is over.
struct now_end now_end_at(int64_t unix_s, struct now now);
static inline uint64_t now_end_left_ms(struct now_end end, struct now now)
{
    int64_t by_date = end.unix_s * 1000 - now.unix_ms;
    int64_t by_boot = end.boot_ms - now.boot_ms;
    int64_t left = by_date < by_boot ? by_date : by_boot;
    return left > 0 ? (uint64_t)left : 0;
}

// The state behind now_date_ms, for tests. Offsets are wall clock minus CLOCK_BOOTTIME, in ms.
struct now_clock {
    bool has_begun;
    bool is_set;      // since then the wall clock has another offset than the one that is believed
    bool is_told;     // now_was_set has said so
    int64_t believed; // the offset by which it is judged
    int64_t offset;   // is_set: the one that it has
    int64_t since_ms; // is_set: by CLOCK_BOOTTIME
    int64_t step_ms;  // by how much it was set last
    int64_t begun_ms; // when it was read first; long ago, if somebody agreed
    int64_t low;      // the offset that was believed before it was set forward, or one far below
    int64_t risen_ms; // since when it has shown later dates than by that
};

// now_clock_date_ms returns the date by both clocks' readings, and notes a clock that was set.
int64_t now_clock_date_ms(struct now_clock *clock, int64_t wall_ms, int64_t boot_ms);

// now_clock_confirm notes that what is believed was agreed with.
void now_clock_confirm(struct now_clock *clock);

#endif
