// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/control/kube/inject/inject_stage.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/kube/inject/json_patch.h"

Tabard__V1__InjectConfig *inject_config_of(const char *more)
{
    static const char base[] = "image: localhost/tabard:dev\n"
                               "policy_agent: tabard-policyd.tabard-system.svc:15012\n";
    char text[1024];
    struct err err = {{0}, {0}};
    snprintf(text, sizeof text, "%s%s", base, more);
    Tabard__V1__InjectConfig *config = inject_config_parse(text, strlen(text), "inject.yaml", &err);
    cr_assert(config != NULL, "%s", err.text);
    return config;
}

json_t *pod_read(const char *name)
{
    char path[160];
    json_error_t error;
    snprintf(path, sizeof path, "tests/unit/control/kube/inject/pods/%s.json", name);
    json_t *pod = json_load_file(path, 0, &error);
    cr_assert(pod != NULL, "%s: %s", path, error.text);
    return pod;
}

void inject_run(struct inject_result *out, const json_t *pod)
{
    static const struct inject_context context = {.trust_domain = "demo.example", .roots = "PEM\n"};
    Tabard__V1__InjectConfig *config = inject_config_of("");
    inject_pod(out, pod, &context, config);
    inject_config_free(config);
}

// Injects into the pod, which must be possible.
void inject_good(json_t *pod)
{
    struct err err = {{0}, {0}};
    struct inject_result result;
    inject_run(&result, pod);
    cr_assert_eq(result.outcome, INJECT_PATCHED, "%s", result.why.text);
    cr_assert(json_patch_apply(pod, result.patch, &err), "%s", err.text);
    inject_result_cleanup(&result);
}

// The part of a pod at a path of names and numbers, "spec.containers.0.name".
const json_t *pod_at(const json_t *pod, const char *path)
{
    char copy[160];
    char *rest = NULL;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *step = strtok_r(copy, ".", &rest); step != NULL; step = strtok_r(NULL, ".", &rest)) {
        pod = json_is_array(pod) ? json_array_get(pod, (size_t)atoi(step))
                                 : json_object_get(pod, step);
    }
    return pod;
}

void pod_expect(const json_t *pod, const char *path, const char *json)
{
    char *text = json_dumps(pod_at(pod, path), JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    cr_expect_str_eq(text == NULL ? "nothing" : text, json, "%s is %s", path,
                     text == NULL ? "nothing" : text);
    free(text);
}

const char *pod_annotation(const json_t *pod, const char *name)
{
    const char *value =
        json_string_value(json_object_get(pod_at(pod, "metadata.annotations"), name));
    return value == NULL ? "nothing" : value;
}

void pod_annotate(json_t *pod, const char *name, const char *value)
{
    json_t *metadata = json_object_get(pod, "metadata");
    json_t *annotations = json_object_get(metadata, "annotations");
    if (annotations == NULL) {
        annotations = json_object();
        json_object_set_new(metadata, "annotations", annotations);
    }
    json_object_set_new(annotations, name, json_string(value));
}
