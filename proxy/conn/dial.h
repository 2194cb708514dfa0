// SPDX-License-Identifier: Apache-2.0
//
// The call to the other end of a connection. Step CONNECT begins it with conn_dial and calls that
// again whenever it is run while the call waits for a local port. An inbound connection's call to
// an application on this host comes from the address that settings.service_source names, and from
// no other: what can't have it is not called. All other calls come from the address that the kernel
// chooses. One worker's thread.
#ifndef TABARD_PROXY_CONN_DIAL_H
#define TABARD_PROXY_CONN_DIAL_H

#include "proxy/conn/conn.h"

// conn_dial makes the dialed side and calls the destination, or goes on with a call that waits for
// a free local port (conn->is_waiting_for_port) and is due. false: it has ended the connection, as
// no_source_address or as no_original_destination.
bool conn_dial(struct conn *conn);

#endif
