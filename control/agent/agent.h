// SPDX-License-Identifier: Apache-2.0
//
// The whole agent on one loop: the feed of configuration, the rollout, the keys, the supervised
// proxy and the operator's pages. Each of them decides what is its own; this passes on what one
// tells the other. main calls agent_run once.
#ifndef TABARD_CONTROL_AGENT_AGENT_H
#define TABARD_CONTROL_AGENT_AGENT_H

#include "base/sandbox/sandbox.h"
#include "control/agent/bootstrap.h"

// agent_run runs until the drain is over; what the agent gave up before stands in `sandbox`, for
// the operator. Returns the exit status: 0 after a drain, 1 when the start failed.
int agent_run(const struct bootstrap *bootstrap, const struct sandbox_facts *sandbox);

#endif
