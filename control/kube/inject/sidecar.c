// SPDX-License-Identifier: Apache-2.0
#include "control/kube/inject/sidecar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/kube/inject/inject.h"
#include "control/kube/inject/pod_check.h"
#include "proto/contract.h"

#define CONFIG_FOLDER      "/etc/tabard"
#define CERTIFICATE_FOLDER "/etc/tabard-certificate"
#define TOKEN_FOLDER       "/var/run/secrets/kubernetes.io/serviceaccount"
#define RUN_BYTES_MAX      "64Mi" // the state that policyd sent, and sockets
#define STARTUP_S_MAX      600    // before Kubernetes starts the sidecar anew

static void set(json_t *object, const char *key, json_t *value)
{
    must_have(json_object_set_new(object, key, must_have(value)) == 0 ? object : NULL);
}

static void append(json_t *array, json_t *value)
{
    must_have(json_array_append_new(array, must_have(value)) == 0 ? array : NULL);
}

static void append_text(json_t *array, const char *text)
{
    append(array, json_string(text));
}

static void append_flag(json_t *array, const char *flag, const char *value)
{
    append_text(array, flag);
    append_text(array, value);
}

// What both containers have in common: the image, the resources, and no token of Kubernetes' API.
// The plugin that mounts one leaves a container alone where something is mounted already.
static json_t *container_new(const struct sidecar_plan *plan, const char *name)
{
    json_t *container = must_have(
        json_pack("{s:s, s:s, s:O, s:s, s:[{s:s, s:s, s:s, s:b}]}", "name", name, "image",
                  plan->config->image, "resources", plan->resources, "terminationMessagePolicy",
                  "FallbackToLogsOnError", "volumeMounts", "name", POD_RUN_VOLUME, "mountPath",
                  TOKEN_FOLDER, "subPath", "no-token", "readOnly", 1));
    if (plan->config->image_pull_policy[0] != '\0') {
        set(container, "imagePullPolicy", json_string(plan->config->image_pull_policy));
    }
    return container;
}

json_t *sidecar_init_container(const struct sidecar_plan *plan)
{
    json_t *container = container_new(plan, INJECT_INIT_CONTAINER);
    json_t *command =
        must_have(json_pack("[s, s, s, s]", "/usr/bin/tabardctl", "intercept", "up", "--verify"));
    char flag[64];
    snprintf(flag, sizeof flag, "%u", plan->config->proxy_uid);
    append_flag(command, "--proxy-uid", flag);
    for (size_t i = 0; i < SETTINGS_NUM; i++) {
        if (settings_rows[i].is_intercept && plan->settings->values[i] != NULL) {
            snprintf(flag, sizeof flag, "--%s", settings_rows[i].name);
            append_flag(command, flag, plan->settings->values[i]);
        }
    }
    set(container, "command", command);
    set(container, "securityContext",
        json_pack("{s:{s:[s], s:[s]}, s:i, s:i, s:b, s:b, s:b, s:b, s:{s:s}}", "capabilities",
                  "drop", "ALL", "add", "NET_ADMIN", "runAsUser", 0, "runAsGroup", 0,
                  "runAsNonRoot", 0, "privileged", 0, "allowPrivilegeEscalation", 0,
                  "readOnlyRootFilesystem", 1, "seccompProfile", "type", "RuntimeDefault"));
    return container;
}

static json_t *probe(const char *path, int period_s, int failures_max)
{
    return must_have(json_pack("{s:{s:s, s:i}, s:i, s:i, s:i}", "httpGet", "path", path, "port",
                               CONTRACT_HEALTH_PORT, "periodSeconds", period_s, "timeoutSeconds", 3,
                               "failureThreshold", failures_max));
}

static json_t *agent_args(const struct sidecar_plan *plan)
{
    char workers[16];
    const char *given = plan->settings->values[SETTING_WORKERS];
    const char *level = plan->settings->values[SETTING_LOG_LEVEL];
    json_t *args = must_have(json_pack("[s, s]", "--config", CONFIG_FOLDER "/mesh.yaml"));
    snprintf(workers, sizeof workers, "%u", plan->config->workers);
    append_flag(args, "--workers", given == NULL ? workers : given);
    append_flag(args, "--log-level", level == NULL ? plan->config->log_level : level);
    if (json_array_size(plan->probes) > 0) {
        append_flag(args, "--probes", CONFIG_FOLDER "/probes.yaml");
    }
    return args;
}

static json_t *mount(const char *volume, const char *path, const char *sub_path, bool is_read_only)
{
    json_t *result = must_have(json_pack("{s:s, s:s}", "name", volume, "mountPath", path));
    if (sub_path != NULL) {
        set(result, "subPath", json_string(sub_path));
    }
    if (is_read_only) {
        set(result, "readOnly", json_true());
    }
    return result;
}

