// SPDX-License-Identifier: Apache-2.0
#include "control/agent/drain.h"

#include <criterion/criterion.h>
#include <signal.h>

#include "base/log.h"
#include "tests/unit/support/loop.h"

enum { WAIT_MS = 10000 };

struct stage {
    uv_loop_t loop;
    struct drain drain;
    struct drain_times times;
    unsigned num_begun;
    uint32_t seconds;
    uint64_t begun_ms;
    unsigned num_cut;
};

static void on_announced(void *ctx, struct drain_times *out)
{
    const struct stage *stage = ctx;
    *out = stage->times;
}

static void on_begin(void *ctx, uint32_t seconds)
{
    struct stage *stage = ctx;
    stage->num_begun++;
    stage->seconds = seconds;
    stage->begun_ms = uv_now(&stage->loop);
    cr_expect(drain_has_begun(&stage->drain));
}

static void on_cut(void *ctx)
{
    struct stage *stage = ctx;
    stage->num_cut++;
}

static void stage_init(struct stage *stage, uint32_t seconds, uint32_t delay_seconds)
{
    *stage = (struct stage){.times = {seconds, delay_seconds}};
    log_init("test", LOG_LEVEL_ERROR + 1);
    cr_assert(uv_loop_init(&stage->loop) == 0);
    drain_init(&stage->drain, &stage->loop,
               &(struct drain_hooks){
                   .ctx = stage, .announced = on_announced, .begin = on_begin, .cut = on_cut});
    cr_expect(!drain_is_announced(&stage->drain));
}

static void stage_cleanup(struct stage *stage)
{
    drain_stop(&stage->drain);
    loop_end(&stage->loop);
}

// Raises a signal and lets the loop see it.
static void signal_now(struct stage *stage, int number)
{
    raise(number);
    uv_run(&stage->loop, UV_RUN_ONCE);
}

Test(drain, without_a_delay_it_begins_with_the_signal, .timeout = 20)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        struct stage stage;
        stage_init(&stage, 7, 0);
        signal_now(&stage, numbers[i]);
        cr_expect(drain_is_announced(&stage.drain) && drain_has_begun(&stage.drain));
        cr_expect_eq(stage.num_begun, 1);
        cr_expect_eq(stage.seconds, 7);
        stage_cleanup(&stage);
    }
}

Test(drain, a_delay_comes_first_and_is_part_of_the_whole, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage, 7, 1);
    signal_now(&stage, SIGTERM);
    uint64_t announced_ms = uv_now(&stage.loop);
    cr_expect(drain_is_announced(&stage.drain) && !drain_has_begun(&stage.drain));
    cr_expect_eq(stage.num_begun, 0);
    cr_assert(run_until(&stage, stage.num_begun > 0, WAIT_MS));
    cr_expect_geq(stage.begun_ms - announced_ms, 1000);
    cr_expect_eq(stage.seconds, 6);
    stage_cleanup(&stage);
}

Test(drain, signals_that_come_again_soon_are_the_first_one, .timeout = 20)
{
    for (uint32_t delay_seconds = 0; delay_seconds < 20; delay_seconds += 10) {
        struct stage stage;
        stage_init(&stage, 25, delay_seconds);
        signal_now(&stage, SIGTERM);
        signal_now(&stage, SIGTERM);
        signal_now(&stage, SIGINT);
        cr_expect_eq(stage.num_cut, 0);
        cr_expect_eq(stage.num_begun, delay_seconds == 0 ? 1 : 0);
        stage_cleanup(&stage);
    }
}

Test(drain, a_later_signal_cuts_it, .timeout = 20)
{
    for (uint32_t delay_seconds = 0; delay_seconds < 20; delay_seconds += 10) {
        struct stage stage;
        stage_init(&stage, 25, delay_seconds);
        signal_now(&stage, SIGTERM);
        stage.drain.announced_ms -= DRAIN_REPEAT_MS; // as if that had been a while ago
        signal_now(&stage, SIGTERM);
        cr_expect_eq(stage.num_cut, 1);
        stage_cleanup(&stage);
    }
}
