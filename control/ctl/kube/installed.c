// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/kube/installed.h"

#include <stdbool.h>
#include <string.h>

#include "base/version.h"
#include "control/ctl/kube/definitions.h"

#define VERSION_LABEL         "app.kubernetes.io/version"
#define DEFINITION_ANNOTATION "tabard.dev/definition"

// Follows names through objects; NULL where one is missing.
#define at(object, ...) at_path(object, (const char *const[]){__VA_ARGS__, NULL})

static const json_t *at_path(const json_t *object, const char *const *names)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        object = json_object_get(object, names[i]);
    }
    return object;
}

static const char *text_of(const json_t *value)
{
    const char *text = json_string_value(value);
    return text != NULL ? text : "";
}

static const json_t *named(const json_t *list, const char *name)
{
    size_t i = 0;
    const json_t *item = NULL;
    json_array_foreach(json_object_get(list, "items"), i, item)
    {
        if (strcmp(text_of(at(item, "metadata", "name")), name) == 0) {
            return item;
        }
    }
    return NULL;
}

void installed_check_definitions(struct findings *findings, const json_t *definitions)
{
    static const struct {
        const char *name;
        const char *mark;
    } ours[] = {
#define X(name, mark) {name, mark},
        DEFINITIONS(X)
#undef X
    };
    struct findings_names missing = {0};
    struct findings_names other = {0};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        const json_t *found = named(definitions, ours[i].name);
        if (found == NULL) {
            findings_name(&missing, NULL, ours[i].name);
        } else if (strcmp(text_of(at(found, "metadata", "annotations", DEFINITION_ANNOTATION)),
                          ours[i].mark) != 0) {
            findings_name(&other, NULL, ours[i].name);
        }
    }
    if (missing.num > 0) {
        findings_fault(findings,
                       "the definitions %s are missing: install the chart with crds.install=true",
                       findings_names_text(&missing));
    }
    if (other.num > 0) {
        findings_warn(findings,
                      "the definitions %s are of another version than this tabardctl %s: upgrade "
                      "the chart, or take the "
                      "tabardctl of the mesh's version",
                      findings_names_text(&other), TABARD_VERSION);
    }
    if (missing.num + other.num == 0) {
        findings_good(findings, "the definitions of MeshPolicy, MeshDestination and MeshSettings "
                                "are those of this version");
    }
}

void installed_check_settings(struct findings *findings, const json_t *settings)
{
    const char *trust_domain = text_of(at(settings, "spec", "trustDomain"));
    const char *mode = text_of(at(settings, "spec", "mode"));
    if (*trust_domain == '\0') {
        findings_fault(findings, "there is no MeshSettings `default`, and policyd admits nobody "
                                 "without it: create it, with the "
                                 "trust domain that the mesh had");
    } else if (strcmp(mode, "enforce") == 0) {
        findings_good(findings, "the mesh of trust domain %s enforces its policies", trust_domain);
    } else {
        findings_warn(findings,
                      "the mesh of trust domain %s observes, and denies nothing for policy's sake: "
                      "once its audit shows nothing "
                      "that surprises, kubectl patch meshsettings default --type=merge -p "
                      "'{\"spec\":{\"mode\":\"enforce\"}}'",
                      trust_domain);
    }
}

const char *installed_version(const json_t *deployment)
{
    return text_of(at(deployment, "metadata", "labels", VERSION_LABEL));
}

const char *installed_image(const json_t *deployment)
{
    const json_t *containers = at(deployment, "spec", "template", "spec", "containers");
    return text_of(at(json_array_get(containers, 0), "image"));
}

