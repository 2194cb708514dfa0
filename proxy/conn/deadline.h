// SPDX-License-Identifier: Apache-2.0
//
// How long a connection may stay at each step, and RELAY has several deadlines. Pure over the facts
// in a conn, its loop's time and Limits. Only the rows of proxy/conn/steps.c name these functions;
// proxy/conn/conn.c sets the timer.
//
// Each returns the milliseconds left to the current step, 0 when its time is over, and why the
// connection then ends.
#ifndef TABARD_PROXY_CONN_DEADLINE_H
#define TABARD_PROXY_CONN_DEADLINE_H

#include "proxy/conn/conn.h"

// For a step that never waits; nobody may ask.
uint64_t deadline_never(const struct conn *conn, enum reason *out_reason);

// The reason is REASON_NONE: the step itself knows what silence means.
uint64_t deadline_detect(const struct conn *conn, enum reason *out_reason);
uint64_t deadline_connect(const struct conn *conn, enum reason *out_reason);
uint64_t deadline_handshake(const struct conn *conn, enum reason *out_reason);

// The nearest of: idle, half-closed, stalled, and the end of the peer's certificate.
uint64_t deadline_relay(const struct conn *conn, enum reason *out_reason);
uint64_t deadline_closing(const struct conn *conn, enum reason *out_reason);

#endif
