// SPDX-License-Identifier: Apache-2.0
//
// The inside of the source: source_kubernetes.c follows and passes on, source_kubernetes_metrics.c
// tells of it. Nobody else includes this.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_SOURCE_KUBERNETES_IMPL_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_SOURCE_KUBERNETES_IMPL_H

#include "control/kube/api/kube_watch.h"
#include "control/policyd/kubernetes/ca_keeper.h"
#include "control/policyd/kubernetes/first_settings.h"
#include "control/policyd/kubernetes/source_kubernetes.h"

enum source_part { SOURCE_FLEET, SOURCE_TRUST, SOURCE_NUM_PARTS };

// One collection that is followed.
struct followed {
    struct source_kubernetes *source; // borrowed
    enum kube_kind kind;
    struct kube_watch *watch;
    bool is_relisting; // since source_kubernetes_relist
};

struct source_kubernetes {
    uv_timer_t timer; // gathers changes
    struct source_kubernetes_hooks hooks;
    struct kube_client *client; // borrowed
    struct kube_model *model;
    struct followed followed[KUBE_NUM_KINDS];
    struct ca_keeper *keeper;
    struct statuses *statuses;    // NULL: none are written
    struct first_settings *first; // NULL: none are made
    struct ca_trust *trust;       // owned: came before the rest was there
    uint64_t began_ns;            // when the oldest change not yet passed on was seen; 0: none
    uint64_t passed_ms;           // loop time of the last pass
    uint64_t took_ms;             // that it took
    uint64_t revision; // the highest resourceVersion of an object, or of a list with news
    uint64_t complete; // up to which everything was passed on
    uint64_t num_passes;
    bool is_begun;                                       // the first trust was passed on
    bool has_passed;                                     // and the first fleet
    bool is_relisted;                                    // on_relisted is owed
    char reported[SOURCE_NUM_PARTS][sizeof(struct err)]; // the failure passed on; empty: none
};

#endif
