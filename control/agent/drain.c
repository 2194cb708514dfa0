// SPDX-License-Identifier: Apache-2.0
#include "control/agent/drain.h"

#include <signal.h>

#include "base/log.h"

static void begin(struct drain *drain)
{
    drain->has_begun = true;
    drain->hooks.begin(drain->hooks.ctx, drain->left_seconds);
}

static void on_delay_over(uv_timer_t *timer)
{
    begin(timer->data);
}

static void announce(struct drain *drain, int number)
{
    struct drain_times times = {0};
    drain->is_announced = true;
    drain->hooks.announced(drain->hooks.ctx, &times);
    drain->announced_ms = uv_now(drain->loop);
    drain->left_seconds = times.seconds - times.delay_seconds;
    log_info("msg=draining signal=%d seconds=%u delay_seconds=%u", number, times.seconds,
             times.delay_seconds);
    if (times.delay_seconds == 0) {
        begin(drain);
    } else {
        uv_timer_start(&drain->delay, on_delay_over, (uint64_t)times.delay_seconds * 1000, 0);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct drain *drain = handle->data;
    if (!drain->is_announced) {
        announce(drain, number);
    } else if (uv_now(drain->loop) - drain->announced_ms < DRAIN_REPEAT_MS) {
        log_info("msg=\"draining already; a signal later than %d s after the first stops at once\" "
                 "signal=%d",
                 DRAIN_REPEAT_MS / 1000, number);
    } else {
        log_warn("msg=\"second signal: stopping at once\" signal=%d", number);
        drain->hooks.cut(drain->hooks.ctx);
    }
}

void drain_init(struct drain *drain, uv_loop_t *loop, const struct drain_hooks *hooks)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    *drain = (struct drain){.hooks = *hooks, .loop = loop};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        uv_signal_init(loop, &drain->signals[i]);
        drain->signals[i].data = drain;
        uv_signal_start(&drain->signals[i], on_signal, numbers[i]);
    }
    uv_timer_init(loop, &drain->delay);
    drain->delay.data = drain;
}

bool drain_is_announced(const struct drain *drain)
{
    return drain->is_announced;
}

bool drain_has_begun(const struct drain *drain)
{
    return drain->has_begun;
}

void drain_stop(struct drain *drain)
{
    for (size_t i = 0; i < sizeof drain->signals / sizeof drain->signals[0]; i++) {
        uv_close((uv_handle_t *)&drain->signals[i], NULL);
    }
    uv_close((uv_handle_t *)&drain->delay, NULL);
}
