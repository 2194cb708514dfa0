// SPDX-License-Identifier: Apache-2.0
//
// Where the API server is and how we prove ourselves to it. A pod is told by its environment and by
// files that the kubelet keeps up to date; elsewhere the caller names them. Plain text, owned by
// the caller; whether the files are there is seen when a connection is made.
#ifndef TABARD_CONTROL_KUBE_API_KUBE_CONFIG_H
#define TABARD_CONTROL_KUBE_API_KUBE_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define KUBE_HOST_BYTES      254 // of a DNS name, with its NUL
#define KUBE_NAMESPACE_BYTES 64

// Where the kubelet puts a pod's files: token, ca.crt and namespace.
#define KUBE_ACCOUNT_FOLDER "/var/run/secrets/kubernetes.io/serviceaccount"

struct kube_config {
    char host[KUBE_HOST_BYTES]; // a DNS name or an IP address, without brackets
    uint16_t port;
    char token_file[PATH_MAX];            // read anew for each request, since it is rotated
    char ca_file[PATH_MAX];               // read anew for each connection
    char namespace[KUBE_NAMESPACE_BYTES]; // the pod's own; "" outside of a pod
};

// kube_config_in_cluster reads what a pod is told: KUBERNETES_SERVICE_HOST and _PORT, and the
// files of `folder` (KUBE_ACCOUNT_FOLDER). false sets err: we are in no pod, or it has no token.
bool kube_config_in_cluster(struct kube_config *out, const char *folder, struct err *err);

// kube_config_set_server sets host and port from "HOST:PORT", "IP:PORT" or "[IPv6]:PORT". false
// sets err.
bool kube_config_set_server(struct kube_config *config, const char *address, struct err *err);

#endif
