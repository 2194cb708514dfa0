// SPDX-License-Identifier: Apache-2.0
//
// Pods, the workloads that they are, and their labels.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/policyd/fleet/fleet.h"
#include "control/policyd/kubernetes/model/kube_json.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"

#define STATUS_ANNOTATION "tabard.dev/status"
#define SIDECAR           "tabard"
#define ADDRESSES_MAX     16

void kube_workload_ref(struct kube_workload *workload)
{
    workload->num_refs++;
}

void kube_workload_unref(struct kube_model *model, struct kube_workload *workload)
{
    if (workload == NULL || --workload->num_refs > 0 || workload->is_in_fleet) {
        return;
    }
    table_remove(&model->workloads, &workload->link);
    workload->ns->num_objects--;
    kube_namespace_release(model, workload->ns);
    free(workload->account);
    free(workload->variant);
    free(workload->key);
    free(workload);
}

const char *kube_workload_key(const struct kube_model *model, struct kube_workload *workload)
{
    if (workload->key == NULL) {
        char id[SPIFFE_ID_LEN_MAX];
        snprintf(id, sizeof id, "spiffe://%s/ns/%s/sa/%s", model->trust_domain, workload->ns->name,
                 workload->account);
        workload->key = fleet_key(id, workload->variant);
    }
    return workload->key;
}

