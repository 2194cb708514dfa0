// SPDX-License-Identifier: Apache-2.0
//
// The probes of a pod's own containers, turned into pages of the sidecar: the kubelet, which has no
// certificate, asks the sidecar, and the sidecar asks the application (tabard/v1/probes.proto).
// inject.c calls it. Pure.
#ifndef TABARD_CONTROL_KUBE_INJECT_APP_PROBES_H
#define TABARD_CONTROL_KUBE_INJECT_APP_PROBES_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

// app_probes_rewrite appends to `patch` what turns each probe over HTTP, TCP and gRPC into one of
// the sidecar's pages, and to `probes`, an array, what the sidecar must ask in its place. Left as
// they are: probes that run a program; those that name a host, which lead elsewhere; those of init
// containers that end before the pod runs. It must come before the patch moves containers. false
// sets err, with the container and the probe: one that the kubelet could not make either, or that
// has no good header.
bool app_probes_rewrite(json_t *patch, json_t *probes, const json_t *pod, struct err *err);

#endif
