// SPDX-License-Identifier: Apache-2.0
//
// `tabardctl audit --kubernetes`: asks the sidecars of a cluster, each by kubectl exec, and adds up
// what those of one workload say. Blocks; bounded by kubectl's deadlines and
// AUDIT_CLUSTER_PODS_MAX.
#ifndef TABARD_CONTROL_CTL_SHOW_AUDIT_CLUSTER_H
#define TABARD_CONTROL_CTL_SHOW_AUDIT_CLUSTER_H

#include <stdbool.h>

#include "base/err.h"
#include "control/ctl/kube/kubectl.h"
#include "tabard/v1/admin.pb-c.h"

#define AUDIT_CLUSTER_PODS_MAX 10000

struct audit_cluster_question {
    const char *namespace; // NULL: every one
    bool is_current_only;  // leave out what the configuration in force of a sidecar may not deny
};

// audit_cluster returns the audit; tabard__v1__cluster_audit__free_unpacked(audit, NULL) frees it.
// Pods that don't answer are failures in it. NULL sets err: the cluster can't be asked at all.
Tabard__V1__ClusterAudit *audit_cluster(const struct kubectl *kubectl,
                                        const struct audit_cluster_question *question,
                                        struct err *err);

#endif