// Finds or makes a workload, and counts the reference. It takes over the variant.
static struct kube_workload *get_workload(struct kube_model *model, struct kube_namespace *ns,
                                          const char *account, char *variant)
{
    size_t size = strlen(ns->name) + strlen(account) + strlen(variant) + 3;
    char *name = must_alloc(1, size);
    snprintf(name, size, "%s/%s#%s", ns->name, account, variant);
    uint64_t hash = table_hash(&model->workloads, name, size);
    free(name);
    struct table_link *link = table_first(&model->workloads, hash);
    for (; link != NULL; link = table_next(link)) {
        struct kube_workload *workload = (struct kube_workload *)link;
        if (workload->ns == ns && strcmp(workload->account, account) == 0 &&
            strcmp(workload->variant, variant) == 0) {
            free(variant);
            workload->num_refs++;
            return workload;
        }
    }
    struct kube_workload *workload = must_alloc(1, sizeof *workload);
    workload->ns = ns;
    workload->account = must_strdup(account);
    workload->variant = variant;
    workload->num_refs = 1;
    ns->num_objects++;
    table_put(&model->workloads, &workload->link, hash);
    return workload;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Returns the names of the policies that the pod's labels choose, in order: two pods of one account
// enforce the same if this is the same. Malloc'd.
static char *variant_of(const struct kube_pod *pod)
{
    struct kube_namespace *ns = pod->object.ns;
    struct array names = {0}; // const char *
    size_t size = 1;
    struct list *head = &ns->objects[KUBE_MESH_POLICY];
    for (struct list *link = head->next; link != head && ns->num_by_labels > 0; link = link->next) {
        const struct kube_policy *policy = LIST_OF(link, struct kube_policy, object.in_ns);
        if (policy->good != NULL && policy->selector.labels != NULL &&
            kube_selector_matches(&policy->selector, pod)) {
            *(const char **)array_add(&names, sizeof(char *)) = policy->object.name;
            size += strlen(policy->object.name) + 1;
        }
    }
    char *variant = must_alloc(1, size);
    const char **all = names.items;
    if (names.num > 1) {
        qsort(all, names.num, sizeof *all, compare_texts);
    }
    for (uint32_t i = 0; i < names.num; i++) {
        strcat(strcat(variant, i == 0 ? "" : ","), all[i]);
    }
    array_cleanup(&names);
    return variant;
}

static void note_moved(struct kube_model *model, const struct kube_pod *pod)
{
    struct kube_moved *moved = array_add(&model->moved, sizeof *moved);
    moved->ns = must_strdup(pod->object.ns->name);
    moved->pod = must_strdup(pod->object.name);
}

void kube_pod_settle(struct kube_model *model, struct kube_pod *pod)
{
    bool is_live = pod->is_in_mesh && !pod->is_over;
    struct kube_workload *before = pod->workload;
    struct kube_workload *now =
        is_live ? get_workload(model, pod->object.ns, pod->account, variant_of(pod)) : NULL;
    pod->workload = now;
    if (now != before) {
        model->stats.num_pods_in_mesh += (now != NULL) - (before != NULL);
        if (now != NULL) {
            now->num_pods++;
            model->is_fleet_dirty = model->is_fleet_dirty || !now->is_in_fleet;
        }
        if (before != NULL) {
            before->num_pods--;
        }
        note_moved(model, pod);
        for (uint32_t i = 0; i < pod->num_places; i++) {
            kube_place_settle(model, pod->places[i]);
        }
    }
    kube_workload_unref(model, before);
}

void kube_pods_settle(struct kube_model *model, struct kube_namespace *ns)
{
    LIST_EACH_SAFE(link, &ns->objects[KUBE_POD]) {
        kube_pod_settle(model, LIST_OF(link, struct kube_pod, object.in_ns));
    }
}

static void drop_labels(struct kube_model *model, struct kube_labels *labels)
{
    if (labels != NULL && --labels->num_pods == 0) {
        table_remove(&model->labels, &labels->link);
        free(labels);
    }
}

// Returns the one copy of these labels, counted, or NULL.
static struct kube_labels *share_labels(struct kube_model *model, const json_t *labels)
{
    struct kube_labels *packed = kube_labels_new(labels);
    if (packed == NULL) {
        return NULL;
    }
    uint64_t hash = table_hash(&model->labels, packed->text, packed->len);
    struct table_link *link = table_first(&model->labels, hash);
    for (; link != NULL; link = table_next(link)) {
        struct kube_labels *shared = (struct kube_labels *)link;
        if (shared->len == packed->len && memcmp(shared->text, packed->text, packed->len) == 0) {
            free(packed);
            shared->num_pods++;
            return shared;
        }
    }
    packed->num_pods = 1;
    table_put(&model->labels, &packed->link, hash);
    return packed;
}

static bool has_sidecar(const json_t *containers)
{
    const json_t *item;
    size_t i;
    json_array_foreach((json_t *)containers, i, item)
    {
        if (strcmp(kube_json_text(item, "name", NULL), SIDECAR) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_in_mesh(const json_t *object, const char *account)
{
    const json_t *spec = json_object_get(object, "spec");
    return kube_json_at(object, "metadata", "annotations", STATUS_ANNOTATION, NULL) != NULL &&
           !json_is_true(json_object_get(spec, "hostNetwork")) && kube_json_is_name(account) &&
           (has_sidecar(json_object_get(spec, "initContainers")) ||
            has_sidecar(json_object_get(spec, "containers")));
}

static void set_text(char **text, const char *value)
{
    if (*text == NULL || strcmp(*text, value) != 0) {
        free(*text);
        *text = must_strdup(value);
    }
}

static void give_places_up(struct kube_model *model, struct kube_pod *pod)
{
    for (uint32_t i = 0; i < pod->num_places; i++) {
        kube_place_remove(&pod->places[i]->pods, pod);
        kube_place_settle(model, pod->places[i]);
    }
    free(pod->places);
    pod->places = NULL;
    pod->num_places = 0;
}

static uint32_t read_addresses(struct ip out[ADDRESSES_MAX], const json_t *object)
{
    const json_t *item;
    size_t i;
    uint32_t num = 0;
    json_array_foreach((json_t *)kube_json_at(object, "status", "podIPs", NULL), i, item)
    {
        struct ip ip = {{0}};
        bool is_new = num < ADDRESSES_MAX && ip_parse(&ip, kube_json_text(item, "ip", NULL), NULL);
        for (uint32_t k = 0; is_new && k < num; k++) {
            is_new = !ip_equal(&out[k], &ip);
        }
        if (is_new) {
            out[num++] = ip;
        }
    }
    return num;
}

static bool has_places(const struct kube_pod *pod, const struct ip *ips, uint32_t num)
{
    bool is_same = pod->num_places == num;
    for (uint32_t i = 0; i < num && is_same; i++) {
        is_same = ip_equal(&pod->places[i]->ip, &ips[i]);
    }
    return is_same;
}

static void set_places(struct kube_model *model, struct kube_pod *pod, const struct ip *ips,
                       uint32_t num)
{
    if (has_places(pod, ips, num)) {
        return;
    }
    give_places_up(model, pod);
    pod->places = must_alloc(num, sizeof(struct kube_place_row *));
    pod->num_places = num;
    for (uint32_t i = 0; i < num; i++) {
        pod->places[i] = kube_place_find(model, &ips[i]);
        kube_place_add(&pod->places[i]->pods, pod);
        kube_place_settle(model, pod->places[i]);
    }
}

void kube_pod_put(struct kube_model *model, const char *ns, const char *name, const json_t *object)
{
    struct ip ips[ADDRESSES_MAX];
    struct kube_pod *pod =
        (struct kube_pod *)kube_object_make(model, KUBE_POD, ns, name, sizeof(struct kube_pod));
    const json_t *metadata = json_object_get(object, "metadata");
    const char *account = kube_json_text(object, "spec", "serviceAccountName", NULL);
    const char *phase = kube_json_text(object, "status", "phase", NULL);
    account = account[0] == '\0' ? "default" : account;
    if (pod->uid != NULL && strcmp(pod->uid, kube_json_text(metadata, "uid", NULL)) != 0) {
        // Another pod of the same name: its end was missed.
        kube_pod_delete(model, pod);
        kube_pod_put(model, ns, name, object);
        return;
    }
    bool was_terminating = pod->is_terminating;
    set_text(&pod->uid, kube_json_text(metadata, "uid", NULL));
    set_text(&pod->account, account);
    set_text(&pod->created, kube_json_text(metadata, "creationTimestamp", NULL));
    pod->is_over = strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
    pod->is_terminating = json_object_get(metadata, "deletionTimestamp") != NULL;
    pod->is_in_mesh = is_in_mesh(object, account);
    struct kube_labels *labels =
        pod->is_in_mesh ? share_labels(model, json_object_get(metadata, "labels")) : NULL;
    pod->is_in_mesh = labels != NULL;
    drop_labels(model, pod->labels);
    pod->labels = labels;
    kube_pod_settle(model, pod);
    set_places(model, pod, ips, pod->is_over ? 0 : read_addresses(ips, object));
    for (uint32_t i = 0; i < pod->num_places && was_terminating != pod->is_terminating; i++) {
        kube_place_settle(model, pod->places[i]);
    }
}

void kube_pod_delete(struct kube_model *model, struct kube_pod *pod)
{
    pod->is_over = true;
    kube_pod_settle(model, pod);
    give_places_up(model, pod);
    drop_labels(model, pod->labels);
    free(pod->uid);
    free(pod->account);
    free(pod->created);
    kube_object_drop(model, KUBE_POD, &pod->object);
}
