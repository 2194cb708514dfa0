// SPDX-License-Identifier: Apache-2.0
//
// The sidecars of a cluster, and whose its addresses are, out of lines that kubectl printed by the
// templates here. Pure; it owns copies of the texts.
#ifndef TABARD_CONTROL_CTL_KUBE_SIDECARS_H
#define TABARD_CONTROL_CTL_KUBE_SIDECARS_H

#include <stddef.h>

#include "base/data/array.h"
#include "base/data/keymap.h"

// Pods, one a line.
#define SIDECARS_PODS_TEMPLATE                                                                     \
    "jsonpath={range "                                                                             \
    ".items[*]}{.metadata.namespace}{\"\\t\"}{.metadata.name}{\"\\t\"}{.status.phase}{\"\\t\"}"    \
    "{.status.podIPs[*].ip}{\"\\t\"}{.metadata.ownerReferences[0].kind}{\"\\t\"}"                  \
    "{.metadata.ownerReferences[0].name}{\"\\t\"}{.metadata.labels.pod-template-hash}{\"\\t\"}"    \
    "{.status.initContainerStatuses[?(@.name==\"tabard\")].state.running.startedAt}{\"\\n\"}"      \
    "{end}"
// Services, one a line.
#define SIDECARS_SERVICES_TEMPLATE                                                                 \
    "jsonpath={range "                                                                             \
    ".items[*]}{.metadata.namespace}{\"\\t\"}{.metadata.name}{\"\\t\"}{.spec.clusterIPs[*]}"       \
    "{\"\\n\"}{end}"

struct sidecar {
    char *namespace;
    char *pod;
    char *workload; // "deployment/web", "job/backup", "pod/web-0"
};

// Zero state: none.
struct sidecars {
    struct array list;        // struct sidecar: those that run
    struct array owners;      // char *: "shop/deployment/web", "shop/service/db"
    struct array texts;       // char *: the addresses
    struct keymap by_address; // -> a number in owners
};
void sidecars_cleanup(struct sidecars *sidecars);

// sidecars_add_pods and sidecars_add_services take what kubectl printed, which they change. Of the
// sidecars those of one namespace are listed, or all (NULL).
void sidecars_add_pods(struct sidecars *sidecars, char *pods, const char *namespace);
void sidecars_add_services(struct sidecars *sidecars, char *services);

// sidecars_owner returns whose an address is. NULL: nobody's that is known.
const char *sidecars_owner(const struct sidecars *sidecars, const char *address);

#endif
