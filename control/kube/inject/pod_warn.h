// SPDX-License-Identifier: Apache-2.0
//
// What whoever makes a pod should know of it, though it is injected. inject.c calls it. Pure.
#ifndef TABARD_CONTROL_KUBE_INJECT_POD_WARN_H
#define TABARD_CONTROL_KUBE_INJECT_POD_WARN_H

#include <jansson.h>

// pod_warn appends a text for each of these: a process namespace that is shared among the
// containers or with the node; a container, but ours, that can change the pod's network, and so
// take itself out of the mesh; a lifecycle handler over HTTP, which the kubelet calls without a
// certificate. Such a handler does something, while a page of the sidecar may be asked for by
// anybody, so it does not become one, as a probe does.
void pod_warn(json_t *warnings, const json_t *pod);

#endif
