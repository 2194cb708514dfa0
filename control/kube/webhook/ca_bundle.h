// SPDX-License-Identifier: Apache-2.0
//
// Keeps the roots by which the API server proves the webhook in its MutatingWebhookConfiguration:
// followed, and patched where it names our Service with other roots than those in force (a new
// install, a new root, somebody's `kubectl apply`). Each replica does so; they agree, since the
// roots come from one Secret, and a patch names the resourceVersion that it is meant for. That the
// configuration isn't there is logged: nothing is injected then. policyd makes one with
// ca_bundle_new and tells it the roots with ca_bundle_set. Heap; the loop's thread only.
#ifndef TABARD_CONTROL_KUBE_WEBHOOK_CA_BUNDLE_H
#define TABARD_CONTROL_KUBE_WEBHOOK_CA_BUNDLE_H

#include <jansson.h>

#include "base/err.h"
#include "control/host/metrics.h"
#include "control/kube/api/kube_client.h"

#define CA_BUNDLE_CONFIGURATION "tabard"
#define CA_BUNDLE_SERVICE       "tabard-policyd"
#define CA_BUNDLE_DRIFT_MS                                                                         \
    100 // from a change of somebody else's to our patch; at random, twice that
#define CA_BUNDLE_AGAIN_MS_MIN 1000 // between tries, doubling
#define CA_BUNDLE_AGAIN_MS_MAX 30000

struct ca_bundle; // opaque

// ca_bundle_new begins to follow the configuration, for a Service CA_BUNDLE_SERVICE in `namespace`
// (copied). The client is borrowed.
struct ca_bundle *ca_bundle_new(struct kube_client *client, const char *namespace);

// ca_bundle_set says which roots (PEM, copied) are in force.
void ca_bundle_set(struct ca_bundle *bundle, const char *roots_pem);

// ca_bundle_close ends it; a patch under way may still be done. NULL is allowed.
void ca_bundle_close(struct ca_bundle *bundle);

void ca_bundle_metrics(const struct ca_bundle *bundle, struct metrics_page *page);

// ca_bundle_patch makes the JSON patch (RFC 6902) that gives each webhook of a configuration that
// calls our Service these roots. An empty array: they have them. NULL sets err: it is no
// configuration, or none of its webhooks calls our Service. Pure; for this module and its tests.
json_t *ca_bundle_patch(const json_t *configuration, const char *namespace, const char *roots_pem,
                        struct err *err);

#endif
