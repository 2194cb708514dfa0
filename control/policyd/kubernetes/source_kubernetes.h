// SPDX-License-Identifier: Apache-2.0
//
// The API server as a source of policyd's configuration: pods, services, endpoint slices,
// namespaces and our own resources followed (control/kube/api), made into a fleet (model/), and the
// CA that lies in a Secret (ca_keeper.h). Changes that come together are passed on together, and
// the more a fleet costs to make the longer they are gathered. Until everything was listed, the
// settings of the mesh are there and a CA is in force, nothing is passed on. Heap, freed by its
// last callback after source_kubernetes_close; the loop's thread only.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_SOURCE_KUBERNETES_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_SOURCE_KUBERNETES_H

#include "control/host/metrics.h"
#include "control/kube/api/kube_client.h"
#include "control/policyd/ca/ca_trust.h"
#include "control/policyd/fleet/fleet.h"
#include "control/policyd/kubernetes/model/kube_model.h"
#include "control/policyd/kubernetes/statuses.h"

struct source_kubernetes; // opaque

#define SOURCE_KUBERNETES_GATHER_MS     20   // from a change to the fleet with it, at least
#define SOURCE_KUBERNETES_GATHER_MS_MAX 2000 // and at most
#define SOURCE_KUBERNETES_SHARE         4 // a fleet that took 10 ms is followed by 40 ms without one

struct source_kubernetes_hooks {
    void *ctx;
    // The trust in force, NULL: none yet.
    const struct ca_trust *(*in_force)(void *ctx);
    // As in folder/source_folder.h. The first trust and the first fleet come one after the other,
    // in this order.
    void (*on_trust)(void *ctx, struct ca_trust *trust, uint64_t began_ns);
    // The resourceVersion up to which there is something, and that up to which there is all (see
    // stream/version.h). Before each on_update.
    void (*on_revised)(void *ctx, uint64_t revision, uint64_t complete);
    // What has changed. The fleet, NULL if it is as it was, is taken over and put in force first,
    // then the update's places go into the registry, then streams are moved. The update is borrowed
    // for the call, and its config is the source's.
    void (*on_update)(void *ctx, struct fleet *fleet, const struct kube_update *update,
                      uint64_t began_ns);
    // A part, "fleet" or "trust", isn't usable. Called once while the text stays the same.
    void (*on_failed)(void *ctx, const char *what, const char *text);
    // Of the sidecars that this replica steers (statuses.h). NULL: no status is written.
    uint64_t (*num_sidecar_changes)(void *ctx);
    void (*each_sidecar)(void *ctx, void (*each)(void *arg, const struct sidecar_state *sidecar),
                         void *arg);
    // What source_kubernetes_relist asked for is done, and was passed on.
    void (*on_relisted)(void *ctx);
};

struct source_kubernetes_config {
    struct kube_client *client; // borrowed
    const char *dir;            // for ca_keeper.h; copied
    const char *namespace;      // policyd's own; copied
    const char *replica;        // the name of policyd's pod; copied
    const char *first_settings; // for first_settings.h; copied. NULL: none are made
    struct source_kubernetes_hooks hooks;
};

struct source_kubernetes *source_kubernetes_new(const struct source_kubernetes_config *config);
void source_kubernetes_close(struct source_kubernetes *source); // NULL is allowed

// source_kubernetes_is_ready says whether everything was passed on. false sets why.
bool source_kubernetes_is_ready(const struct source_kubernetes *source, struct err *why);

// source_kubernetes_relist lists anew, from the store and not from a cache, each kind of which not
// everything up to `revision` was surely taken in. Once asked, asking again before on_relisted is
// one asking.
void source_kubernetes_relist(struct source_kubernetes *source, uint64_t revision);

// source_kubernetes_model is what is known, for questions. It changes with the loop's turns.
struct kube_model *source_kubernetes_model(struct source_kubernetes *source);

void source_kubernetes_metrics(const struct source_kubernetes *source, struct metrics_page *page);

#endif
