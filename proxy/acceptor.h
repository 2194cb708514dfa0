// SPDX-License-Identifier: Apache-2.0
//
// A worker's listeners, and whether they accept. When conn_has_room says no they pause: each holds
// the one caller for whom it asked, the others wait in the kernel's queue, and beyond it by the
// repeats of their SYN, and are served later instead of refused. A turn of the loop accepts no
// longer than TURN_MS, so that those who are there go on, and at least one caller of each listener,
// however long it is already. The worker calls acceptor_adopt for each generation, acceptor_resume
// after each env->wake, and acceptor_close when it drains, for each direction. Its thread; one
// listener for each address of the plan.
#ifndef TABARD_PROXY_ACCEPTOR_H
#define TABARD_PROXY_ACCEPTOR_H

#include <uv.h>

#include "base/log.h"
#include "proxy/conn/env.h"
#include "proxy/listen.h"

struct listener; // of proxy/acceptor.c

struct acceptor {
    struct conn_env *env;       // borrowed from the worker
    struct listener *listeners; // owned
    uv_timer_t again;           // while one of them is paused: a stranger may have to go by now
    uint64_t short_until;       // uv_now until which nobody is accepted: descriptors are short
    struct log_limit error_log;
    struct log_limit pause_log;
};

void acceptor_init(struct acceptor *acceptor, struct conn_env *env);

// acceptor_adopt serves the sockets of a plan with the descriptors of one worker, and closes the
// listeners that it does not name.
void acceptor_adopt(struct acceptor *acceptor, struct listen_plan *plan, unsigned worker);

// acceptor_resume lets the paused listeners accept again as far as there is room, and goes on with
// those for whom the last turn was too short.
void acceptor_resume(struct acceptor *acceptor);

// acceptor_close closes all listeners of a direction, and with them who waits in their queues.
void acceptor_close(struct acceptor *acceptor, enum direction direction);

// acceptor_cleanup closes what is left.
void acceptor_cleanup(struct acceptor *acceptor);

#endif
