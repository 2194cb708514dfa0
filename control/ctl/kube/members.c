// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/kube/members.h"

#include <jansson.h>
#include <string.h>

#define NOBODY "0 of 0 " // what the condition InForce says where nobody is concerned

const char members_trial_pod[] =
    "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"tabardctl-check\"},\"spec\":{"
    "\"securityContext\":{\"runAsNonRoot\":true,\"runAsUser\":65534,\"seccompProfile\":{\"type\":"
    "\"RuntimeDefault\"}},"
    "\"containers\":[{\"name\":\"check\",\"image\":\"localhost/none:none\","
    "\"resources\":{\"requests\":{\"cpu\":\"1m\",\"memory\":\"1Mi\"},\"limits\":{\"cpu\":\"1m\","
    "\"memory\":\"1Mi\"}},"
    "\"securityContext\":{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"drop\":[\"ALL\"]}}"
    "}]}}";

bool members_next(char **text, char **fields, size_t num_fields)
{
    static char none[] = "";
    char *line = strsep(text, "\n");
    if (line == NULL || *line == '\0') {
        return false;
    }
    for (size_t i = 0; i < num_fields; i++) {
        char *field = strsep(&line, "\t");
        fields[i] = field != NULL ? field : none;
    }
    return true;
}

static bool has_line(const char *lines, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = lines; at != NULL && *at != '\0'; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, line, len) == 0 && (at[len] == '\n' || at[len] == '\0')) {
            return len > 0;
        }
    }
    return false;
}

static bool says(const json_t *status, const char *key, const char *wanted)
{
    const char *own = json_string_value(json_object_get(status, key));
    return own != NULL && strcmp(own, wanted) == 0;
}

// Whether an injected pod's status says another version or image than policyd's.
static bool is_behind(const char *status, const char *version, const char *image)
{
    json_t *parsed = json_loads(status, 0, NULL);
    bool is_same = says(parsed, "version", version) && says(parsed, "image", image);
    json_decref(parsed);
    return !is_same;
}

// Pods of one kind of trouble, in each of which they are listed.
struct troubles {
    struct findings_names outside; // no sidecar, in a namespace of the mesh
    struct findings_names behind;  // of another version or image
    struct findings_names unready;
    unsigned num_injected;
    unsigned num_out; // by label, or on the host's network
};

static void sort_pod(struct troubles *troubles, char **fields, const char *namespaces,
                     const char *version, const char *image)
{
    const char *namespace = fields[0];
    const char *name = fields[1];
    bool is_running = strcmp(fields[2], "Running") == 0;
    bool is_over = strcmp(fields[2], "Succeeded") == 0 || strcmp(fields[2], "Failed") == 0 ||
                   *fields[7] != '\0';
    bool is_out = strcmp(fields[3], "true") == 0 || strcmp(fields[4], "disabled") == 0;
    const char *status = fields[6];
    if (is_over) {
        return;
    }
    if (*status == '\0') {
        if (has_line(namespaces, namespace) && is_out) {
            troubles->num_out++;
        } else if (has_line(namespaces, namespace)) {
            findings_name(&troubles->outside, namespace, name);
        }
        return;
    }
    troubles->num_injected++;
    if (is_behind(status, version, image)) {
        findings_name(&troubles->behind, namespace, name);
    }
    if (is_running && strcmp(fields[5], "true") != 0) {
        findings_name(&troubles->unready, namespace, name);
    }
}

void members_check_pods(struct findings *findings, char *pods, const char *namespaces,
                        const char *version, const char *image)
{
    struct troubles troubles = {0};
    char *fields[8];
    while (members_next(&pods, fields, 8)) {
        sort_pod(&troubles, fields, namespaces, version, image);
    }
    if (troubles.outside.num > 0) {
        findings_warn(findings,
                      "%u pods of the mesh's namespaces have no sidecar: %s; kubectl rollout "
                      "restart their controllers",
                      troubles.outside.num, findings_names_text(&troubles.outside));
    }
    if (troubles.behind.num > 0) {
        findings_warn(findings,
                      "%u sidecars are not of policyd's version %s and image %s: %s; kubectl "
                      "rollout restart their controllers",
                      troubles.behind.num, version, image, findings_names_text(&troubles.behind));
    }
    if (troubles.unready.num > 0) {
        findings_fault(findings,
                       "%u sidecars are not ready: %s; kubectl logs POD -c tabard, and "
                       "/healthz/ready at its port 15021 say why",
                       troubles.unready.num, findings_names_text(&troubles.unready));
    }
    if (troubles.outside.num + troubles.behind.num + troubles.unready.num == 0) {
        findings_good(
            findings,
            "%u pods have a sidecar that is ready and of version %s; %u stand outside on purpose",
            troubles.num_injected, version, troubles.num_out);
    }
}

void members_check_labels(struct findings *findings, char *unclear)
{
    char *name = NULL;
    while (members_next(&unclear, &name, 1)) {
        findings_fault(findings,
                       "the label tabard.dev/inject of namespace %s is neither \"enabled\" nor "
                       "\"disabled\", so none of its pods can start: kubectl label namespace %s "
                       "tabard.dev/inject=enabled --overwrite",
                       name, name);
    }
}

void members_check_objects(struct findings *findings, char *objects)
{
    char *fields[7];
    unsigned num_good = 0;
    struct findings_names idle = {.num = 0};
    while (members_next(&objects, fields, 7)) {
        const char *kind = fields[0];
        if (strcmp(fields[3], "False") == 0) {
            findings_fault(findings, "%s %s/%s is not accepted: %s", kind, fields[1], fields[2],
                           fields[5]);
        } else if (*fields[3] == '\0') {
            findings_warn(findings, "%s %s/%s has no status: policyd has not seen it yet", kind,
                          fields[1], fields[2]);
        } else if (strcmp(fields[4], "False") == 0) {
            findings_warn(findings, "%s %s/%s is not in force everywhere: %s", kind, fields[1],
                          fields[2], fields[6]);
        } else {
            num_good++;
        }
        if (strncmp(fields[6], NOBODY, sizeof NOBODY - 1) == 0) {
            findings_name(&idle, fields[1], fields[2]);
        }
    }
    if (idle.num > 0) {
        findings_warn(findings,
                      "%u MeshPolicies and MeshDestinations concern no sidecar: %s; do they select "
                      "accounts and labels of pods that are in the mesh?",
                      idle.num, findings_names_text(&idle));
    }
    if (num_good > 0) {
        findings_good(findings, "%u MeshPolicies and MeshDestinations are accepted and in force",
                      num_good);
    }
}
