// SPDX-License-Identifier: Apache-2.0
//
// A Kubernetes quantity, as resources are written: "10m", "32Mi", "1.5", "1e3". Pure.
#ifndef TABARD_CONTROL_KUBE_INJECT_QUANTITY_H
#define TABARD_CONTROL_KUBE_INJECT_QUANTITY_H

#include "base/err.h"

// quantity_parse reads one that is more than 0. *out gets its value, good for comparing. false sets
// err.
bool quantity_parse(double *out, const char *text, struct err *err);

#endif
