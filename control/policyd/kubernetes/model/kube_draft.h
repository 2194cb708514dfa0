// SPDX-License-Identifier: Apache-2.0
//
// The destinations of a fleet that is being made. kube_draft.c makes a draft of each, which
// kube_conflict.c refuses where it can't stand beside the others. Nobody else includes it.
#ifndef TABARD_CONTROL_POLICYD_KUBERNETES_MODEL_KUBE_DRAFT_H
#define TABARD_CONTROL_POLICYD_KUBERNETES_MODEL_KUBE_DRAFT_H

#include "base/data/keymap.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"

#define KUBE_DRAFT_NOTE_BYTES 1024

struct kube_draft {
    struct kube_destination *of;
    Tabard__V1__FleetDestination *message; // owned; NULL: it has no address
    char note[KUBE_DRAFT_NOTE_BYTES];      // for its author
    const char *refusal;                   // the reason in one word; NULL: it is accepted
    bool is_suspect;                       // shares a block of addresses with another one
    uint32_t group;                        // its namespace's: the number of the first draft of it
};

// Sorted by namespace, in each the older before the younger one.
struct kube_drafts {
    struct kube_draft *all;
    uint32_t num;
    const char *own_namespace;
    struct keymap named; // single addresses that specs name -> the last draft's, by group
};

// kube_draft_is_for_all says whether a draft is for every pod of the mesh.
bool kube_draft_is_for_all(const struct kube_drafts *drafts, const struct kube_draft *draft);

// kube_conflict_refuse refuses those that are too many of a namespace, and those that a sidecar
// would refuse beside others that it gets, too: of two the younger one, but none of policyd's own
// namespace that is for everybody.
void kube_conflict_refuse(struct kube_drafts *drafts);

#endif
