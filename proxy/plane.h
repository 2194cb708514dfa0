// SPDX-License-Identifier: Apache-2.0
//
// The proxy's main thread, which controls the workers: it takes snapshots from the agent, builds
// each once, publishes it to every worker and tells the agent when all have it; it collects what
// the agent wants to see, and passes a drain on. main calls plane_run once. It relays nothing and
// decides about no connection.
#ifndef TABARD_PROXY_PLANE_H
#define TABARD_PROXY_PLANE_H

#include <stdbool.h>

#include "base/err.h"
#include "base/program/program.h"
#include "proxy/proxy_sandbox.h"

// plane_run serves until the agent asks for a drain or is gone and every connection has ended.
// `program` is named in the figures.
// `control_fd` is the control socket, and the descriptors that follow it are the signing sockets of
// the workers; it closes them. `sandbox` has begun, and is closed before anything is served. false:
// it could not begin (err), and the process must end.
bool plane_run(const struct program *program, int control_fd, unsigned num_workers,
               struct proxy_sandbox *sandbox, struct err *err);

#endif
