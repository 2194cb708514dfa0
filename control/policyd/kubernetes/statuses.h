// SPDX-License-Identifier: Apache-2.0
//
// Tells the authors of MeshPolicies, MeshDestinations and MeshSettings what became of them: the
// conditions Accepted and InForce in their status (status_write.h), and an Event where one is
// refused. The source makes one of these, tells it of each object and each verdict, and looks at
// all of them with statuses_look after changes. Writes are limited: one at a time for a resource,
// STATUSES_WRITES_MAX at a time and STATUSES_PER_SECOND in the long run for all; a write that fails
// is tried again later. Heap; the loop's thread only; bounded by the objects that there are.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_STATUSES_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_STATUSES_H

#include "control/kube/api/kube_client.h"
#include "control/policyd/kubernetes/model/kube_model.h"

struct statuses; // opaque

#define STATUSES_WRITES_MAX   4
#define STATUSES_PER_SECOND   10
#define STATUSES_BURST        20
#define STATUSES_LOOK_MS      500  // between two looks, if there is a reason for one
#define STATUSES_OF_ONE_MS    1000 // between two writes for one resource, with as much jitter
#define STATUSES_AFTER_ERR_MS 10000

// A sidecar that this replica steers.
struct sidecar_state {
    const char *ns;
    const char *pod;
    bool is_settled;     // it has everything in force that it was sent, and nothing is on its way
    const char *refusal; // what it said of what it refused; NULL: it refused nothing
};

struct statuses_config {
    struct kube_client *client; // borrowed
    struct kube_model *model;   // borrowed
    const char *namespace;      // policyd's own, where its replicas are; copied
    const char *replica;        // this one's pod; copied
    void *ctx;
    // A number that grows whenever the state of a sidecar that this replica steers changes.
    uint64_t (*num_changes)(void *ctx);
    // Calls `each` for every sidecar that this replica steers.
    void (*each_sidecar)(void *ctx, void (*each)(void *arg, const struct sidecar_state *sidecar),
                         void *arg);
};

struct statuses *statuses_new(const struct statuses_config *config);
void statuses_close(struct statuses *statuses); // NULL is allowed

// Kinds without a status are passed over.
void statuses_put(struct statuses *statuses, enum kube_kind kind, const json_t *object);
void statuses_delete(struct statuses *statuses, enum kube_kind kind, const char *ns,
                     const char *name);
void statuses_judge(struct statuses *statuses, const struct kube_verdict *verdict);

// statuses_look asks for a look at what is to be written, soon: pods have come or gone.
void statuses_look(struct statuses *statuses);

struct statuses_stats {
    uint64_t num_writes;
    uint64_t num_failures;
    uint64_t num_events;
};
const struct statuses_stats *statuses_stats(const struct statuses *statuses);

#endif
