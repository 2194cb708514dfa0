// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/kube/kube_check.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/must.h"
#include "control/ctl/kube/cluster.h"
#include "control/ctl/kube/findings.h"
#include "control/ctl/kube/installed.h"
#include "control/ctl/kube/members.h"

struct check {
    struct findings findings;
    const struct kubectl *kubectl;
    const char *namespace;
};

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

// A fault in the name of what kubectl could not tell.
static void failed(struct check *check, const char *what, const struct err *err)
{
    char buf[sizeof(struct err)];
    findings_fault(&check->findings, "%s: %s", what, err_text(err, buf, sizeof buf));
}

static json_t *ask_json(struct check *check, const char *what, const char *const *words)
{
    struct err err = {{0}, {0}};
    json_t *value = kubectl_json(check->kubectl, words, NULL, &err);
    if (value == NULL) {
        failed(check, what, &err);
    }
    return value;
}

static char *ask_text(struct check *check, const char *what, const char *const *words,
                      const char *input)
{
    struct err err = {{0}, {0}};
    char *text = kubectl_text(check->kubectl, words, input, &err);
    if (text == NULL) {
        failed(check, what, &err);
    }
    return text;
}

// false: nothing else can be asked either.
static bool check_api_server(struct check *check)
{
    json_t *version = ask_json(check, "no API server can be asked", WORDS("version", "-o", "json"));
    if (version == NULL) {
        return false;
    }
    cluster_check_version(&check->findings, version);
    json_decref(version);
    return true;
}

static void check_clocks(struct check *check)
{
    time_t before = time(NULL);
    char *server =
        ask_text(check, "the API server's time is not known",
                 WORDS("auth", "whoami", "-o", "jsonpath={.metadata.creationTimestamp}"), NULL);
    time_t after = time(NULL);
    json_t *leases = server == NULL
                         ? NULL
                         : ask_json(check, "the leases of nodes can't be read",
                                    WORDS("get", "leases", "-n", "kube-node-lease", "-o", "json"));
    if (leases != NULL) {
        cluster_check_clocks(&check->findings, server, leases, before, after);
    }
    json_decref(leases);
    free(server);
}

static void check_rights(struct check *check)
{
    char *wanted = cluster_rights_wanted(check->namespace);
    char *answers = ask_text(
        check, "what you may do is not known",
        WORDS("create", "-f", "-", "-o",
              "jsonpath={.spec.resourceAttributes.resource}{\"\\t\"}{.status.allowed}{\"\\n\"}"),
        wanted);
    if (answers != NULL) {
        cluster_check_rights(&check->findings, answers);
    }
    free(answers);
    free(wanted);
}

static void check_definitions(struct check *check)
{
    json_t *definitions = ask_json(check, "the definitions can't be read",
                                   WORDS("get", "customresourcedefinitions", "-l",
                                         "app.kubernetes.io/part-of=tabard", "-o", "json"));
    if (definitions != NULL) {
        installed_check_definitions(&check->findings, definitions);
    }
    json_decref(definitions);
}

static void check_settings(struct check *check)
{
    json_t *settings = ask_json(
        check, "the MeshSettings can't be read",
        WORDS("get", "meshsettings.tabard.dev", "default", "--ignore-not-found", "-o", "json"));
    if (settings != NULL) {
        installed_check_settings(&check->findings, settings);
    }
    json_decref(settings);
}

static void check_policyd(struct check *check, const json_t *deployment)
{
    json_t *pods = ask_json(
        check, "policyd's pods can't be read",
        WORDS("get", "pods", "-n", check->namespace, "-l",
              "app.kubernetes.io/name=tabard,app.kubernetes.io/component=policyd", "-o", "json"));
    if (pods != NULL) {
        installed_check_policyd(&check->findings, deployment, pods);
    }
    json_decref(pods);
}

static void check_webhook(struct check *check)
{
    json_t *configuration = ask_json(check, "the webhook's configuration can't be read",
                                     WORDS("get", "mutatingwebhookconfigurations", "tabard",
                                           "--ignore-not-found", "-o", "json"));
    if (configuration != NULL) {
        installed_check_webhook(&check->findings, configuration, check->namespace);
    }
    json_decref(configuration);
}

