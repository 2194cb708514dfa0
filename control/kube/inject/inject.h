// SPDX-License-Identifier: Apache-2.0
//
// Puts a sidecar into a pod: from a pod, or a pod template, and a configuration to a JSON patch.
// The webhook and `tabardctl inject` call inject_pod; nothing here does I/O, and any thread may
// call. What is written is in docs/kubernetes.md. The pod's own size bounds the work; whoever takes
// pods from strangers bounds that.
#ifndef TABARD_CONTROL_KUBE_INJECT_INJECT_H
#define TABARD_CONTROL_KUBE_INJECT_INJECT_H

#include <jansson.h>

#include "base/err.h"
#include "control/kube/inject/inject_config.h"

// The label that opts in (a namespace) or out (a pod), and its values.
#define INJECT_LABEL          "tabard.dev/inject"
#define INJECT_LABEL_ENABLED  "enabled"
#define INJECT_LABEL_DISABLED "disabled"

// What injection leaves on a pod: JSON of what was injected, by which version.
#define INJECT_STATUS_ANNOTATION "tabard.dev/status"

// The containers that it adds.
#define INJECT_INIT_CONTAINER    "tabard-init"
#define INJECT_SIDECAR_CONTAINER "tabard"

// What the caller knows beside the configuration, and better than it. All may be NULL.
struct inject_context {
    const char *trust_domain;  // of the mesh, else that of the configuration
    const char *roots;         // PEM, that proves the policy agent, else those of the configuration
    bool is_namespace_unclear; // its label INJECT_LABEL is neither of the two words
};

enum inject_outcome {
    INJECT_PATCHED, // `patch` puts the sidecar in
    INJECT_NOTHING, // nothing is to be done; `why` says why
    INJECT_REFUSED, // the pod can't be in the mesh as it is; `why` says what would be right
};

// Zero state: {0}.
struct inject_result {
    enum inject_outcome outcome;
    json_t *patch;    // owned; the operations (RFC 6902), paths from the pod's own root
    json_t *warnings; // owned; an array of texts for whoever made the pod; may be empty
    struct err why;
};

// inject_pod decides about a Pod or a pod template: an object with `metadata` and `spec`. Whether
// its namespace opted in is the caller's to know. A pod that has the sidecar, of whatever version,
// gets nothing; one whose label says "disabled" neither. Refused, always with the name of what is
// wrong: what is no pod; the host's network; a container that runs as the proxy's user or has a
// port of the sidecar's, or mounts a volume of its; a container, volume or annotation with a name
// of ours that isn't ours; a pod that says it has the sidecar, with another container before it; an
// annotation whose value is wrong; Windows; a configuration without trust domain or roots where the
// context has none either. `pod` is not changed. Free the result with inject_result_cleanup.
void inject_pod(struct inject_result *out, const json_t *pod, const struct inject_context *context,
                const Tabard__V1__InjectConfig *config);
void inject_result_cleanup(struct inject_result *result);

#endif
