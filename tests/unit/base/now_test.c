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
