// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/hangup.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"

enum { EVENTS_MAX = 64 };

static void on_hangup(uv_poll_t *poll, int status, int uv_events)
{
    const struct hangup *hangup = poll->data;
    struct epoll_event events[EVENTS_MAX];
    (void)status;
    (void)uv_events;
    int num = epoll_wait(hangup->epoll_fd, events, EVENTS_MAX, 0); // the rest comes next turn
    for (int i = 0; i < num; i++) {
        struct side *side = events[i].data.ptr; // its memory stays until the loop's closing phase
        if (side->is_open && side->error == 0) {
            side->carrier->look(side);
            if (side->error != 0) {
                side->on_change(side->owner);
            }
        }
    }
}

void hangup_init(struct hangup *hangup, uv_loop_t *loop)
{
    hangup->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    invariant(hangup->epoll_fd >= 0);
    invariant(uv_poll_init(loop, &hangup->poll, hangup->epoll_fd) == 0);
    invariant(uv_poll_start(&hangup->poll, UV_READABLE, on_hangup) == 0);
    hangup->poll.data = hangup;
    uv_unref((uv_handle_t *)&hangup->poll);
}

void hangup_stop(struct hangup *hangup)
{
    uv_close((uv_handle_t *)&hangup->poll, NULL);
    close(hangup->epoll_fd);
}

void hangup_watch(struct hangup *hangup, int fd, struct side *side)
{
    // An error and a hang-up are always reported; each is reported once.
    struct epoll_event event = {.events = EPOLLET, .data.ptr = side};
    (void)epoll_ctl(hangup->epoll_fd, EPOLL_CTL_ADD, fd, &event); // again: it is watched already
}
