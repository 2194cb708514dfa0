// SPDX-License-Identifier: Apache-2.0
//
// The pods that are in the mesh, as the source of policyd's configuration knows them. The source
// fills it; stream/ asks at each admission, at each signing request, and after each change.
#ifndef TABARD_CONTROL_POLICYD_REVIEW_PODS_H
#define TABARD_CONTROL_POLICYD_REVIEW_PODS_H

#include "control/policyd/review/account.h"

struct pods {
    void *ctx;
    // Returns the key (fleet_key) of the workload that a pod is, borrowed until the source's next
    // change. NULL: there is no pod of this name, uid and account, or it is over, or it is not in
    // the mesh.
    const char *(*key)(void *ctx, const struct account_pod *pod);
};

#endif
