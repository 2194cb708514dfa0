// SPDX-License-Identifier: Apache-2.0
//
// What decides about connections, for `tabardctl explain`: the policies and routes of a mesh.yaml,
// or those that are in force in a sidecar that runs, whoever they came from. Owned by the command.
#ifndef TABARD_CONTROL_CTL_RULES_H
#define TABARD_CONTROL_CTL_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "proxy/rules/policy.h"
#include "proxy/rules/route.h"

// Zero state: {0}, which rules_cleanup takes, too.
struct rules {
    ProtobufCMessage *message;     // owned: a MeshConfig, or a Snapshot
    struct policy_index *policies; // owned
    struct route_index *routes;    // owned: as they are where enforcement is ENFORCE
    struct route_index *observed;  // owned: and where it is OBSERVE
    bool is_observing;             // so it is
    const char **trust_domains;    // owned; the texts are the message's
    size_t num_trust_domains;
};

// rules_read reads a mesh.yaml; keys and certificates are for `check`. false sets err: it can't be
// read, or is not good, or another source than the file decides.
bool rules_read(struct rules *rules, const char *path, struct err *err);

// rules_ask asks the agent at an admin socket for what is in force. false sets err.
bool rules_ask(struct rules *rules, const char *path, struct err *err);

void rules_cleanup(struct rules *rules);

#endif
