// SPDX-License-Identifier: Apache-2.0
//
// The steps of a connection, one function each, and the paths that they make. Only
// proxy/conn/conn.c calls them: a step looks at the facts, does what it can, and says how to go on.
// A step starts and stops no reading and sets no timer; its row says what is read while it waits,
// and for how long.
#ifndef TABARD_PROXY_CONN_STEPS_H
#define TABARD_PROXY_CONN_STEPS_H

#include "proxy/conn/conn.h"

enum step_result {
    STEP_NEXT,  // done: the next step of the path
    STEP_FORK,  // done, and another path was taken: its first step
    STEP_WAIT,  // for a fact
    STEP_ENDED, // conn_end was called: CLOSING
};

struct step_row {
    const char *text;
    enum step_result (*run)(struct conn *conn);
    // Whether a side should be read while the step waits.
    bool (*wants_read)(const struct conn *conn, const struct side *side);
    // How many milliseconds the step may still wait; see proxy/conn/deadline.h.
    uint64_t (*left)(const struct conn *conn, enum reason *out_reason);
};
extern const struct step_row step_rows[NUM_STEPS];

// Every connection begins at the first step of this path.
extern const enum step path_start[];

// The step of a connection that has ended, in proxy/conn/closing.c.
enum step_result step_closing(struct conn *conn);

// The steps know no carrier, so proxy/conn/conn.c does these for them, and proxy/conn/dial.h dials.
// conn_origin asks where the caller was going, as origin_read does. conn_caller_error returns the
// errno value with which the caller's socket has failed unread, or 0.
bool conn_origin(struct conn *conn, struct origin *out, bool is_intercepted);
int conn_caller_error(const struct conn *conn);

#endif
