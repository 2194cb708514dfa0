// SPDX-License-Identifier: Apache-2.0
//
// The first process of a PID namespace (a container's) inherits the children of every process in
// there that ends before them, and must wait for them, or they stay as zombies until no process can
// be started. A reaper does so, and leaves alone the child that libuv waits for. In a process that
// is not the first one it does nothing. Embedded; its loop's thread.
#ifndef TABARD_CONTROL_HOST_REAPER_H
#define TABARD_CONTROL_HOST_REAPER_H

#include <sys/types.h>
#include <uv.h>

struct reaper {
    uv_signal_t on_child;
    uv_timer_t later; // libuv's own waiting goes first
    pid_t (*own_child)(void *ctx);
    void *ctx;
};

// reaper_start begins to wait; `own_child` returns the process id that libuv waits for, 0: none.
void reaper_start(struct reaper *reaper, uv_loop_t *loop, pid_t (*own_child)(void *ctx), void *ctx);

// reaper_stop closes its handles; the memory is reusable once the loop has run out.
void reaper_stop(struct reaper *reaper);

#endif
