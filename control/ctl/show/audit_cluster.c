// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/show/audit_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pb/pb_text.h"
#include "control/ctl/kube/kubectl_each.h"
#include "control/ctl/kube/sidecars.h"
#include "control/denials/denial_list.h"

// Lists the pods of every namespace, for a caller may be in another one than is asked about; of one
// where the user may not.
static char *list_pods(const struct kubectl *kubectl, const char *namespace, struct err *err)
{
    const char *all[] = {"get", "pods", "--all-namespaces", "--output", SIDECARS_PODS_TEMPLATE,
                         NULL};
    const char *one[] = {
        "get", "pods", "--namespace", namespace, "--output", SIDECARS_PODS_TEMPLATE, NULL};
    char *pods = kubectl_text(kubectl, all, NULL, namespace == NULL ? err : NULL);
    return pods != NULL || namespace == NULL ? pods : kubectl_text(kubectl, one, NULL, err);
}

static bool list_sidecars(struct sidecars *out, const struct kubectl *kubectl,
                          const char *namespace, struct err *err)
{
    const char *services[] = {
        "get", "services", "--all-namespaces", "--output", SIDECARS_SERVICES_TEMPLATE, NULL};
    char *pods = list_pods(kubectl, namespace, err);
    if (pods == NULL) {
        return err_prefix(err, "the pods");
    }
    sidecars_add_pods(out, pods, namespace);
    free(pods);
    char *text = kubectl_text(kubectl, services, NULL, NULL); // names only: their lack is no fault
    if (text != NULL) {
        sidecars_add_services(out, text);
        free(text);
    }
    return out->list.num <= AUDIT_CLUSTER_PODS_MAX ||
           err_set(err, "%u pods have a sidecar, over the limit of %d: ask by --namespace",
                   out->list.num, AUDIT_CLUSTER_PODS_MAX);
}

// Puts the name of whoever has the address in its place, so that a workload is one caller whatever
// addresses its pods have. A port stays behind it.
static void name_place(char **place, const struct sidecars *sidecars)
{
    char address[64];
    const char *colon = strrchr(*place, ':');
    size_t len = strlen(*place);
    bool has_port = colon != NULL && (strchr(*place, ':') == colon || colon[-1] == ']');
    size_t address_len = has_port ? (size_t)(colon - *place) : len;
    const char *from = *place;
    if (has_port && *from == '[') {
        from++;
        address_len -= 2;
    }
    if (address_len >= sizeof address) {
        return;
    }
    memcpy(address, from, address_len);
    address[address_len] = '\0';
    const char *owner = sidecars_owner(sidecars, address);
    if (owner == NULL) {
        return;
    }
    size_t size = strlen(owner) + 8;
    char *named = must_alloc(1, size);
    snprintf(named, size, "%s%s", owner, has_port ? colon : "");
    free(*place);
    *place = named;
}

static Tabard__V1__ClusterAudit__Workload *workload_of(Tabard__V1__ClusterAudit *audit,
                                                       const struct sidecar *sidecar)
{
    for (size_t i = 0; i < audit->n_workloads; i++) {
        Tabard__V1__ClusterAudit__Workload *at = audit->workloads[i];
        if (strcmp(at->namespace_, sidecar->namespace) == 0 &&
            strcmp(at->name, sidecar->workload) == 0) {
            return at;
        }
    }
    Tabard__V1__ClusterAudit__Workload *made = must_alloc(1, sizeof *made);
    tabard__v1__cluster_audit__workload__init(made);
    made->namespace_ = must_strdup(sidecar->namespace);
    made->name = must_strdup(sidecar->workload);
    audit->workloads[audit->n_workloads++] = made;
    return made;
}

static void add_failure(Tabard__V1__ClusterAudit *audit, const struct sidecar *sidecar,
                        const struct err *err)
{
    char why[512];
    char text[1200];
    snprintf(text, sizeof text, "%s/%s: %s", sidecar->namespace, sidecar->pod,
             err_text(err, why, sizeof why));
    audit->failures[audit->n_failures++] = must_strdup(text);
}

