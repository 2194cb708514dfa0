// SPDX-License-Identifier: Apache-2.0
//
// An Event of Kubernetes that says beside a resource of ours why it is refused, where `kubectl
// describe` and `kubectl events` show it. It is named by the resource and its generation, so that
// replicas make one of them. It is sent once and forgotten: the status says the same and stays.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_REFUSAL_EVENT_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_REFUSAL_EVENT_H

#include <stdint.h>

#include "control/kube/api/kube_client.h"

struct refusal_event {
    const char *kind;
    const char *ns; // "": cluster-wide; its Event is in the namespace default
    const char *name;
    const char *uid;
    int64_t generation;
    const char *message;
    int64_t now; // seconds since 1970
};

void refusal_event_send(struct kube_client *client, const struct refusal_event *event);

#endif
