// SPDX-License-Identifier: Apache-2.0
//
// How long a connection may stay at each step; RELAY has several deadlines. The rows of
// proxy/conn/steps.c name these functions, and proxy/conn/conn.c, which sets the timer, calls them.
//
// Each function returns the milliseconds that are left to the current step, 0 when its time is
// over, and sets *out_reason to the reason with which the connection then ends.
#ifndef TABARD_PROXY_CONN_DEADLINE_H
#define TABARD_PROXY_CONN_DEADLINE_H

#include "proxy/conn/conn.h"

// For a step that never waits. To call it is a bug.
uint64_t deadline_never(const struct conn *conn, enum reason *out_reason);

// The reason is REASON_NONE: the connection goes on, and the step decides what the caller's silence
// means. While it waits for a place, that is so until queue_ms have passed.
uint64_t deadline_detect(const struct conn *conn, enum reason *out_reason);

// As long as connect_ms if no handshake with the destination ends well meanwhile, and as queue_ms
// at the most.
uint64_t deadline_queue(const struct conn *conn, enum reason *out_reason);

// While the call waits for a local port, the reason is REASON_NONE until it is to be tried again
// for the last time.
uint64_t deadline_connect(const struct conn *conn, enum reason *out_reason);

// hello_ms for the ClientHello, and no more than handshake_ms; queue_ms to wait for a turn; then
// handshake_ms.
uint64_t deadline_handshake(const struct conn *conn, enum reason *out_reason);

// deadline_look returns the milliseconds until a connection in RELAY looks at its sides again, and
// at the wall clock, which may jump. This ends nothing by itself.
uint64_t deadline_look(const struct conn *conn);

// deadline_held returns the milliseconds for which a caller's part of a ClientHello, which may be a
// sidecar's, is held back from a PLAINTEXT port's application; UINT64_MAX: nothing is.
uint64_t deadline_held(const struct conn *conn);

// The nearest of: idle, half-closed, stalled, the end of the peer's certificate, and the next look,
// which conn takes before it asks; and that of deadline_held, with REASON_NONE.
uint64_t deadline_relay(const struct conn *conn, enum reason *out_reason);

// deadline_detail says in words whose fault it is that RELAY ends with `reason`, where it may be
// either side's; else NULL.
const char *deadline_detail(const struct conn *conn, enum reason reason);

uint64_t deadline_closing(const struct conn *conn, enum reason *out_reason);

#endif