// Moves the entries that are wanted from one sidecar's audit to its workload.
static void move_denials(Tabard__V1__ClusterAudit__Workload *to, Tabard__V1__Audit *from,
                         const struct sidecars *sidecars, bool is_current_only)
{
    Tabard__V1__Denial **all =
        must_alloc(to->n_denials + from->n_denials, sizeof(Tabard__V1__Denial *));
    if (to->n_denials > 0) {
        memcpy(all, to->denials, to->n_denials * sizeof *all);
    }
    free(to->denials);
    to->denials = all;
    size_t num_left = 0;
    for (size_t i = 0; i < from->n_denials; i++) {
        Tabard__V1__Denial *denial = from->denials[i];
        if (is_current_only && denial->generation < from->generation) {
            from->denials[num_left++] = denial;
            continue;
        }
        name_place(&denial->source, sidecars);
        name_place(&denial->destination, sidecars);
        denial->generation = 0; // each sidecar counts its own
        to->denials[to->n_denials++] = denial;
    }
    from->n_denials = num_left;
}

// Adds what one sidecar has answered.
static bool add_answer(Tabard__V1__ClusterAudit *audit, const struct sidecar *sidecar,
                       const struct sidecars *sidecars, const char *answer, bool is_current_only,
                       struct err *err)
{
    size_t num_unknown = 0; // of a sidecar that is newer
    Tabard__V1__Audit *one = (Tabard__V1__Audit *)pb_text_parse_known(
        &tabard__v1__audit__descriptor, answer, strlen(answer), "its answer", &num_unknown, err);
    if (one == NULL) {
        return false;
    }
    Tabard__V1__ClusterAudit__Workload *workload = workload_of(audit, sidecar);
    workload->sidecars++;
    workload->observing += one->enforcement == TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE;
    workload->denials_dropped += one->denials_dropped;
    move_denials(workload, one, sidecars, is_current_only);
    tabard__v1__audit__free_unpacked(one, NULL);
    return true;
}

static void merge_all(Tabard__V1__ClusterAudit *audit)
{
    for (size_t i = 0; i < audit->n_workloads; i++) {
        Tabard__V1__ClusterAudit__Workload *workload = audit->workloads[i];
        size_t num = denial_list_merge(workload->denials, workload->n_denials);
        for (size_t k = num; k < workload->n_denials; k++) {
            tabard__v1__denial__free_unpacked(workload->denials[k], NULL);
        }
        workload->n_denials = num;
    }
}

static Tabard__V1__ClusterAudit *ask_all(const struct kubectl *kubectl,
                                         const struct sidecars *sidecars, bool is_current_only)
{
    size_t num = sidecars->list.num;
    const struct sidecar *list = sidecars->list.items;
    struct kubectl_question *questions = must_alloc(num, sizeof *questions);
    Tabard__V1__ClusterAudit *audit = must_alloc(1, sizeof *audit);
    tabard__v1__cluster_audit__init(audit);
    audit->workloads = must_alloc(num, sizeof *audit->workloads);
    audit->failures = must_alloc(num, sizeof *audit->failures);
    for (size_t i = 0; i < num; i++) {
        const char *words[] = {
            "exec", "--namespace", list[i].namespace, list[i].pod, "--container", "tabard",
            "--",   "tabardctl",   "audit",           "--json",    NULL};
        memcpy(questions[i].words, words, sizeof words);
    }
    kubectl_each(kubectl, questions, num);
    for (size_t i = 0; i < num; i++) {
        if (questions[i].answer == NULL ||
            !add_answer(audit, &list[i], sidecars, questions[i].answer, is_current_only,
                        &questions[i].err)) {
            add_failure(audit, &list[i], &questions[i].err);
        }
        free(questions[i].answer);
    }
    free(questions);
    merge_all(audit);
    return audit;
}

Tabard__V1__ClusterAudit *audit_cluster(const struct kubectl *kubectl,
                                        const struct audit_cluster_question *question,
                                        struct err *err)
{
    struct sidecars sidecars = {0};
    Tabard__V1__ClusterAudit *audit = NULL;
    if (list_sidecars(&sidecars, kubectl, question->namespace, err)) {
        audit = ask_all(kubectl, &sidecars, question->is_current_only);
    }
    sidecars_cleanup(&sidecars);
    return audit;
}
