// SPDX-License-Identifier: Apache-2.0
//
// The agent's own sandbox (docs/sandbox.md): wider than the proxy's, for it starts the proxy, reads
// whatever files the configuration names, and may put rules back. main calls agent_sandbox_enter
// once, before any thread; the proxy inherits it.
#ifndef TABARD_CONTROL_AGENT_AGENT_SANDBOX_H
#define TABARD_CONTROL_AGENT_AGENT_SANDBOX_H

#include "base/err.h"
#include "control/agent/bootstrap.h"

// agent_sandbox_enter gives up what no agent needs, and notes it in out_facts, and in the log.
// false sets err: the kernel has a layer and does not give it, or lacks one that is required. The
// program must end.
bool agent_sandbox_enter(struct sandbox_facts *out_facts, const struct bootstrap *bootstrap,
                         struct err *err);

#endif
