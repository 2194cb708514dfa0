// SPDX-License-Identifier: Apache-2.0
#include "base/now.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/log.h"

#define READ_MS_MAX 50 // between the readings of two clocks; else they don't belong together
#define NONE_BEFORE (INT64_MIN / 4) // an offset that no clock has, and a time before all others

static struct now_clock process_clock; // under the lock
static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint64_t now_ms(void)
{
    return (uint64_t)clock_ms(CLOCK_MONOTONIC);
}

int64_t now_unix_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

int64_t now_boot_ms(void)
{
    return clock_ms(CLOCK_BOOTTIME);
}

static bool is_same(int64_t a, int64_t b)
{
    return llabs(a - b) < NOW_STEP_MS;
}

static bool is_held(const struct now_clock *clock)
{
    return clock->is_set && clock->offset < clock->believed;
}

// Believes the offset that the wall clock has.
static void believe(struct now_clock *clock, int64_t offset)
{
    int64_t before = clock->believed;
    clock->believed = is_same(offset, clock->low) ? clock->low : offset;
    clock->is_set = false;
    if (offset > before) {
        clock->low = before;
        clock->risen_ms = clock->since_ms;
    } else if (clock->believed <= clock->low) {
        clock->low = NONE_BEFORE;
        clock->risen_ms = clock->begun_ms;
    }
}

// Says how long the wall clock must show the offset that it has before it is believed. A date is
// held against one that was set back no longer than the wall clock had shown later dates than it
// shows now: there is as much to be said for the one as for the other then.
static int64_t wait_ms(const struct now_clock *clock)
{
    int64_t off = clock->offset - clock->believed;
    if (off >= 0) {
        return off < NOW_FORWARD_MS_MAX ? off : NOW_FORWARD_MS_MAX;
    }
    bool has_risen = clock->offset > clock->low - NOW_STEP_MS;
    int64_t shown = clock->since_ms - (has_risen ? clock->risen_ms : clock->begun_ms);
    return -off < shown ? -off : shown;
}

// Notes which offset the wall clock has now, and believes one that has lasted long enough.
static void note(struct now_clock *clock, int64_t offset, int64_t boot_ms)
{
    int64_t before = clock->is_set ? clock->offset : clock->believed;
    if (!is_same(offset, before)) {
        clock->step_ms = offset - before;
        clock->is_told = false;
        clock->is_set = !is_same(offset, clock->believed);
        clock->offset = offset;
        clock->since_ms = boot_ms;
    }
    if (clock->is_set && boot_ms - clock->since_ms >= wait_ms(clock)) {
        believe(clock, clock->offset);
    }
}

int64_t now_clock_date_ms(struct now_clock *clock, int64_t wall_ms, int64_t boot_ms)
{
    int64_t offset = wall_ms - boot_ms;
    if (!clock->has_begun) {
        *clock = (struct now_clock){.has_begun = true,
                                    .is_told = true,
                                    .believed = offset,
                                    .low = NONE_BEFORE,
                                    .risen_ms = boot_ms,
                                    .begun_ms = boot_ms};
    }
    note(clock, offset, boot_ms);
    return boot_ms + (offset > clock->believed ? offset : clock->believed);
}

// Reads both clocks at one moment. A process that was stopped in between tries again.
static void read_both(int64_t *out_wall_ms, int64_t *out_boot_ms)
{
    int64_t after_ms;
    do {
        *out_boot_ms = now_boot_ms();
        *out_wall_ms = now_unix_ms();
        after_ms = now_boot_ms();
    } while (after_ms - *out_boot_ms > READ_MS_MAX);
}

static int64_t read_date_ms(int64_t *out_boot_ms)
{
    int64_t wall_ms;
    pthread_mutex_lock(&process_lock);
    read_both(&wall_ms, out_boot_ms);
    int64_t date_ms = now_clock_date_ms(&process_clock, wall_ms, *out_boot_ms);
    pthread_mutex_unlock(&process_lock);
    return date_ms;
}

int64_t now_date_ms(void)
{
    int64_t boot_ms;
    return read_date_ms(&boot_ms);
}

int64_t now_date_s(void)
{
    return now_date_ms() / 1000;
}

int64_t now_earlier_s(void)
{
    int64_t date_s = now_date_s();
    int64_t wall_s = now_unix_ms() / 1000;
    return wall_s < date_s ? wall_s : date_s;
}

bool now_has_jumped(struct now_jumps *jumps)
{
    struct now now = now_read(0);
    int64_t wall = now_unix_ms() - now.boot_ms;
    int64_t date = now.unix_ms - now.boot_ms;
    if (is_same(wall, jumps->wall_offset_ms) && is_same(date, jumps->date_offset_ms)) {
        return false;
    }
    *jumps = (struct now_jumps){.wall_offset_ms = wall, .date_offset_ms = date};
    return true;
}

struct now now_read(uint64_t ms)
{
    struct now now = {.ms = ms};
    now.unix_ms = read_date_ms(&now.boot_ms);
    return now;
}

void now_clock_confirm(struct now_clock *clock)
{
    clock->begun_ms = clock->risen_ms = NONE_BEFORE;
    clock->low = NONE_BEFORE;
}

void now_confirm(int64_t made_s)
{
    int64_t boot_ms;
    int64_t old_s = read_date_ms(&boot_ms) / 1000 - made_s;
    pthread_mutex_lock(&process_lock);
    if (old_s >= 0 && old_s <= NOW_FRESH_S_MAX &&
        (!process_clock.is_set || is_held(&process_clock))) {
        now_clock_confirm(&process_clock);
    }
    pthread_mutex_unlock(&process_lock);
}

void now_believe_wall(void)
{
    int64_t wall_ms;
    int64_t boot_ms;
    pthread_mutex_lock(&process_lock);
    read_both(&wall_ms, &boot_ms);
    believe(&process_clock, wall_ms - boot_ms);
    now_clock_confirm(&process_clock);
    pthread_mutex_unlock(&process_lock);
}

bool now_was_set(int64_t *out_ms, bool *out_is_held)
{
    now_date_ms();
    pthread_mutex_lock(&process_lock);
    bool is_news = !process_clock.is_told;
    process_clock.is_told = true;
    *out_ms = process_clock.step_ms;
    *out_is_held = is_held(&process_clock);
    pthread_mutex_unlock(&process_lock);
    return is_news;
}

void now_log_set(void)
{
    int64_t ms;
    bool is_held;
    if (now_was_set(&ms, &is_held)) {
        log_warn("msg=\"the wall clock was set\" seconds=%lld dates_judged_by=%s",
                 (long long)(ms / 1000), is_held ? "\"the clock as it was\"" : "it");
    }
}

struct now_end now_end_at(int64_t unix_s, struct now now)
{
    return (struct now_end){.unix_s = unix_s,
                            .boot_ms = now.boot_ms + (unix_s * 1000 - now.unix_ms)};
}
