// SPDX-License-Identifier: Apache-2.0
//
// What `tabardctl check --kubernetes` says of the namespaces, pods and objects that are in the
// mesh. Pure: each function judges lines that kubectl printed by one of the templates here, and
// prints lines of its own.
#ifndef TABARD_CONTROL_CTL_KUBE_MEMBERS_H
#define TABARD_CONTROL_CTL_KUBE_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>

#include "control/ctl/kube/findings.h"

// The pods of every namespace, one a line, as members_check_pods takes them.
#define MEMBERS_PODS_TEMPLATE                                                                      \
    "jsonpath={range "                                                                             \
    ".items[*]}{.metadata.namespace}{\"\\t\"}{.metadata.name}{\"\\t\"}{.status.phase}{\"\\t\"}"    \
    "{.spec.hostNetwork}{\"\\t\"}{.metadata.labels.tabard\\.dev/inject}{\"\\t\"}"                  \
    "{.status.initContainerStatuses[?(@.name==\"tabard\")].ready}{\"\\t\"}{.metadata.annotations." \
    "tabard\\.dev/status}{\"\\t\"}{.metadata.deletionTimestamp}{\"\\n\"}"                          \
    "{end}"
// The names of the namespaces that are in the mesh, one a line; in one that is being deleted
// nothing can be made.
#define MEMBERS_NAMESPACES_TEMPLATE                                                                \
    "jsonpath={range .items[?(@.status.phase==\"Active\")]}{.metadata.name}{\"\\n\"}{end}"
// MeshPolicies and MeshDestinations, one a line.
#define MEMBERS_OBJECTS_TEMPLATE                                                                   \
    "jsonpath={range "                                                                             \
    ".items[*]}{.kind}{\"\\t\"}{.metadata.namespace}{\"\\t\"}{.metadata.name}{\"\\t\"}"            \
    "{.status.conditions[?(@.type==\"Accepted\")].status}{\"\\t\"}{.status.conditions[?(@.type=="  \
    "\"InForce\")].status}{\"\\t\"}"                                                               \
    "{.status.conditions[?(@.type==\"Accepted\")].message}{\"\\t\"}{.status.conditions[?(@.type==" \
    "\"InForce\")].message}{\"\\n\"}"                                                              \
    "{end}"

// members_trial_pod is what a trial creates in a namespace, as JSON: a pod without a fault of its
// own, which the API server shows to the webhook and does not keep (--dry-run=server).
extern const char members_trial_pod[];

// members_next takes the next line out of `*text` as fields between tabs, changing the text.
// Returns whether there was one. Fields that the line lacks are "".
bool members_next(char **text, char **fields, size_t num_fields);

// members_check_pods judges the pods, those of the namespaces listed in `namespaces` (a name a
// line) above all. `version` and `image` are policyd's; a sidecar of another one of them is behind.
// Of pods that end, or have ended, nothing is said. Changes `pods`.
void members_check_pods(struct findings *findings, char *pods, const char *namespaces,
                        const char *version, const char *image);

// members_check_labels finds fault with each of the namespaces in `unclear` (a name a line), whose
// label is neither of the two words. Changes it.
void members_check_labels(struct findings *findings, char *unclear);

// members_check_objects judges the MeshPolicies and MeshDestinations. Changes `objects`.
void members_check_objects(struct findings *findings, char *objects);

#endif
