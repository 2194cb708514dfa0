// SPDX-License-Identifier: Apache-2.0
#include "control/kube/inject/inject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/version.h"
#include "control/kube/inject/app_probes.h"
#include "control/kube/inject/json_patch.h"
#include "control/kube/inject/pod_check.h"
#include "control/kube/inject/pod_warn.h"
#include "control/kube/inject/settings.h"
#include "control/kube/inject/sidecar.h"
#include "proto/contract.h"

#define GRACE_SECONDS_DEFAULT 30 // Kubernetes' terminationGracePeriodSeconds
#define GRACE_SECONDS_LEFT    5  // of them after a drain, or a fifth if that is less
#define MIRROR_ANNOTATION     "kubernetes.io/config.mirror"
#define CONTAINER_ANNOTATION  "kubectl.kubernetes.io/default-container"

// A pod under work.
struct work {
    const json_t *pod;
    const json_t *spec;
    const json_t *annotations; // NULL: none
    const Tabard__V1__InjectConfig *config;
    const struct inject_context *context;
    const char *trust_domain;
    const char *roots;
    struct settings settings;
    struct inject_result *out;
};

static bool nothing(struct inject_result *out, const char *why)
{
    out->outcome = INJECT_NOTHING;
    return err_set(&out->why, "%s", why);
}

static const char *text_or(const char *text, const char *otherwise)
{
    return text != NULL ? text : otherwise;
}

// Reads the pod's label. false: it has decided.
static bool check_label(const struct work *work)
{
    const json_t *label = json_object_get(
        json_object_get(json_object_get(work->pod, "metadata"), "labels"), INJECT_LABEL);
    const char *value = text_or(json_string_value(label), "");
    bool is_disabled = strcmp(value, INJECT_LABEL_DISABLED) == 0;
    if (work->context->is_namespace_unclear && !is_disabled) {
        return err_set(&work->out->why,
                       "label " INJECT_LABEL " of the namespace is neither \"" INJECT_LABEL_ENABLED
                       "\" nor \"" INJECT_LABEL_DISABLED "\"");
    }
    if (label == NULL || strcmp(value, INJECT_LABEL_ENABLED) == 0) {
        return true;
    }
    if (is_disabled) {
        return nothing(work->out, "its label " INJECT_LABEL " says \"" INJECT_LABEL_DISABLED "\"");
    }
    return err_set(&work->out->why,
                   "label " INJECT_LABEL ": \"%.63s\" is neither \"" INJECT_LABEL_ENABLED
                   "\" nor \"" INJECT_LABEL_DISABLED "\"",
                   value);
}

static void say_injected(const struct work *work)
{
    const char *status =
        json_string_value(json_object_get(work->annotations, INJECT_STATUS_ANNOTATION));
    json_t *parsed = json_loads(text_or(status, ""), 0, NULL);
    const char *version = json_string_value(json_object_get(parsed, "version"));
    work->out->outcome = INJECT_NOTHING;
    err_set(&work->out->why, "the sidecar is there already, put in by version %.40s",
            text_or(version, "unknown"));
    json_decref(parsed);
}

// A sidecar that ends last has what the application left of the grace period, so a longer drain
// would only be cut off. Unless the pod says otherwise, a part is left for the sidecar's own end.
static bool read_drain_seconds(const struct work *work, uint32_t *out, struct err *err)
{
    const json_t *given = json_object_get(work->spec, "terminationGracePeriodSeconds");
    json_int_t grace = json_is_integer(given) ? json_integer_value(given) : GRACE_SECONDS_DEFAULT;
    const char *wanted = work->settings.values[SETTING_DRAIN_SECONDS];
    if (wanted != NULL && atoll(wanted) >= grace) {
        err_set(err,
                "%s s are not less than the pod's terminationGracePeriodSeconds, %lld, after which "
                "everything in it is killed",
                wanted, (long long)grace);
        return settings_refuse(SETTING_DRAIN_SECONDS, err);
    }
    if (wanted != NULL) {
        *out = (uint32_t)atoll(wanted);
        return true;
    }
    json_int_t rest = (grace + 4) / 5 < GRACE_SECONDS_LEFT ? (grace + 4) / 5 : GRACE_SECONDS_LEFT;
    json_int_t drain = grace - rest;
    drain = drain < CONTRACT_DRAIN_SECONDS_DEFAULT ? drain : CONTRACT_DRAIN_SECONDS_DEFAULT;
    *out = drain < 1 ? 1 : (uint32_t)drain;
    return true;
}

