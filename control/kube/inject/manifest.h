// SPDX-License-Identifier: Apache-2.0
//
// Injection into manifests: a document of Kubernetes is searched for pods and pod templates, in the
// kinds that have one and in Lists of them. `tabardctl inject` calls it for each document. Pure.
#ifndef TABARD_CONTROL_KUBE_INJECT_MANIFEST_H
#define TABARD_CONTROL_KUBE_INJECT_MANIFEST_H

#include <jansson.h>
#include <stdbool.h>

#include "control/kube/inject/inject.h"

enum manifest_outcome {
    MANIFEST_ASKS, // the label that asks for injection was set
    MANIFEST_INJECTED,
    MANIFEST_UNCHANGED, // `why` says why
    MANIFEST_REFUSED,   // likewise
};

// One pod or pod template that was found. Everything is borrowed for the call.
struct manifest_pod {
    const char *kind;
    const char *name; // of the object; "" if it has none
    enum manifest_outcome outcome;
    const char *why;
    const json_t *warnings;
};
typedef void manifest_on_pod(void *ctx, const struct manifest_pod *pod);

struct manifest_config {
    const Tabard__V1__InjectConfig *config; // NULL: only the label is set, and the webhook injects
    manifest_on_pod *on_pod;
    void *ctx;
};

// manifest_inject changes a document, and says whether it did. What is no object of Kubernetes, or
// of a kind without pods, is left as it is, and on_pod isn't called. A refused pod stays as it was.
bool manifest_inject(json_t *document, const struct manifest_config *config);

#endif
