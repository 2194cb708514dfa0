// SPDX-License-Identifier: Apache-2.0
//
// The proxy's process: supervise_start starts it with its sockets, and it is started again, with
// growing waits, whenever it ends, until supervise_drain or supervise_stop. Embedded in the agent;
// its loop's thread. There is one process at a time. What is said over its sockets is proxy_link's.
//
// A process is up from its Hello on until a socket of its ends, which says that it is gone before
// its exit status does. While it is up it is asked for a sign of life. Its silence is counted in
// ticks that the agent itself lived through, so that nobody is judged for a time in which both
// stood still (SIGSTOP, a freezer, a suspended host), before what came meanwhile has been read.
#ifndef TABARD_CONTROL_AGENT_PROXY_SUPERVISE_H
#define TABARD_CONTROL_AGENT_PROXY_SUPERVISE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/err.h"
#include "base/sandbox/sandbox.h"
#include "control/agent/proxy/proxy_link.h"

#define SUPERVISE_HEALTHY_MS     10000 // a proxy that ran this long starts the waits anew
#define SUPERVISE_EARLY_ENDS_MAX 5     // ends in a row at which the start itself is taken as broken
#define SUPERVISE_EOF_MS_MAX     1000  // from its sockets' end to its own
#define SUPERVISE_DRAIN_MS_EXTRA 3000  // beyond the drain's own time

#define SUPERVISE_PING_TICKS       3  // from an answer to the next Ping
#define SUPERVISE_SILENT_TICKS     10 // without an answer at which the proxy counts as hung
#define SUPERVISE_SILENT_TICKS_MAX 30 // at which it is killed; and for a start without a Hello

struct supervise_hooks {
    void *ctx;
    void (*on_up)(void *ctx);                  // `link` is set, and the proxy said hello
    void (*on_down)(void *ctx);                // `link` is NULL again; the process may still run
    void (*on_drained)(void *ctx, bool clean); // after supervise_drain, once; clean: exit status 0
    bool (*on_snapshot_result)(void *ctx, uint64_t generation, const char *error);
};

struct supervise_spec {
    const char *proxy_path; // borrowed
    const char *log_level;  // borrowed; NULL: not passed on
    uint32_t num_workers;
    int64_t uid; // -1: not switched
    bool has_caller_addresses;
    enum sandbox_mode sandbox; // passed on
};

struct supervise {
    struct supervise_hooks hooks;
    struct supervise_spec spec;
    struct keyring *keyring; // borrowed
    uv_loop_t *loop;         // borrowed
    uv_process_t *process;   // owned; NULL: not running
    struct proxy_link *link; // owned; NULL: not running, or no longer to be spoken to
    int tell_fd;             // our end of the socket for its last words; -1: not running
    uv_timer_t timer;        // the next start; or the moment to kill
    uint64_t started_ms;
    uint64_t num_oom_kills;  // of this control group when the process was started
    uint32_t num_silent;     // ticks since it was asked something that it has not answered
    uint32_t num_quiet;      // ticks since its last answer
    uint32_t num_early_ends; // in a row
    uint64_t num_restarts;
    uint64_t num_violations;      // proxies that ended for a system call that the sandbox forbids
    struct sandbox_facts sandbox; // of the proxy that is up
    bool is_up;
    bool is_draining;
    bool is_drained;
    char killed_because[400]; // empty: we did not kill it
    char last_end[512];       // how the last process ended, in words; empty: none did
};

// supervise_start starts the first proxy. false sets err: it can't be started at all (no such
// program).
bool supervise_start(struct supervise *supervise, uv_loop_t *loop,
                     const struct supervise_spec *spec, struct keyring *keyring,
                     const struct supervise_hooks *hooks, struct err *err);

// supervise_tick is called each second. It asks the proxy for signs of life, and kills one that has
// given none for SUPERVISE_SILENT_TICKS_MAX calls.
void supervise_tick(struct supervise *supervise);

// supervise_silent returns for how many ticks a proxy that counts as hung has been silent, or 0.
uint32_t supervise_silent(const struct supervise *supervise);

// supervise_kill ends a proxy that has hung or speaks nonsense; it is started again.
void supervise_kill(struct supervise *supervise, const char *why);

// supervise_drain tells the proxy to finish its connections within `seconds` and waits for its end,
// not much longer than that. on_drained is called at once where no proxy runs.
void supervise_drain(struct supervise *supervise, uint32_t seconds);

// supervise_stop kills what runs, at once, without a hook, and closes the timer. The memory is
// reusable once the loop has run out.
void supervise_stop(struct supervise *supervise);

// supervise_pid returns the proxy's process id, or 0.
pid_t supervise_pid(const struct supervise *supervise);

#endif
