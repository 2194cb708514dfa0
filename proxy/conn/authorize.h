// SPDX-License-Identifier: Apache-2.0
//
// What a connection asks the snapshot in force: whether it may be, first at AUTHORIZE and again
// whenever the snapshot changes. Only proxy/conn/conn.c and proxy/conn/steps.c ask; it ends
// nothing.
#ifndef TABARD_PROXY_CONN_AUTHORIZE_H
#define TABARD_PROXY_CONN_AUTHORIZE_H

#include "proxy/conn/conn.h"

// authorize returns REASON_NONE, or why the connection may not be. It renews conn->policy and rule.
// With is_recheck the reason says that it was allowed before.
enum reason authorize(struct conn *conn, bool is_recheck);

#endif
