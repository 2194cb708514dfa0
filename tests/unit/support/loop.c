// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/support/loop.h"

#include <criterion/criterion.h>
#include <stdlib.h>

struct loop_alarm {
    uv_timer_t timer;
    bool rang;
};

static void on_ring(uv_timer_t *timer)
{
    struct loop_alarm *alarm = timer->data;
    alarm->rang = true;
    uv_stop(timer->loop); // else the turn in which it rings goes on to wait for the next event
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

struct loop_alarm *loop_alarm_new(uv_loop_t *loop, uint64_t ms)
{
    struct loop_alarm *alarm = calloc(1, sizeof *alarm);
    cr_assert_not_null(alarm);
    alarm->timer.data = alarm;
    uv_timer_init(loop, &alarm->timer);
    uv_update_time(loop);
    uv_timer_start(&alarm->timer, on_ring, ms, 0);
    return alarm;
}

bool loop_alarm_rang(const struct loop_alarm *alarm)
{
    return alarm->rang;
}

void loop_alarm_free(struct loop_alarm *alarm)
{
    uv_close((uv_handle_t *)&alarm->timer, on_closed);
}

void loop_end(uv_loop_t *loop)
{
    uv_run(loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(loop), 0, "a handle was left open");
}
