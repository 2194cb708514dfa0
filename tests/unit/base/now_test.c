// SPDX-License-Identifier: Apache-2.0
#include "base/now.h"

#include <criterion/criterion.h>
#include <time.h>

Test(now, both_clocks_count_milliseconds, .timeout = 10)
{
    uint64_t before_ms = now_ms();
    int64_t before_unix_ms = now_unix_ms();
    nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    cr_expect_geq(now_ms() - before_ms, 19);
    cr_expect_lt(now_ms() - before_ms, 5000);
    cr_expect_geq(now_unix_ms() - before_unix_ms, 19);
    int64_t seconds = (int64_t)time(NULL);
    cr_expect(seconds - before_unix_ms / 1000 <= 5 && seconds - before_unix_ms / 1000 >= 0);
}

Test(now, a_date_is_in_whole_seconds, .timeout = 10)
{
    cr_expect_eq(now_unix_s((struct now){.ms = 5, .unix_ms = 1700000000999}), 1700000000);
}

enum { START = 1700000000, BOOT = 5000, HOUR = 3600, MINUTE = 60 };

// The date that the clock tells `boot_s` seconds after its first reading, in seconds since then,
// while the wall clock is off by `off_s`.
static int64_t told(struct now_clock *clock, int64_t boot_s, int64_t off_s)
{
    return now_clock_date_ms(clock, (START + boot_s + off_s) * 1000, (BOOT + boot_s) * 1000) /
               1000 -
           START;
}

enum { DAY = 24 * HOUR };

Test(now, a_wall_clock_that_is_set_back_brings_no_date_back, .timeout = 10)
{
    struct now_clock clock = {0};
    cr_expect_eq(told(&clock, 0, 0), 0);
    cr_expect_eq(told(&clock, 2 * HOUR, 0), 2 * HOUR);
    cr_expect_eq(told(&clock, 2 * HOUR + MINUTE, -HOUR), 2 * HOUR + MINUTE);
    cr_expect_eq(told(&clock, 3 * HOUR, -HOUR), 3 * HOUR);
    // It shows the old date again: nobody is left who could say which of the two clocks was wrong.
    cr_expect_eq(told(&clock, 3 * HOUR + MINUTE, -HOUR), 2 * HOUR + MINUTE);
    cr_expect_eq(told(&clock, 4 * HOUR, 0), 4 * HOUR);
}

Test(now, a_wall_clock_that_is_set_back_again_is_believed_the_later, .timeout = 10)
{
    struct now_clock clock = {0};
    told(&clock, 0, 0);
    cr_expect_eq(told(&clock, DAY, -HOUR), DAY);
    cr_expect_eq(told(&clock, DAY + HOUR, -HOUR - MINUTE), DAY + HOUR);
    cr_expect_eq(told(&clock, DAY + HOUR + 2 * MINUTE, -HOUR - MINUTE), DAY + HOUR + 2 * MINUTE);
}

Test(now, a_wall_clock_that_was_ahead_is_believed_after_as_long_as_it_was, .timeout = 10)
{
    struct now_clock clock = {0};
    const int64_t year = 365 * DAY;
    told(&clock, 0, year);
    cr_expect_eq(told(&clock, MINUTE, year), year + MINUTE);
    cr_expect_eq(told(&clock, MINUTE, 0), year + MINUTE);
    cr_expect_eq(told(&clock, 2 * MINUTE - 1, 0), year + 2 * MINUTE - 1);
    cr_expect_eq(told(&clock, 2 * MINUTE, 0), 2 * MINUTE);
}

Test(now, a_date_that_somebody_agreed_with_is_held_to_its_end, .timeout = 10)
{
    struct now_clock clock = {0};
    told(&clock, 0, 0);
    now_clock_confirm(&clock);
    cr_expect_eq(told(&clock, MINUTE, -HOUR), MINUTE);
    cr_expect_eq(told(&clock, HOUR + MINUTE - 1, -HOUR), HOUR + MINUTE - 1);
    cr_expect_eq(told(&clock, HOUR + MINUTE, -HOUR), MINUTE);
    // Nobody agreed with what it is set forward to.
    told(&clock, 10 * DAY, DAY);
    told(&clock, 10 * DAY + HOUR, DAY);
    cr_expect_eq(told(&clock, 10 * DAY + 2 * HOUR, -HOUR), 11 * DAY + 2 * HOUR);
    cr_expect_eq(told(&clock, 10 * DAY + 4 * HOUR, -HOUR), 10 * DAY + 3 * HOUR);
}