json_t *sidecar_container(const struct sidecar_plan *plan)
{
    json_t *container = container_new(plan, INJECT_SIDECAR_CONTAINER);
    json_t *mounts = json_object_get(container, "volumeMounts");
    const char *certificate = plan->settings->values[SETTING_CERTIFICATE_VOLUME];
    append(mounts, mount(POD_RUN_VOLUME, "/run/tabard", "run", false));
    append(mounts, mount(POD_RUN_VOLUME, "/var/lib/tabard", "state", false));
    append(mounts, mount(POD_CONFIG_VOLUME, CONFIG_FOLDER, NULL, true));
    if (certificate != NULL) {
        append(mounts, mount(certificate, CERTIFICATE_FOLDER, NULL, true));
    }
    set(container, "restartPolicy", json_string("Always"));
    set(container, "command", json_pack("[s]", "/usr/bin/tabard-agent"));
    set(container, "args", agent_args(plan));
    set(container, "ports",
        json_pack("[{s:s, s:i, s:s}, {s:s, s:i, s:s}]", "name", "tabard-metrics", "containerPort",
                  CONTRACT_METRICS_PORT, "protocol", "TCP", "name", "tabard-health",
                  "containerPort", CONTRACT_HEALTH_PORT, "protocol", "TCP"));
    set(container, "startupProbe", probe("/healthz/ready", 1, STARTUP_S_MAX));
    set(container, "readinessProbe", probe("/healthz/ready", 5, 3));
    set(container, "livenessProbe", probe("/healthz/live", 10, 3));
    set(container, "securityContext",
        json_pack("{s:{s:[s]}, s:I, s:I, s:b, s:b, s:b, s:b, s:{s:s}}", "capabilities", "drop",
                  "ALL", "runAsUser", (json_int_t)plan->config->proxy_uid, "runAsGroup",
                  (json_int_t)plan->config->proxy_uid, "runAsNonRoot", 1, "privileged", 0,
                  "allowPrivilegeEscalation", 0, "readOnlyRootFilesystem", 1, "seccompProfile",
                  "type", "RuntimeDefault"));
    return container;
}

json_t *sidecar_run_volume(void)
{
    return must_have(json_pack("{s:s, s:{s:s, s:s}}", "name", POD_RUN_VOLUME, "emptyDir", "medium",
                               "Memory", "sizeLimit", RUN_BYTES_MAX));
}

static json_t *annotation_item(const char *name)
{
    char field[64];
    snprintf(field, sizeof field, "metadata.annotations['tabard.dev/%s']", name);
    return must_have(json_pack("{s:s, s:{s:s}}", "path", name, "fieldRef", "fieldPath", field));
}

json_t *sidecar_config_volume(const struct sidecar_plan *plan)
{
    json_t *items = must_have(json_array());
    append(items, annotation_item("mesh.yaml"));
    append(items, annotation_item("roots.pem"));
    if (json_array_size(plan->probes) > 0) {
        append(items, annotation_item("probes.yaml"));
    }
    return must_have(json_pack("{s:s, s:{s:[{s:{s:s, s:I, s:s}}, {s:{s:o}}]}}", "name",
                               POD_CONFIG_VOLUME, "projected", "sources", "serviceAccountToken",
                               "audience", plan->config->token_audience, "expirationSeconds",
                               (json_int_t)plan->config->token_seconds, "path", "token",
                               "downwardAPI", "items", items));
}

// The kind of key that the sidecar asks for, as mesh.yaml names it; NULL: it says nothing of it.
static const char *key_of(const struct sidecar_plan *plan)
{
    const char *given = plan->settings->values[SETTING_KEY];
    const ProtobufCEnumValue *key = protobuf_c_enum_descriptor_get_value(
        &tabard__v1__mesh_config__policy_agent_access__key__descriptor, (int)plan->config->key);
    return given != NULL ? given : plan->config->key != 0 && key != NULL ? key->name : NULL;
}

char *sidecar_mesh_yaml(const struct sidecar_plan *plan)
{
    const char *key = key_of(plan);
    json_t *access = must_have(json_pack(
        "{s:s, s:s, s:s, s:s}", "address", plan->config->policy_agent, "identity",
        plan->policy_agent_identity, "roots", "roots.pem", "service_account_token", "token"));
    json_t *mesh =
        must_have(json_pack("{s:o, s:{s:{}, s:I}}", "policy_agent", access, "settings",
                            "interception", "drain_seconds", (json_int_t)plan->drain_seconds));
    if (plan->settings->values[SETTING_CERTIFICATE_VOLUME] != NULL) {
        // The certificate admits the sidecar; a token would ask for another one.
        set(access, "keep_identity", json_true());
        json_object_del(access, "service_account_token");
        set(mesh, "identity",
            json_pack("{s:s, s:s}", "certificate", CERTIFICATE_FOLDER "/tls.crt", "key",
                      CERTIFICATE_FOLDER "/tls.key"));
    } else if (key != NULL) {
        set(access, "key", json_string(key));
    }
    if (json_array_size(plan->inbound_ports) > 0) {
        set(mesh, "inbound_ports", json_deep_copy(plan->inbound_ports));
    }
    char *text = must_have(json_dumps(mesh, JSON_INDENT(1)));
    json_decref(mesh);
    return text;
}

char *sidecar_probes_yaml(const struct sidecar_plan *plan)
{
    json_t *probes = must_have(json_pack("{s:O}", "probes", plan->probes));
    char *text = must_have(json_dumps(probes, JSON_INDENT(1)));
    json_decref(probes);
    return text;
}
