// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // strptime, timegm
#include "control/ctl/kube/cluster.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

#define LEASE_RENEWAL_S 10

// What the chart makes, by API group; that of the namespace itself is "create namespaces" too.
static const struct right {
    const char *group;
    const char *resource;
    bool is_of_namespace;
} rights[] = {
    {"", "namespaces", false},
    {"apiextensions.k8s.io", "customresourcedefinitions", false},
    {"rbac.authorization.k8s.io", "clusterroles", false},
    {"rbac.authorization.k8s.io", "clusterrolebindings", false},
    {"admissionregistration.k8s.io", "mutatingwebhookconfigurations", false},
    {"rbac.authorization.k8s.io", "roles", true},
    {"rbac.authorization.k8s.io", "rolebindings", true},
    {"", "serviceaccounts", true},
    {"", "services", true},
    {"", "configmaps", true},
    {"apps", "deployments", true},
    {"policy", "poddisruptionbudgets", true},
    {"networking.k8s.io", "networkpolicies", true},
    // What policyd may do must be the installer's to give.
    {"authentication.k8s.io", "tokenreviews", false},
    {"", "secrets", true},
};

#define NUM_RIGHTS (sizeof rights / sizeof rights[0])

static const char *text_at(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

void cluster_check_version(struct findings *findings, const json_t *version)
{
    const json_t *server = json_object_get(version, "serverVersion");
    const char *git = text_at(server, "gitVersion");
    unsigned long major = strtoul(text_at(server, "major"), NULL, 10);
    unsigned long minor = strtoul(text_at(server, "minor"), NULL, 10); // "29+" in some clouds
    if (major == 0) {
        findings_fault(findings,
                       "the API server's version is not known: kubectl version says none");
    } else if (major == 1 && minor < CLUSTER_MINOR_MIN) {
        findings_fault(findings,
                       "the API server is of Kubernetes %s: sidecars are native ones, which need "
                       "1.%d or newer; upgrade the "
                       "cluster",
                       git, CLUSTER_MINOR_MIN);
    } else {
        findings_good(findings, "the API server is of Kubernetes %s (1.%d or newer is needed)", git,
                      CLUSTER_MINOR_MIN);
    }
}

time_t cluster_time(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest == NULL) {
        return -1;
    }
    if (*rest == '.') {
        rest += 1 + strspn(rest + 1, "0123456789");
    }
    return strcmp(rest, "Z") == 0 ? timegm(&tm) : -1;
}

// The seconds by which `at` lies outside of the time from `first` to `last`; negative: before it.
static long outside(time_t at, time_t first, time_t last)
{
    return (long)(at < first ? at - first : at > last ? at - last : 0);
}

// Judges the nodes by the API server's clock. Returns how many agree.
static unsigned check_leases(struct findings *findings, const json_t *leases, time_t now)
{
    unsigned num_good = 0;
    size_t i = 0;
    const json_t *lease = NULL;
    json_array_foreach(json_object_get(leases, "items"), i, lease)
    {
        const char *name = text_at(json_object_get(lease, "metadata"), "name");
        time_t renewed = cluster_time(text_at(json_object_get(lease, "spec"), "renewTime"));
        long off = outside(renewed, now - LEASE_RENEWAL_S, now);
        if (off > CLUSTER_SKEW_S_MAX) {
            findings_warn(findings,
                          "the clock of node %s is %ld s ahead of the API server's: certificates "
                          "of its pods would not be "
                          "valid yet elsewhere; set it by NTP",
                          name, off);
        } else if (renewed < 0 || off < -2 * CLUSTER_SKEW_S_MAX) {
            findings_warn(findings,
                          "node %s has not renewed its lease for a while: it is down, or its clock "
                          "is late; kubectl describe "
                          "node %s",
                          name, name);
        } else {
            num_good++;
        }
    }
    return num_good;
}

void cluster_check_clocks(struct findings *findings, const char *server_time, const json_t *leases,
                          time_t before, time_t after)
{
    time_t server = cluster_time(server_time);
    if (server < 0) {
        findings_warn(findings, "the API server's time is not known: it says \"%.40s\"",
                      server_time);
        return;
    }
    long off = outside(server, before - 1, after);
    unsigned num_nodes = check_leases(findings, leases, server);
    if (labs(off) > CLUSTER_SKEW_S_MAX) {
        findings_warn(findings,
                      "the API server's clock is %ld s %s this machine's; set both by NTP",
                      labs(off), off > 0 ? "ahead of" : "behind");
    } else {
        findings_good(
            findings,
            "the clocks of this machine, of the API server and of %u %s agree within %d s",
            num_nodes, num_nodes == 1 ? "node" : "nodes", CLUSTER_SKEW_S_MAX);
    }
}

char *cluster_rights_wanted(const char *namespace)
{
    json_t *items = must_have(json_array());
    for (size_t i = 0; i < NUM_RIGHTS; i++) {
        json_t *attributes = must_have(json_pack("{s:s, s:s, s:s}", "verb", "create", "group",
                                                 rights[i].group, "resource", rights[i].resource));
        if (rights[i].is_of_namespace) {
            json_object_set_new(attributes, "namespace", must_have(json_string(namespace)));
        }
        json_array_append_new(
            items, must_have(json_pack("{s:s, s:s, s:{s:o}}", "apiVersion",
                                       "authorization.k8s.io/v1", "kind", "SelfSubjectAccessReview",
                                       "spec", "resourceAttributes", attributes)));
    }
    json_t *list =
        must_have(json_pack("{s:s, s:s, s:o}", "apiVersion", "v1", "kind", "List", "items", items));
    char *text = must_have(json_dumps(list, JSON_COMPACT));
    json_decref(list);
    return text;
}

static bool is_allowed(const char *answers, const char *resource)
{
    size_t len = strlen(resource);
    for (const char *at = answers; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, resource, len) == 0 && strncmp(at + len, "\ttrue\n", 6) == 0) {
            return true;
        }
    }
    return false;
}

void cluster_check_rights(struct findings *findings, const char *answers)
{
    struct findings_names missing = {0};
    for (size_t i = 0; i < NUM_RIGHTS; i++) {
        if (!is_allowed(answers, rights[i].resource)) {
            findings_name(&missing, NULL, rights[i].resource);
        }
    }
    if (missing.num > 0) {
        findings_fault(findings,
                       "you may not create %s: let an administrator of the cluster install",
                       findings_names_text(&missing));
    } else {
        findings_good(findings, "you may create what an install creates");
    }
}
