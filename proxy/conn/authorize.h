// SPDX-License-Identifier: Apache-2.0
//
// Asks the snapshot in force whether a connection is allowed, first at AUTHORIZE and again whenever
// the snapshot changes. Only proxy/conn/conn.c and proxy/conn/steps.c call it; it ends nothing.
#ifndef TABARD_PROXY_CONN_AUTHORIZE_H
#define TABARD_PROXY_CONN_AUTHORIZE_H

#include "proxy/conn/conn.h"

// authorize returns REASON_NONE, or why the connection is not allowed, and sets conn->policy and
// conn->rule to what decided. An inbound connection that is allowed counts among those of its
// peer's identity from then on, and is refused where there are too many of them. With is_recheck
// the reason says that the connection was allowed before.
enum reason authorize(struct conn *conn, bool is_recheck);

#endif
