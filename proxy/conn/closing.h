// SPDX-License-Identifier: Apache-2.0
//
// The end of a connection: conn_end (proxy/conn/conn.h) counts it, logs its one line and gives back
// what only a living connection holds; STEP_CLOSING flushes what the peer must still hear; the last
// handle that closes frees it. Only proxy/conn/conn.c calls these functions.
#ifndef TABARD_PROXY_CONN_CLOSING_H
#define TABARD_PROXY_CONN_CLOSING_H

#include "proxy/conn/conn.h"

// closing_now closes what is still open, whatever has yet to be flushed.
void closing_now(struct conn *conn);

// closing_on_handle_closed is the on_closed of both sides: it counts, and the last one frees
// `owner`, a conn.
void closing_on_handle_closed(void *owner);

#endif
