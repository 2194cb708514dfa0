// SPDX-License-Identifier: Apache-2.0
//
// What the agent shows its operator of the two programs' sandboxes (docs/sandbox.md). Pure, as
// report, which calls it.
#ifndef TABARD_CONTROL_AGENT_OPERATOR_REPORT_SANDBOX_H
#define TABARD_CONTROL_AGENT_OPERATOR_REPORT_SANDBOX_H

#include "control/agent/operator/report.h"
#include "control/host/metrics.h"
#include "tabard/v1/admin.pb-c.h"

// Layers as a Status lists them.
struct report_sandbox {
    Tabard__V1__SandboxLayer layers[SANDBOX_NUM_LAYERS];
    Tabard__V1__SandboxLayer *list[SANDBOX_NUM_LAYERS];
    size_t num;
};

// report_sandbox_fill makes the list; its texts are those of `facts`.
void report_sandbox_fill(struct report_sandbox *out, const struct sandbox_facts *facts);

// report_sandbox_metrics writes the families about both sandboxes.
void report_sandbox_metrics(struct metrics_page *page, const struct report_facts *facts);

#endif
