// SPDX-License-Identifier: Apache-2.0
//
// The page of what policy would deny: an Audit (tabard/v1/admin.proto) as JSON, made of what the
// proxy's workers have each counted. A pure function of the facts that admin collects.
#ifndef TABARD_CONTROL_AGENT_OPERATOR_AUDIT_H
#define TABARD_CONTROL_AGENT_OPERATOR_AUDIT_H

#include "control/agent/operator/report.h"

// audit_text prints the Audit; what the workers have counted of the same is added up. The result is
// malloc'd, the caller's. NULL: out of memory.
char *audit_text(const struct report_facts *facts, const Tabard__V1__InspectResult *inspect);

#endif
