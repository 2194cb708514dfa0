// SPDX-License-Identifier: Apache-2.0
//
// Tells of sockets that fail after they were read to their end. libuv watches a descriptor only
// while it reads or waits to write, so a reset of a half-closed connection would go unseen. A
// worker owns one; a socket calls hangup_watch at the end of its stream, and leaves by being
// closed. One worker's thread; one descriptor.
#ifndef TABARD_PROXY_CARRY_HANGUP_H
#define TABARD_PROXY_CARRY_HANGUP_H

#include <uv.h>

#include "proxy/carry/side.h"

struct hangup {
    uv_poll_t poll;
    int epoll_fd;
};

// hangup_init aborts where there is no descriptor left for it. It does not keep the loop running.
void hangup_init(struct hangup *hangup, uv_loop_t *loop);

// hangup_stop closes what hangup_init opened, once no socket is watched any more; the memory may go
// after the loop's next turn.
void hangup_stop(struct hangup *hangup);

// hangup_watch looks at the side whenever its descriptor reports an error, until `fd` is closed,
// and calls on_change if the look has found one.
void hangup_watch(struct hangup *hangup, int fd, struct side *side);

#endif