static bool check_certificate_volume(const struct work *work, struct err *err)
{
    const char *wanted = work->settings.values[SETTING_CERTIFICATE_VOLUME];
    const json_t *volume = NULL;
    size_t i = 0;
    if (wanted == NULL) {
        return true;
    }
    if (work->settings.values[SETTING_KEY] != NULL) {
        err_set(err, "certificate-volume has the certificate, and no other is asked for: leave "
                     "out one of both");
        return settings_refuse(SETTING_KEY, err);
    }
    json_array_foreach(json_object_get(work->spec, "volumes"), i, volume)
    {
        const char *name = json_string_value(json_object_get(volume, "name"));
        if (name != NULL && strcmp(name, wanted) == 0) {
            return true;
        }
    }
    err_set(err, "the pod has no volume \"%s\" in spec.volumes", wanted);
    return settings_refuse(SETTING_CERTIFICATE_VOLUME, err);
}

// Whether a part is a list or an object of the type that an addition to it needs. A part that is
// null is replaced as if it weren't there.
static bool has_part(const json_t *parent, const char *key)
{
    const json_t *part = json_object_get(parent, key);
    return part != NULL && !json_is_null(part);
}

static void add_annotation(const struct work *work, const char *name, json_t *value)
{
    char *escaped = json_patch_escape(name);
    json_patch_add(work->out->patch, value, "/metadata/annotations/%s", escaped);
    free(escaped);
}

static bool has_prometheus_annotation(const json_t *annotations)
{
    static const char prefix[] = "prometheus.io/";
    void *at = NULL;
    for (at = json_object_iter((json_t *)annotations); at != NULL;
         at = json_object_iter_next((json_t *)annotations, at)) {
        if (strncmp(json_object_iter_key(at), prefix, sizeof prefix - 1) == 0) {
            return true;
        }
    }
    return false;
}

static json_t *status_json(const struct work *work)
{
    json_t *status = must_have(
        json_pack("{s:s, s:s, s:[s, s], s:[s, s]}", "version", TABARD_VERSION, "image",
                  work->config->image, "initContainers", INJECT_INIT_CONTAINER,
                  INJECT_SIDECAR_CONTAINER, "volumes", POD_RUN_VOLUME, POD_CONFIG_VOLUME));
    char *text = must_have(json_dumps(status, JSON_COMPACT));
    json_t *value = must_have(json_string(text));
    free(text);
    json_decref(status);
    return value;
}

static void add_annotations(const struct work *work, const struct sidecar_plan *plan)
{
    const json_t *first = json_array_get(json_object_get(work->spec, "containers"), 0);
    if (!has_part(work->pod, "metadata")) {
        json_patch_add(work->out->patch, json_object(), "/metadata");
    }
    if (work->annotations == NULL) {
        json_patch_add(work->out->patch, json_object(), "/metadata/annotations");
    }
    char *mesh_yaml = sidecar_mesh_yaml(plan);
    add_annotation(work, "tabard.dev/mesh.yaml", json_string(mesh_yaml));
    free(mesh_yaml);
    if (json_array_size(plan->probes) > 0) {
        char *probes_yaml = sidecar_probes_yaml(plan);
        add_annotation(work, "tabard.dev/probes.yaml", json_string(probes_yaml));
        free(probes_yaml);
    }
    add_annotation(work, "tabard.dev/roots.pem", json_string(work->roots));
    add_annotation(work, INJECT_STATUS_ANNOTATION, status_json(work));
    if (json_object_get(work->annotations, CONTAINER_ANNOTATION) == NULL) {
        add_annotation(work, CONTAINER_ANNOTATION, json_incref(json_object_get(first, "name")));
    }
    if (!has_prometheus_annotation(work->annotations)) {
        add_annotation(work, "prometheus.io/scrape", json_string("true"));
        add_annotation(work, "prometheus.io/port", json_string(CONTRACT_METRICS_PORT_TEXT));
        add_annotation(work, "prometheus.io/path", json_string("/metrics"));
    }
}

