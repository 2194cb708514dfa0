// SPDX-License-Identifier: Apache-2.0
//
// The whole agent: source, rollout, keys, proxy and admin pages, joined on one loop.
// Owned by main; one thread; bounded by its parts.
// It decides little: each part does, and this carries words between them.
#ifndef TABARD_CONTROL_AGENT_AGENT_H
#define TABARD_CONTROL_AGENT_AGENT_H

#include "control/agent/bootstrap.h"

// agent_run runs until the drain is over. Returns the exit status: 0 after a drain, 1 when the
// start failed.
int agent_run(const struct bootstrap *bootstrap);

#endif
