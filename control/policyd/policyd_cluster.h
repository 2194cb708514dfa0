// SPDX-License-Identifier: Apache-2.0
//
// policyd in a Kubernetes cluster: its connection to the API server, the source of fleets and trust
// that this is, and those who ask it what a pod's token proves. policyd.c calls
// policyd_cluster_start instead of loading a folder, begins to serve inside on_first, and at the
// end calls policyd_cluster_halt, and policyd_cluster_stop once no stream is left. The loop's
// thread only.
#ifndef TABARD_CONTROL_POLICYD_POLICYD_CLUSTER_H
#define TABARD_CONTROL_POLICYD_POLICYD_CLUSTER_H

#include <uv.h>

#include "control/host/metrics.h"
#include "control/kube/api/kube_config.h"
#include "control/policyd/policyd_flags.h"
#include "control/policyd/stream/service.h"

struct ca_bundle;
struct source_kubernetes;
struct token_review;

struct policyd_cluster_hooks {
    void *ctx;
    // Everything is there for the first time. Both are taken over; the service is started with them
    // inside, and returned. NULL: it can't be, and policyd ends.
    struct service *(*on_first)(void *ctx, struct fleet *fleet, struct ca_trust *trust);
    // As in folder/source_folder.h, afterwards.
    void (*on_fleet)(void *ctx, struct fleet *fleet, uint64_t began_ns);
    void (*on_trust)(void *ctx, struct ca_trust *trust, uint64_t began_ns);
    void (*on_failed)(void *ctx, const char *what, const char *text);
};

// Zero state: not in a cluster.
struct policyd_cluster {
    struct kube_config config;
    struct policyd_cluster_hooks hooks;
    struct kube_client *client;       // owned, with the next five
    struct source_kubernetes *source; // NULL: halted
    struct ca_bundle *bundle;         // NULL: there is no webhook, or it is halted
    struct token_review *review;
    struct reviews *reviews;
    struct ca_trust *trust;  // the first, until the first fleet is there
    struct service *service; // borrowed; NULL until it is started
    uint64_t revision;       // as the source said last
    uint64_t complete;
};

// policyd_cluster_start begins to follow the API server. false sets err.
bool policyd_cluster_start(struct policyd_cluster *cluster, uv_loop_t *loop,
                           const struct policyd_flags *flags,
                           const struct policyd_cluster_hooks *hooks, struct err *err);

// policyd_cluster_is_ready says whether the first of everything was passed on. false sets why.
bool policyd_cluster_is_ready(const struct policyd_cluster *cluster, struct err *why);

void policyd_cluster_reload(struct policyd_cluster *cluster); // lists everything anew
void policyd_cluster_metrics(const struct policyd_cluster *cluster, struct metrics_page *page);
void policyd_cluster_halt(struct policyd_cluster *cluster); // no hook comes any more
void policyd_cluster_stop(struct policyd_cluster *cluster);

#endif
