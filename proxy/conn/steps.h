// SPDX-License-Identifier: Apache-2.0
//
// The steps of a connection, one function each, and the paths that they make. For proxy/conn/conn.c
// only. A step looks at the facts, does what it can, and says whether to go on; a worker's thread.
// Each waits at most as long as its deadline in conn.c. It starts and stops no reading.
#ifndef TABARD_PROXY_CONN_STEPS_H
#define TABARD_PROXY_CONN_STEPS_H

#include "proxy/conn/conn.h"

enum step_result {
    STEP_NEXT,  // done: the path's next step
    STEP_AGAIN, // the path has changed: run its current step
    STEP_WAIT,  // for a fact
    STEP_ENDED, // conn_end was called
};

// Every connection begins here.
extern const enum step path_start[];

enum step_result step_run(struct conn *conn, enum step step);

// steps_want_read says whether a side should be read at this step.
bool steps_want_read(const struct conn *conn, const struct side *side);

#endif
