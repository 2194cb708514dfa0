// SPDX-License-Identifier: Apache-2.0
//
// The user and the capabilities of a process, which gives up those that it needs no more. Before
// any thread is made.
#ifndef TABARD_BASE_SANDBOX_PRIVILEGES_H
#define TABARD_BASE_SANDBOX_PRIVILEGES_H

#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

// A set of capabilities: PRIVILEGES_BIT(CAP_KILL) | PRIVILEGES_BIT(...).
#define PRIVILEGES_BIT(capability) (UINT64_C(1) << (capability))

// privileges_become becomes another user and group, without further groups. Of the capabilities
// only those in `keep` stay permitted. false sets err, which names the capability that is missing.
bool privileges_become(uid_t uid, uint64_t keep, struct err *err);

// privileges_keep gives up all capabilities but those of `keep` that the process has, and for all
// programs that it starts, too, as far as it may. false sets err.
bool privileges_keep(uint64_t keep, struct err *err);

// privileges_pass_on lets the programs that this one starts have those of `capabilities` that it
// has itself, whoever its user is (ambient capabilities). After privileges_keep, which ends that.
// Where the kernel refuses it, they have none.
void privileges_pass_on(uint64_t capabilities);

// privileges_has says whether a capability is effective.
bool privileges_has(unsigned capability);

// privileges_freeze sets no_new_privs: no program that this one starts gets more rights than it.
bool privileges_freeze(struct err *err);

#endif