// Says why a pod does not serve: what its container waits for or ended with, or else its phase.
static const char *trouble_of(const json_t *pod)
{
    const json_t *container = json_array_get(at(pod, "status", "containerStatuses"), 0);
    const char *reason = text_of(at(container, "state", "waiting", "reason"));
    if (*reason == '\0') {
        reason = text_of(at(container, "state", "terminated", "reason"));
    }
    size_t i = 0;
    const json_t *condition = NULL;
    json_array_foreach(at(pod, "status", "conditions"), i, condition)
    {
        bool is_unscheduled = strcmp(text_of(at(condition, "type")), "PodScheduled") == 0 &&
                              strcmp(text_of(at(condition, "status")), "False") == 0;
        if (*reason == '\0' && is_unscheduled) {
            reason = text_of(at(condition, "message"));
        }
    }
    return *reason != '\0' ? reason : "it runs and is not ready";
}

static bool is_ready(const json_t *pod)
{
    return json_is_true(at(json_array_get(at(pod, "status", "containerStatuses"), 0), "ready"));
}

void installed_check_policyd(struct findings *findings, const json_t *deployment,
                             const json_t *pods)
{
    json_int_t wanted = json_integer_value(at(deployment, "spec", "replicas"));
    json_int_t ready = json_integer_value(at(deployment, "status", "readyReplicas"));
    json_int_t updated = json_integer_value(at(deployment, "status", "updatedReplicas"));
    const char *namespace = text_of(at(deployment, "metadata", "namespace"));
    const char *version = installed_version(deployment);
    size_t i = 0;
    const json_t *pod = NULL;
    json_array_foreach(json_object_get(pods, "items"), i, pod)
    {
        if (ready < wanted && !is_ready(pod)) {
            (ready == 0 ? findings_fault : findings_warn)(
                findings, "policyd's pod %s does not serve: %s; kubectl -n %s logs %s",
                text_of(at(pod, "metadata", "name")), trouble_of(pod), namespace,
                text_of(at(pod, "metadata", "name")));
        }
    }
    if (wanted == 0) {
        findings_fault(
            findings,
            "policyd has no replicas: kubectl -n %s scale deployment/tabard-policyd --replicas=2",
            namespace);
    } else if (ready == 0) {
        findings_fault(findings,
                       "none of %d policyd serves: no pod of the mesh can start, and sidecars keep "
                       "what they had",
                       (int)wanted);
    } else if (ready < wanted || updated < wanted) {
        findings_warn(findings,
                      "%d of %d policyd serve, %d of the newest: kubectl -n %s rollout status "
                      "deployment/tabard-policyd",
                      (int)ready, (int)wanted, (int)updated, namespace);
    } else {
        findings_good(findings, "%d of %d policyd serve", (int)ready, (int)wanted);
    }
    if (strcmp(version, TABARD_VERSION) == 0) {
        findings_good(findings, "policyd and this tabardctl are of version %s", version);
    } else {
        findings_warn(
            findings,
            "policyd is of version %s and this tabardctl of %s: take the one that goes with it",
            version, TABARD_VERSION);
    }
}

void installed_check_webhook(struct findings *findings, const json_t *configuration,
                             const char *namespace)
{
    const json_t *webhook = json_array_get(json_object_get(configuration, "webhooks"), 0);
    if (webhook == NULL) {
        findings_fault(findings, "there is no MutatingWebhookConfiguration `tabard`: no pod gets a "
                                 "sidecar; upgrade the chart");
        return;
    }
    const char *service = text_of(at(webhook, "clientConfig", "service", "namespace"));
    if (strcmp(service, namespace) != 0) {
        findings_fault(findings,
                       "the webhook calls a policyd in the namespace %s, not in %s: a cluster has "
                       "one mesh; which one is meant?",
                       service, namespace);
    }
    if (*text_of(at(webhook, "clientConfig", "caBundle")) == '\0') {
        findings_fault(
            findings,
            "the webhook has no caBundle: policyd writes it when it serves; kubectl -n %s logs "
            "deployment/tabard-policyd",
            namespace);
    }
    if (strcmp(text_of(at(webhook, "failurePolicy")), "Fail") != 0) {
        findings_warn(findings,
                      "the webhook's failurePolicy is %s: a pod that starts while no policyd "
                      "answers is outside the mesh",
                      text_of(at(webhook, "failurePolicy")));
    }
}
