// SPDX-License-Identifier: Apache-2.0
//
// The agent's own end, in order: SIGTERM or SIGINT announces it, which is when the sidecar is not
// ready any more and yet serves everybody; after a delay the drain begins, in which no more callers
// come in. The agent calls drain_init once, drain_is_announced and drain_has_begun as it likes, and
// drain_stop when it stops. Its loop's thread; two signals and a timer.
#ifndef TABARD_CONTROL_AGENT_DRAIN_H
#define TABARD_CONTROL_AGENT_DRAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

// A signal that comes again so soon is taken for the first one: container runtimes, service
// managers and timeout(1) send two, to the process and to its group. A later one is somebody who
// doesn't want to wait.
#define DRAIN_REPEAT_MS 5000

// How long the drain of the configuration in force takes, in seconds.
struct drain_times {
    uint32_t seconds;       // all of it
    uint32_t delay_seconds; // of these, until no more callers come in
};

struct drain_hooks {
    void *ctx;
    void (*announced)(void *ctx, struct drain_times *out); // once: says how long it takes
    void (*begin)(void *ctx, uint32_t seconds);            // once: what is open has that long
    void (*cut)(void *ctx); // a later signal: the end is to come at once
};

struct drain {
    struct drain_hooks hooks;
    uv_loop_t *loop; // borrowed
    uv_signal_t signals[2];
    uv_timer_t delay;
    uint64_t announced_ms;
    uint32_t left_seconds; // after the delay
    bool is_announced;
    bool has_begun;
};

// drain_init waits for the signals.
void drain_init(struct drain *drain, uv_loop_t *loop, const struct drain_hooks *hooks);

// drain_is_announced says whether the sidecar must get no new traffic.
bool drain_is_announced(const struct drain *drain);

// drain_has_begun says whether no more callers come in, and no configuration counts any more.
bool drain_has_begun(const struct drain *drain);

// drain_stop closes the handles. No hook is called any more.
void drain_stop(struct drain *drain);

#endif
