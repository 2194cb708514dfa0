// SPDX-License-Identifier: Apache-2.0
//
// How long a connection may stay where it is: every step has a deadline, and RELAY several.
// Pure over the facts in a conn; a worker's thread. Bounded by Limits.
// It sets no timer; see proxy/conn/conn.c.
#ifndef TABARD_PROXY_CONN_DEADLINE_H
#define TABARD_PROXY_CONN_DEADLINE_H

#include "proxy/conn/conn.h"

// deadline_left returns the milliseconds left to the current step, 0 when its time is over, and why
// the connection then ends: REASON_NONE where the step itself knows what silence means (DETECT).
uint64_t deadline_left(const struct conn *conn, enum reason *out_reason);

#endif
