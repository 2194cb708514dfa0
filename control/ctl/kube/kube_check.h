// SPDX-License-Identifier: Apache-2.0
//
// `tabardctl check --kubernetes`: looks at a cluster before and after an install, in this order,
// and stops where nothing further can be known.
#ifndef TABARD_CONTROL_CTL_KUBE_KUBE_CHECK_H
#define TABARD_CONTROL_CTL_KUBE_KUBE_CHECK_H

#include <stdbool.h>
#include <stdio.h>

#include "control/ctl/kube/kubectl.h"

#define KUBE_CHECK_NAMESPACE  "tabard-system"
#define KUBE_CHECK_TRIALS_MAX 20 // namespaces in which a pod is tried

// kube_check prints what it finds to `out`, a line each. `namespace` is policyd's. Returns whether
// nothing was at fault.
bool kube_check(FILE *out, const struct kubectl *kubectl, const char *namespace);

#endif
