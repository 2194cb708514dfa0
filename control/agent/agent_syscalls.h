// SPDX-License-Identifier: Apache-2.0
//
// The system calls that the agent needs, and the libraries that it is made of, as a seccomp filter.
// Every other one is answered as by a kernel that does not have it, which libraries expect of new
// ones: a name service of the host must not end the sidecar. Pure.
#ifndef TABARD_CONTROL_AGENT_AGENT_SYSCALLS_H
#define TABARD_CONTROL_AGENT_AGENT_SYSCALLS_H

#include "base/sandbox/syscalls.h"

// agent_syscalls_load puts the filter in force for the agent and the proxy, which has one more of
// its own. false sets err.
bool agent_syscalls_load(struct err *err);

#endif
