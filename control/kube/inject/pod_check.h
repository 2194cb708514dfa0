// SPDX-License-Identifier: Apache-2.0
//
// Says whether a pod can be in the mesh: that nothing in it would bypass the sidecar, take its
// ports or stand where it wants to stand. inject.c calls it. Pure.
#ifndef TABARD_CONTROL_KUBE_INJECT_POD_CHECK_H
#define TABARD_CONTROL_KUBE_INJECT_POD_CHECK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

// The volumes that injection adds.
#define POD_RUN_VOLUME    "tabard-run"
#define POD_CONFIG_VOLUME "tabard-config"

// pod_check_form refuses what is no pod: parts of another type than Kubernetes gives them, no
// container, a container without a name. Afterwards every list that is there is a list of objects.
// false sets err, with err.where the part's path.
bool pod_check_form(const json_t *pod, struct err *err);

// pod_is_injected says whether the pod has the annotation that injection leaves, and our containers
// as the first ones, so that nothing runs before interception. pod_check_names refuses a pod that
// has a part of it only.
bool pod_is_injected(const json_t *pod);
bool pod_check_names(const json_t *pod, struct err *err);

// pod_check_bypass refuses the host's network, Windows, a container (but ours) whose user is
// proxy_uid, one with a port of the sidecar's, and one that mounts a volume of the sidecar's.
bool pod_check_bypass(const json_t *pod, uint32_t proxy_uid, struct err *err);

// pod_lists are the names of a pod's lists of containers, in the order in which Kubernetes starts
// them.
#define POD_NUM_LISTS 2
extern const char *const pod_lists[POD_NUM_LISTS];

#endif
