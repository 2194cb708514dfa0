// SPDX-License-Identifier: Apache-2.0
#include "control/kube/inject/manifest.h"

#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "control/kube/inject/json_patch.h"

#define LIST_DEPTH_MAX 8 // Lists in Lists
#define PATH_STEPS_MAX 4

// Where the kinds have their pods.
static const struct kind {
    const char *group; // with its slash; "" is the core's
    const char *name;
    const char *path[PATH_STEPS_MAX]; // to the pod or its template
} kinds[] = {
    {"", "Pod", {NULL}},
    {"", "ReplicationController", {"spec", "template"}},
    {"apps/", "Deployment", {"spec", "template"}},
    {"apps/", "ReplicaSet", {"spec", "template"}},
    {"apps/", "StatefulSet", {"spec", "template"}},
    {"apps/", "DaemonSet", {"spec", "template"}},
    {"batch/", "Job", {"spec", "template"}},
    {"batch/", "CronJob", {"spec", "jobTemplate", "spec", "template"}},
};

// What only the label's setting needs to know of a pod's sidecar: whether one could be put in.
static const struct inject_context any_context = {.trust_domain = "any.example", .roots = "any"};
static const char any_config[] = "{image: any, policy_agent: \"any:1\"}";

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static const struct kind *kind_of(const json_t *object)
{
    const char *version = text_of(object, "apiVersion");
    const char *name = text_of(object, "kind");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t group = strlen(kinds[i].group);
        if (strcmp(name, kinds[i].name) == 0 && strncmp(version, kinds[i].group, group) == 0 &&
            version[group] == 'v' && strchr(version + group, '/') == NULL) {
            return &kinds[i];
        }
    }
    return NULL;
}

static json_t *object_in(json_t *parent, const char *key)
{
    json_t *object = json_object_get(parent, key);
    if (object == NULL || json_is_null(object)) {
        object = must_have(json_object());
        must_have(json_object_set_new(parent, key, object) == 0 ? parent : NULL);
    }
    return object;
}

// Sets the label that asks for injection. false: it is there.
static bool set_label(json_t *pod)
{
    json_t *labels = object_in(object_in(pod, "metadata"), "labels");
    if (strcmp(text_of(labels, INJECT_LABEL), INJECT_LABEL_ENABLED) == 0) {
        return false;
    }
    json_t *value = must_have(json_string(INJECT_LABEL_ENABLED));
    must_have(json_object_set_new(labels, INJECT_LABEL, value) == 0 ? labels : NULL);
    return true;
}

// Puts the sidecar in, or asks for it.
static enum manifest_outcome change(json_t *pod, const struct manifest_config *config,
                                    const struct inject_result *result, struct err *why)
{
    if (result->outcome != INJECT_PATCHED) {
        *why = result->why;
        return result->outcome == INJECT_NOTHING ? MANIFEST_UNCHANGED : MANIFEST_REFUSED;
    }
    if (config->config != NULL) {
        return json_patch_apply(pod, result->patch, why) ? MANIFEST_INJECTED : MANIFEST_REFUSED;
    }
    if (set_label(pod)) {
        return MANIFEST_ASKS;
    }
    err_set(why, "it asks for injection already");
    return MANIFEST_UNCHANGED;
}

static bool inject_template(json_t *pod, const char *kind, const char *name,
                            const struct manifest_config *config)
{
    static const struct inject_context none = {.trust_domain = NULL};
    struct inject_result result;
    struct err why = {{0}, {0}};
    if (config->config != NULL) {
        inject_pod(&result, pod, &none, config->config);
    } else {
        Tabard__V1__InjectConfig *any =
            must_have(inject_config_parse(any_config, sizeof any_config - 1, "any", NULL));
        inject_pod(&result, pod, &any_context, any);
        inject_config_free(any);
    }
    const struct manifest_pod told = {.kind = kind,
                                      .name = name,
                                      .outcome = change(pod, config, &result, &why),
                                      .why = why.text,
                                      .warnings = result.warnings};
    config->on_pod(config->ctx, &told);
    inject_result_cleanup(&result);
    return told.outcome == MANIFEST_ASKS || told.outcome == MANIFEST_INJECTED;
}

static bool inject_object(json_t *object, const struct manifest_config *config, unsigned depth);

static bool inject_list(json_t *list, const struct manifest_config *config, unsigned depth)
{
    json_t *item = NULL;
    size_t i = 0;
    bool is_changed = false;
    json_array_foreach(json_object_get(list, "items"), i, item)
    {
        is_changed = inject_object(item, config, depth + 1) || is_changed;
    }
    return is_changed;
}

static bool inject_object(json_t *object, const struct manifest_config *config, unsigned depth)
{
    const struct kind *kind = kind_of(object);
    const json_t *metadata = json_object_get(object, "metadata");
    if (kind == NULL) {
        bool is_list = strcmp(text_of(object, "kind"), "List") == 0 &&
                       strcmp(text_of(object, "apiVersion"), "v1") == 0;
        return is_list && depth < LIST_DEPTH_MAX && inject_list(object, config, depth);
    }
    const char *name = text_of(metadata, "name");
    name = name[0] == '\0' ? text_of(metadata, "generateName") : name;
    json_t *pod = object;
    for (size_t i = 0; i < PATH_STEPS_MAX && kind->path[i] != NULL; i++) {
        pod = json_object_get(pod, kind->path[i]);
    }
    if (!json_is_object(pod)) {
        const struct manifest_pod told = {.kind = kind->name,
                                          .name = name,
                                          .outcome = MANIFEST_REFUSED,
                                          .why = "it has no template of a pod"};
        config->on_pod(config->ctx, &told);
        return false;
    }
    return inject_template(pod, kind->name, name, config);
}

bool manifest_inject(json_t *document, const struct manifest_config *config)
{
    return inject_object(document, config, 0);
}