// Makes a pod that the API server shows to the webhook and forgets. Returns whether it would have
// got a sidecar.
static bool try_namespace(struct check *check, const char *namespace)
{
    struct err err = {{0}, {0}};
    char *status = kubectl_text(check->kubectl,
                                WORDS("create", "--dry-run=server", "-n", namespace, "-f", "-",
                                      "-o", "jsonpath={.metadata.annotations.tabard\\.dev/status}"),
                                members_trial_pod, &err);
    bool is_injected = status != NULL && *status != '\0';
    if (status == NULL) {
        char what[200];
        snprintf(what, sizeof what, "no pod can be made in %s", namespace);
        failed(check, what, &err);
    } else if (!is_injected) {
        findings_fault(&check->findings,
                       "a pod made in %s gets no sidecar, although the namespace has the label: "
                       "the webhook's configuration "
                       "leaves it out",
                       namespace);
    }
    free(status);
    return is_injected;
}

static void try_namespaces(struct check *check, const char *namespaces)
{
    char *copy = must_strdup(namespaces);
    char *rest = copy;
    char *name = NULL;
    unsigned num = 0;
    unsigned num_good = 0;
    while (num < KUBE_CHECK_TRIALS_MAX && members_next(&rest, &name, 1)) {
        num++;
        num_good += try_namespace(check, name);
    }
    if (num == 0) {
        findings_warn(&check->findings, "no namespace is in the mesh, so the webhook could not be "
                                        "tried: kubectl label namespace "
                                        "NAMESPACE tabard.dev/inject=enabled");
    } else if (num_good == num) {
        findings_good(&check->findings,
                      "the webhook answers: a pod made in each of %u namespaces gets a sidecar "
                      "(tried, not kept)",
                      num);
    }
    free(copy);
}

static void check_labels(struct check *check)
{
    char *unclear = ask_text(check, "namespaces can't be read",
                             WORDS("get", "namespaces", "-l",
                                   "tabard.dev/inject,tabard.dev/inject notin (enabled,disabled)",
                                   "-o", MEMBERS_NAMESPACES_TEMPLATE),
                             NULL);
    if (unclear != NULL) {
        members_check_labels(&check->findings, unclear);
    }
    free(unclear);
}

static void check_members(struct check *check, const json_t *deployment)
{
    check_labels(check);
    char *namespaces = ask_text(check, "namespaces can't be read",
                                WORDS("get", "namespaces", "-l", "tabard.dev/inject=enabled", "-o",
                                      MEMBERS_NAMESPACES_TEMPLATE),
                                NULL);
    if (namespaces == NULL) {
        return;
    }
    try_namespaces(check, namespaces);
    char *pods = ask_text(check, "pods can't be read",
                          WORDS("get", "pods", "-A", "-o", MEMBERS_PODS_TEMPLATE), NULL);
    if (pods != NULL) {
        members_check_pods(&check->findings, pods, namespaces, installed_version(deployment),
                           installed_image(deployment));
    }
    char *objects = ask_text(check, "policies can't be read",
                             WORDS("get", "meshpolicies.tabard.dev,meshdestinations.tabard.dev",
                                   "-A", "-o", MEMBERS_OBJECTS_TEMPLATE),
                             NULL);
    if (objects != NULL) {
        members_check_objects(&check->findings, objects);
    }
    free(objects);
    free(pods);
    free(namespaces);
}

static void check_installed(struct check *check, const json_t *deployment)
{
    check_definitions(check);
    check_settings(check);
    check_policyd(check, deployment);
    check_webhook(check);
    check_members(check, deployment);
}

bool kube_check(FILE *out, const struct kubectl *kubectl, const char *namespace)
{
    struct check check = {.findings = {.out = out}, .kubectl = kubectl, .namespace = namespace};
    if (!check_api_server(&check)) {
        return false;
    }
    check_clocks(&check);
    json_t *deployment = ask_json(&check, "the Deployment of policyd can't be read",
                                  WORDS("get", "deployment", "tabard-policyd", "-n", namespace,
                                        "--ignore-not-found", "-o", "json"));
    if (json_is_object(deployment)) {
        check_installed(&check, deployment);
    } else if (deployment != NULL) {
        check_rights(&check);
        fprintf(
            out,
            "Tabard is not in the namespace %s: this is what was looked at before an install.\n",
            namespace);
    }
    json_decref(deployment);
    const struct findings *found = &check.findings;
    fprintf(out, "%u good, %u to look at, %u wrong\n", found->num_good, found->num_warnings,
            found->num_faults);
    return found->num_faults == 0;
}
