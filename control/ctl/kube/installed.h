// SPDX-License-Identifier: Apache-2.0
//
// What `tabardctl check --kubernetes` says of the objects that an install makes. Pure: each
// function judges what kubectl told and prints a line. An object that is not there is given as JSON
// null; fields that are absent count as wrong.
#ifndef TABARD_CONTROL_CTL_KUBE_INSTALLED_H
#define TABARD_CONTROL_CTL_KUBE_INSTALLED_H

#include <jansson.h>

#include "control/ctl/kube/findings.h"

// installed_check_definitions judges a List of CustomResourceDefinitions: those of this version
// must be among them.
void installed_check_definitions(struct findings *findings, const json_t *definitions);

// installed_check_settings judges the MeshSettings `default`.
void installed_check_settings(struct findings *findings, const json_t *settings);

// installed_check_policyd judges the Deployment, and its pods (a List) where not all of them serve.
void installed_check_policyd(struct findings *findings, const json_t *deployment,
                             const json_t *pods);

// installed_check_webhook judges the MutatingWebhookConfiguration of a mesh whose policyd is in
// `namespace`. Whether it answers is seen by a trial (members.h).
void installed_check_webhook(struct findings *findings, const json_t *configuration,
                             const char *namespace);

// installed_version returns the version that the Deployment's label says, and installed_image the
// image of its pods, which it also gives to sidecars; or "".
const char *installed_version(const json_t *deployment);
const char *installed_image(const json_t *deployment);

#endif
