// SPDX-License-Identifier: Apache-2.0
//
// The system calls that relaying needs, as a seccomp filter for the proxy. Every other one is
// trapped, which ends the process. Pure.
#ifndef TABARD_PROXY_PROXY_SYSCALLS_H
#define TABARD_PROXY_PROXY_SYSCALLS_H

#include "base/sandbox/syscalls.h"

// proxy_syscalls_load puts the filter in force for all threads. No thread, process or file can be
// made from then on. false sets err.
bool proxy_syscalls_load(struct err *err);

#endif
