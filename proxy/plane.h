// SPDX-License-Identifier: Apache-2.0
//
// The main thread of the proxy: it takes snapshots from the agent, builds each once, publishes it
// to the workers, and answers what is in force. One for a process, owned by main; the main thread
// alone; bounded by the control link's frames. It relays nothing and decides about no connection.
#ifndef TABARD_PROXY_PLANE_H
#define TABARD_PROXY_PLANE_H

#include <stdbool.h>

#include "base/err.h"

// plane_run serves until the agent asks for a drain or is gone and every connection has ended.
// false: it could not begin (err).
bool plane_run(unsigned num_workers, struct err *err);

#endif
