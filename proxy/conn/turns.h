// SPDX-License-Identifier: Apache-2.0
//
// Who of a worker's connections goes next, where an event of its own does not say so: those that
// were interrupted because their turn was over, once each in a turn of the loop; and those that
// wait for a block of the pool, in the order of their asking. If for TURNS_LOOK_MS nobody's turn
// has come for want of blocks, the connections go whose peer has taken next to nothing for longest,
// and for TURNS_STALL_MS at least (REASON_LIMIT_BUFFERS). A worker, or a test, calls turns_init
// before the first connection, turns_run after each env->wake, and turns_close after the last
// connection; conn calls turns_add. Its thread alone.
#ifndef TABARD_PROXY_CONN_TURNS_H
#define TABARD_PROXY_CONN_TURNS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/data/list.h"

// How long somebody waits for a block before another connection has to go for it, and how long that
// one's peer must have taken next to nothing.
#define TURNS_LOOK_MS  100
#define TURNS_STALL_MS 1000

struct conn;
struct conn_env;

struct turns {
    uv_timer_t look;            // on while somebody waits for a block
    struct list ready;          // of conns
    struct list end;            // among them while they advance: behind whom the turn ends
    uint64_t num_waits_at_look; // the pool's, when it was looked at last
};

// turns_init makes the timer, the pool, which lends nothing yet, and the hangup. The env needs its
// loop.
void turns_init(struct conn_env *env);
void turns_close(struct conn_env *env);

// turns_add lets a connection advance in the loop's next turn.
void turns_add(struct conn *conn);

// turns_run lets those advance who are ready, once each, and those whom the pool has something to
// lend. Returns whether more could in the next turn of the loop.
bool turns_run(struct conn_env *env);

#endif
