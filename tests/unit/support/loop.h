// SPDX-License-Identifier: Apache-2.0
//
// A test's event loop: run until something is true, and no longer than it may take. The test calls
// uv_loop_init, run_until as often as it likes, and loop_end after it has closed its own handles.
#ifndef TABARD_TESTS_UNIT_SUPPORT_LOOP_H
#define TABARD_TESTS_UNIT_SUPPORT_LOOP_H

#include <stdbool.h>
#include <uv.h>

// run_until turns the loop of `stage`, a pointer to a struct with a `uv_loop_t loop`, until `cond`,
// for at most `ms`. Says whether `cond` came true.
#define run_until(stage, cond, ms)                                                                 \
    ({                                                                                             \
        struct loop_alarm *loop_alarm = loop_alarm_new(&(stage)->loop, (ms));                      \
        while (!(cond) && !loop_alarm_rang(loop_alarm)) {                                          \
            uv_run(&(stage)->loop, UV_RUN_ONCE);                                                   \
        }                                                                                          \
        loop_alarm_free(loop_alarm);                                                               \
        (cond);                                                                                    \
    })

// loop_end lets the handles that are closing close, and expects that none was left open.
void loop_end(uv_loop_t *loop);

// What run_until waits by. Its memory goes in a later turn of the loop, which loop_end makes.
struct loop_alarm;
struct loop_alarm *loop_alarm_new(uv_loop_t *loop, uint64_t ms);
bool loop_alarm_rang(const struct loop_alarm *alarm);
void loop_alarm_free(struct loop_alarm *alarm);

#endif