Test(now, a_wall_clock_that_was_ahead_for_a_while_is_believed_after_as_long, .timeout = 10)
{
    struct now_clock clock = {0};
    const int64_t year = 365 * DAY;
    told(&clock, 0, 0);
    told(&clock, 10 * DAY, year);
    told(&clock, 10 * DAY + 2 * HOUR, year);
    cr_expect_eq(told(&clock, 10 * DAY + 2 * HOUR, 0), year + 10 * DAY + 2 * HOUR);
    cr_expect_eq(told(&clock, 10 * DAY + 4 * HOUR - 1, 0), year + 10 * DAY + 4 * HOUR - 1);
    cr_expect_eq(told(&clock, 10 * DAY + 4 * HOUR, 0), 10 * DAY + 4 * HOUR);
    // Nobody may set it back further for that.
    cr_expect_eq(told(&clock, 20 * DAY, -5 * DAY), 20 * DAY);
    cr_expect_eq(told(&clock, 25 * DAY - 1, -5 * DAY), 25 * DAY - 1);
}

Test(now, a_wall_clock_that_was_put_right_is_set_back_no_faster_than_any_other, .timeout = 10)
{
    struct now_clock clock = {0};
    told(&clock, 0, -365 * DAY); // a host without a battery
    told(&clock, MINUTE, 0);
    told(&clock, 2 * HOUR, 0);
    cr_expect_eq(told(&clock, 10 * DAY, -365 * DAY), 10 * DAY, "held for as long as it was right");
    cr_expect_eq(told(&clock, 20 * DAY - 2 * MINUTE, -365 * DAY), 20 * DAY - 2 * MINUTE);
}

Test(now, a_wall_clock_that_is_set_forward_and_back_in_small_steps_gains_nothing, .timeout = 10)
{
    struct now_clock clock = {0};
    told(&clock, 0, 0);
    told(&clock, 10 * DAY, 3);
    cr_expect_eq(told(&clock, 10 * DAY + 3, 3), 10 * DAY + 6);
    cr_expect_eq(told(&clock, 10 * DAY + 4, -DAY), 10 * DAY + 7);
    cr_expect_eq(told(&clock, 11 * DAY, -DAY), 11 * DAY + 3);
    for (int64_t i = 0; i < 10; i++) {
        told(&clock, 20 * DAY + i * 100, -DAY + 5);
        told(&clock, 20 * DAY + i * 100 + 10, -DAY + 5);
        told(&clock, 20 * DAY + i * 100 + 20, -DAY - 1 - i);
        told(&clock, 20 * DAY + i * 100 + 40, -DAY - 1 - i);
    }
    cr_expect_geq(told(&clock, 20 * DAY + 1000, -DAY - 10), 19 * DAY + 1000 - 10);
}

Test(now, a_wall_clock_that_is_set_forward_counts_at_once_and_only_while_it_is, .timeout = 10)
{
    struct now_clock clock = {0};
    told(&clock, 0, 0);
    cr_expect_eq(told(&clock, MINUTE, 24 * HOUR), MINUTE + 24 * HOUR);
    cr_expect_eq(told(&clock, 2 * MINUTE, 0), 2 * MINUTE);
    cr_expect_eq(told(&clock, 3 * MINUTE, 24 * HOUR), 3 * MINUTE + 24 * HOUR);
    told(&clock, 3 * MINUTE + HOUR, 24 * HOUR);
    cr_expect_eq(told(&clock, 4 * MINUTE + HOUR, 0), 4 * MINUTE + 25 * HOUR);
}

Test(now, a_wall_clock_that_drifts_was_not_set, .timeout = 10)
{
    struct now_clock clock = {0};
    told(&clock, 0, 0);
    told(&clock, MINUTE, -1);
    told(&clock, 2 * MINUTE, 1);
    cr_expect(clock.is_told);
    told(&clock, 3 * MINUTE, HOUR);
    cr_expect_not(clock.is_told);
    cr_expect_eq(clock.step_ms, HOUR * 1000);
    clock.is_told = true;
    told(&clock, 4 * MINUTE, HOUR);
    cr_expect(clock.is_told);
}

Test(now, what_ends_does_so_by_the_clock_that_is_ahead, .timeout = 10)
{
    const struct now came = {.unix_ms = START * 1000LL, .boot_ms = BOOT * 1000};
    const struct now_end end = now_end_at(START + HOUR, came);
    static const struct {
        int64_t wall_s;
        int64_t boot_s;
        uint64_t left_s;
    } rows[] = {{0, 0, HOUR},          {MINUTE, MINUTE, HOUR - MINUTE},
                {-HOUR, HOUR - 1, 1},  {-HOUR, HOUR, 0},
                {HOUR, MINUTE, 0},     {HOUR - 5, 0, 5},
                {24 * HOUR, MINUTE, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct now now = {.unix_ms = came.unix_ms + rows[i].wall_s * 1000,
                                .boot_ms = came.boot_ms + rows[i].boot_s * 1000};
        cr_expect_eq(now_end_left_ms(end, now), rows[i].left_s * 1000, "row %zu", i);
    }
    cr_expect_eq(now_end_left_ms((struct now_end){0}, came), 0);
}
