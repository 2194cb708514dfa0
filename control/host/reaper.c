// SPDX-License-Identifier: Apache-2.0
#include "control/host/reaper.h"

#include <signal.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_later(uv_timer_t *timer)
{
    const struct reaper *reaper = timer->data;
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0 ||
            info.si_pid == reaper->own_child(reaper->ctx)) {
            return; // libuv's child has ended just now, which comes as a signal of its own
        }
        waitpid(info.si_pid, NULL, WNOHANG);
    }
}

static void on_child(uv_signal_t *handle, int number)
{
    struct reaper *reaper = handle->data;
    (void)number;
    uv_timer_start(&reaper->later, on_later, 0, 0);
}

void reaper_start(struct reaper *reaper, uv_loop_t *loop, pid_t (*own_child)(void *ctx), void *ctx)
{
    *reaper = (struct reaper){.own_child = own_child, .ctx = ctx};
    uv_signal_init(loop, &reaper->on_child);
    uv_timer_init(loop, &reaper->later);
    reaper->on_child.data = reaper->later.data = reaper;
    if (getpid() == 1) {
        uv_signal_start(&reaper->on_child, on_child, SIGCHLD);
    }
}

void reaper_stop(struct reaper *reaper)
{
    uv_close((uv_handle_t *)&reaper->on_child, NULL);
    uv_close((uv_handle_t *)&reaper->later, NULL);
}
