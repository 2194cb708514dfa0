// SPDX-License-Identifier: Apache-2.0
//
// The Node of a stream's first request: who this sidecar says it is. pa_source keeps one, which
// holds the texts that the message borrows.
#ifndef TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_NODE_H
#define TABARD_CONTROL_AGENT_SOURCES_POLICY_AGENT_PA_NODE_H

#include <stdbool.h>

#include "base/addr.h"
#include "control/agent/sources/policy_agent/pa_access.h"
#include "tabard/v1/policy_agent.pb-c.h"

// Zero state: {0}.
struct pa_node {
    char addresses[PA_ACCESS_ADDRESSES_MAX][ADDR_TEXT_MAX]; // of the host
    char *list[PA_ACCESS_ADDRESSES_MAX];                    // borrowed from addresses
};

// pa_node_fill fills a Node with what mesh.yaml says and, where it names no addresses, the host's
// own. The texts are borrowed from the node and the access until the next call. has_issued: the
// sidecar has a certificate of the policy agent's.
void pa_node_fill(struct pa_node *node, const struct pa_access *access, bool has_issued,
                  Tabard__V1__Node *out);

#endif
