// SPDX-License-Identifier: Apache-2.0
//
// What Kubernetes' objects say about the mesh, kept up to date object by object: a fleet
// (fleet/fleet.h), the addresses of the pods that are in the mesh, and for each of our own
// resources whether it was accepted. The source of objects calls kube_model_put and
// kube_model_delete for each event, kube_model_take after a batch of them, and
// kube_model_take_verdict until it returns false. Pure: no I/O, no clock, no socket; one thread.
// Heap, freed by kube_model_free. What it says depends on the objects alone, not on the order in
// which they came, so that replicas agree. Of each object it keeps the few fields that it needs.
//
// Only MeshSettings `default` names the trust domain: before it has come nothing can be taken.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_MODEL_KUBE_MODEL_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_MODEL_KUBE_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"
#include "tabard/v1/fleet.pb-c.h"

enum kube_kind {
    KUBE_POD,
    KUBE_SERVICE,
    KUBE_ENDPOINT_SLICE,
    KUBE_NAMESPACE,
    KUBE_MESH_POLICY,
    KUBE_MESH_DESTINATION,
    KUBE_MESH_SETTINGS,
    KUBE_NUM_KINDS
};

// kube_kind_name returns "Pod", "Service", ...
const char *kube_kind_name(enum kube_kind kind);

struct kube_model; // opaque

// kube_model_new: `own_namespace` is policyd's; a MeshDestination in it is for every pod.
struct kube_model *kube_model_new(const char *own_namespace);
void kube_model_free(struct kube_model *model);

// kube_model_put takes an object as the API server gave it, new or changed; it borrows the object
// for the call. kube_model_delete takes its end ("" is the namespace of cluster-wide kinds).
// false sets err: the object has no name that could be one, and was passed over.
bool kube_model_put(struct kube_model *model, enum kube_kind kind, const json_t *object,
                    struct err *err);
void kube_model_delete(struct kube_model *model, enum kube_kind kind, const char *ns,
                       const char *name);

// kube_model_trust_domain returns what the settings say, NULL: they have not come yet.
const char *kube_model_trust_domain(const struct kube_model *model);

// An address and whose it is now. Put into the registry in the order given.
struct kube_place {
    struct ip ip;
    const char *owner; // the key of a workload (fleet_key); NULL: nobody's any more
};

// A pod that began to be a workload, or another one, as its labels or its policies changed, or that
// is gone or over (owner NULL), so that its sidecar's stream moves to another view, or ends.
struct kube_moved {
    const char *ns;
    const char *pod;
    const char *owner;
};

// What is different since the last kube_model_take. Everything but `config` is borrowed until the
// next call of a function of the model.
struct kube_update {
    const char *trust_domain;        // NULL: no settings yet, and there is nothing else here
    Tabard__V1__FleetConfig *config; // the caller's; NULL: the fleet is as it was
    const struct kube_place *places;
    size_t num_places;
    const struct kube_moved *moved;
    size_t num_moved;
};

// kube_model_take fills *out. The caller makes a fleet of the config (fleet_new), puts it in force
// first, then the places into the registry, then moves the streams, and only then sends anything.
void kube_model_take(struct kube_model *model, struct kube_update *out);

// What the model holds of a pod; borrowed until the next put, delete or take.
struct kube_pod_facts {
    const char *uid;
    const char *account; // the name of its service account
    // The key of its workload, whose SPIFFE id is the first fleet_key_id_len bytes; NULL: it is not
    // in the mesh, or is over, or there are no settings yet.
    const char *owner;
    bool is_in_mesh; // it has a sidecar of ours
    bool is_over;    // Succeeded or Failed
    bool is_terminating;
};
bool kube_model_find_pod(const struct kube_model *model, const char *ns, const char *name,
                         struct kube_pod_facts *out);

// Whether a resource of ours is in the fleet as it was written. A Namespace or a Service gets a
// verdict only when something about it is wrong, for the log. Borrowed until the next call.
struct kube_verdict {
    enum kube_kind kind;
    const char *ns; // "": cluster-wide
    const char *name;
    int64_t generation; // of the object that was judged
    bool is_accepted;
    const char *reason;  // for a condition, in one word: "Accepted", "Refused", ...
    const char *message; // "spec.rules[0].principals[1]: ...", or what it is good for
};

// kube_model_take_verdict gives the next verdict that differs from what was taken before. false:
// there is none.
bool kube_model_take_verdict(struct kube_model *model, struct kube_verdict *out);

// kube_model_num_concerned returns how many sidecars (pods in the mesh that are not over) a
// MeshPolicy, MeshDestination or MeshSettings is for; kube_model_concerns whether one pod is.
size_t kube_model_num_concerned(const struct kube_model *model, enum kube_kind kind, const char *ns,
                                const char *name);
bool kube_model_concerns(const struct kube_model *model, enum kube_kind kind, const char *ns,
                         const char *name, const char *pod_ns, const char *pod);

struct kube_model_stats {
    uint32_t num[KUBE_NUM_KINDS]; // objects held
    uint32_t num_pods_in_mesh;
    uint64_t num_configs; // fleets made since the start
};
const struct kube_model_stats *kube_model_stats(const struct kube_model *model);

#endif
