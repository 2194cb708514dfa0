// SPDX-License-Identifier: Apache-2.0
//
// The parts that injection adds to a pod, as JSON: two containers, two volumes, and the texts that
// the sidecar reads. inject.c puts them into place. Pure.
#ifndef TABARD_CONTROL_KUBE_INJECT_SIDECAR_H
#define TABARD_CONTROL_KUBE_INJECT_SIDECAR_H

#include <jansson.h>
#include <stdbool.h>

#include "control/kube/inject/inject_config.h"
#include "control/kube/inject/settings.h"

// What the parts are made of; everything is borrowed.
struct sidecar_plan {
    const Tabard__V1__InjectConfig *config;
    const struct settings *settings;
    const char *policy_agent_identity;
    const json_t *resources;     // of both containers
    const json_t *inbound_ports; // of mesh.yaml
    uint32_t drain_seconds;
    const json_t *probes; // of the application, that the sidecar makes; may be empty
};

// Each returns a new tree, the caller's.
json_t *sidecar_init_container(const struct sidecar_plan *plan);
json_t *sidecar_container(const struct sidecar_plan *plan);
json_t *sidecar_run_volume(void);
json_t *sidecar_config_volume(const struct sidecar_plan *plan);

// sidecar_mesh_yaml and sidecar_probes_yaml return the sidecar's files of these names. Malloc'd,
// the caller's.
char *sidecar_mesh_yaml(const struct sidecar_plan *plan);
char *sidecar_probes_yaml(const struct sidecar_plan *plan);

#endif