static void add_parts(const struct work *work, const struct sidecar_plan *plan)
{
    if (!has_part(work->spec, "volumes")) {
        json_patch_add(work->out->patch, json_array(), "/spec/volumes");
    }
    json_patch_add(work->out->patch, sidecar_run_volume(), "/spec/volumes/-");
    json_patch_add(work->out->patch, sidecar_config_volume(plan), "/spec/volumes/-");
    if (!has_part(work->spec, "initContainers")) {
        json_patch_add(work->out->patch, json_array(), "/spec/initContainers");
    }
    json_patch_add(work->out->patch, sidecar_init_container(plan), "/spec/initContainers/0");
    json_patch_add(work->out->patch, sidecar_container(plan), "/spec/initContainers/1");
}

// Whether the application's probes are to become pages of the sidecar's.
static bool wants_probes(const struct work *work)
{
    const char *wanted = work->settings.values[SETTING_REWRITE_PROBES];
    return wanted == NULL || strcmp(wanted, "true") == 0;
}

// Makes the patch of a pod that passed the checks.
static bool make_patch(struct work *work)
{
    struct err *err = &work->out->why;
    char identity[SETTINGS_LIST_MAX];
    struct sidecar_plan plan = {.config = work->config,
                                .settings = &work->settings,
                                .policy_agent_identity = work->config->policy_agent_identity};
    if (plan.policy_agent_identity[0] == '\0') {
        snprintf(identity, sizeof identity, "spiffe://%.255s/tabard/policyd", work->trust_domain);
        plan.policy_agent_identity = identity;
    }
    json_t *patch = must_have(json_array());
    json_t *probes = must_have(json_array());
    json_t *resources = settings_resources(&work->settings, work->config, err);
    json_t *inbound_ports = resources == NULL ? NULL : settings_inbound_ports(&work->settings, err);
    plan.resources = resources;
    plan.inbound_ports = inbound_ports;
    plan.probes = probes;
    bool good = inbound_ports != NULL && check_certificate_volume(work, err) &&
                read_drain_seconds(work, &plan.drain_seconds, err) &&
                (!wants_probes(work) || app_probes_rewrite(patch, probes, work->pod, err));
    if (good) {
        work->out->outcome = INJECT_PATCHED;
        work->out->patch = json_incref(patch);
        add_annotations(work, &plan);
        add_parts(work, &plan);
        pod_warn(work->out->warnings, work->pod);
    }
    json_decref(patch);
    json_decref(probes);
    json_decref(resources);
    json_decref(inbound_ports);
    return good;
}

static bool check_trust(struct work *work)
{
    work->trust_domain = text_or(work->context->trust_domain, work->config->trust_domain);
    work->roots = text_or(work->context->roots, work->config->roots);
    if (work->trust_domain[0] == '\0' && work->config->policy_agent_identity[0] == '\0') {
        return err_set(&work->out->why, "the mesh's trust domain is not known: the configuration "
                                        "of injection has no trust_domain");
    }
    return work->roots[0] != '\0' ||
           err_set(&work->out->why, "the certificates that prove the policy agent are not known: "
                                    "the configuration of injection has no roots");
}

void inject_pod(struct inject_result *out, const json_t *pod, const struct inject_context *context,
                const Tabard__V1__InjectConfig *config)
{
    *out = (struct inject_result){.outcome = INJECT_REFUSED, .warnings = must_have(json_array())};
    struct work work = {.pod = pod, .config = config, .context = context, .out = out};
    if (!pod_check_form(pod, &out->why)) {
        return;
    }
    work.spec = json_object_get(pod, "spec");
    work.annotations = json_object_get(json_object_get(pod, "metadata"), "annotations");
    work.annotations = json_is_object(work.annotations) ? work.annotations : NULL;
    if (json_object_get(work.annotations, MIRROR_ANNOTATION) != NULL) {
        nothing(out, "it is the image of a static pod, which runs already");
        return;
    }
    if (!check_label(&work) || !pod_check_bypass(pod, config->proxy_uid, &out->why)) {
        return;
    }
    if (pod_is_injected(pod)) {
        say_injected(&work);
        return;
    }
    if (pod_check_names(pod, &out->why) && check_trust(&work) &&
        settings_read(&work.settings, work.annotations, &out->why)) {
        make_patch(&work);
    }
}

void inject_result_cleanup(struct inject_result *result)
{
    json_decref(result->patch);
    json_decref(result->warnings);
    *result = (struct inject_result){.outcome = INJECT_REFUSED};
}
