// SPDX-License-Identifier: Apache-2.0
//
// What a policy agent says and what mesh.yaml says beside it, checked as a whole, made into one
// Snapshot. Pure; `now` is an argument. Owned by the caller; any thread; bounded as assemble.h. It
// knows no versions and no stream; see subscription.
#ifndef TABARD_CONTROL_AGENT_SNAPSHOT_ASSEMBLE_POLICY_H
#define TABARD_CONTROL_AGENT_SNAPSHOT_ASSEMBLE_POLICY_H

#include "control/agent/snapshot/assemble.h"
#include "tabard/v1/policy_agent.pb-c.h"

// Everything in it is borrowed for the call.
struct assemble_policy {
    const struct assembled *local; // of a mesh.yaml with policy_agent
    const Tabard__V1__State *state;
    const Tabard__V1__Identity *issued; // its key_id is not looked at; NULL: local's identity
    EVP_PKEY *issued_key;
};

// assemble_policy checks what assemble checks, all or nothing. false sets err, at the field where
// one is to blame; *out is then the zero state.
bool assemble_policy(struct assembled *out, const struct assemble_policy *from, time_t now,
                     struct err *err);

#endif
