// SPDX-License-Identifier: Apache-2.0
//
// Pods for the tests of injection, and looks at what became of them. The pods are requests that a
// Kubernetes 1.32 API server made, for a Deployment, a Job, a StatefulSet and bare pods. A mistake
// of the test aborts.
#ifndef TABARD_TESTS_UNIT_CONTROL_KUBE_INJECT_INJECT_STAGE_H
#define TABARD_TESTS_UNIT_CONTROL_KUBE_INJECT_INJECT_STAGE_H

#include <jansson.h>

#include "control/kube/inject/inject.h"

// inject_config_of makes a configuration, with more lines of inject.yaml. The caller's.
Tabard__V1__InjectConfig *inject_config_of(const char *more);

// pod_read reads pods/NAME.json. The caller's.
json_t *pod_read(const char *name);

// inject_run decides about a pod; inject_good applies the patch, which there must be.
void inject_run(struct inject_result *out, const json_t *pod);
void inject_good(json_t *pod);

// pod_at finds a part by a path of names and numbers, "spec.containers.0.name"; pod_expect says
// what JSON it must be, "nothing" for none.
const json_t *pod_at(const json_t *pod, const char *path);
void pod_expect(const json_t *pod, const char *path, const char *json);

// pod_annotation returns an annotation's value, "nothing" if there is none. pod_annotate sets one.
const char *pod_annotation(const json_t *pod, const char *name);
void pod_annotate(json_t *pod, const char *name, const char *value);

#endif
