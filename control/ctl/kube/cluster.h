// SPDX-License-Identifier: Apache-2.0
//
// What `tabardctl check --kubernetes` says of a cluster whether Tabard is in it or not. Pure: each
// function judges what kubectl told, prints a line, and takes the time as an argument. Fields that
// are absent count as wrong.
#ifndef TABARD_CONTROL_CTL_KUBE_CLUSTER_H
#define TABARD_CONTROL_CTL_KUBE_CLUSTER_H

#include <jansson.h>
#include <time.h>

#include "control/ctl/kube/findings.h"

#define CLUSTER_MINOR_MIN                                                                          \
    29 // of Kubernetes 1: from there on native sidecars are there without a feature gate
#define CLUSTER_SKEW_S_MAX                                                                         \
    10 // of clocks: less than the seconds by which certificates are dated back

// cluster_check_version judges `kubectl version -o json`.
void cluster_check_version(struct findings *findings, const json_t *version);

// cluster_check_clocks judges the time at which the API server made an object
// ("2026-11-28T03:44:09Z"), asked for between `before` and `after` by this machine's clock, and the
// leases that kubelets renew every 10 s by their nodes' clocks (a List). A node whose lease is old
// is either down or late; the line says so.
void cluster_check_clocks(struct findings *findings, const char *server_time, const json_t *leases,
                          time_t before, time_t after);

// cluster_rights_wanted returns what an installer must be allowed to do, as a List of
// SelfSubjectAccessReviews; free() it.
char *cluster_rights_wanted(const char *namespace);

// cluster_check_rights judges the answers, lines of "RESOURCE<tab>true".
void cluster_check_rights(struct findings *findings, const char *answers);

// cluster_time reads a time as Kubernetes writes it (RFC 3339 in UTC, with or without a fraction).
// -1: it is none.
time_t cluster_time(const char *text);

#endif
