// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/model/kube_model.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "control/policyd/kubernetes/model/kube_json.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"

const char *kube_kind_name(enum kube_kind kind)
{
    static const char *const names[] = {"Pod",         "Service",    "EndpointSlice",
                                        "Namespace",   "MeshPolicy", "MeshDestination",
                                        "MeshSettings"};
    return names[kind];
}

struct kube_model *kube_model_new(const char *own_namespace)
{
    struct kube_model *model = must_alloc(1, sizeof *model);
    model->own_namespace = must_strdup(own_namespace);
    list_init(&model->changed_places);
    list_init(&model->dirty_services);
    list_init(&model->news);
    return model;
}

static void delete_object(struct kube_model *model, enum kube_kind kind, struct kube_object *object)
{
    switch (kind) {
    case KUBE_POD:
        kube_pod_delete(model, (struct kube_pod *)object);
        break;
    case KUBE_SERVICE:
        kube_service_delete(model, (struct kube_service *)object);
        break;
    case KUBE_ENDPOINT_SLICE:
        kube_slice_delete(model, (struct kube_slice *)object);
        break;
    case KUBE_MESH_POLICY:
        kube_policy_delete(model, (struct kube_policy *)object);
        break;
    case KUBE_MESH_DESTINATION:
        kube_destination_delete(model, (struct kube_destination *)object);
        break;
    case KUBE_MESH_SETTINGS:
        kube_settings_delete(model, (struct kube_settings *)object);
        break;
    default:
        break;
    }
}

static void clear_moved(struct array *moved)
{
    struct kube_moved *items = moved->items;
    for (uint32_t i = 0; i < moved->num; i++) {
        free((char *)items[i].ns);
        free((char *)items[i].pod);
    }
    array_cleanup(moved);
}

static struct table_link *any_link(const struct table *table)
{
    for (uint32_t i = 0; i < table->cap; i++) {
        if (table->heads[i] != NULL) {
            return table->heads[i];
        }
    }
    return NULL;
}

// Lets go of what only the last fleet and what was not taken keep.
static void forget_workloads(struct kube_model *model)
{
    struct list *link;
    struct kube_workload *workload;
    while ((link = list_pop(&model->changed_places)) != NULL) {
        kube_place_settle(model, LIST_OF(link, struct kube_place_row, changed));
    }
    while ((workload = (struct kube_workload *)any_link(&model->workloads)) != NULL) {
        invariant(workload->num_refs == 0);
        workload->is_in_fleet = false;
        kube_workload_ref(workload);
        kube_workload_unref(model, workload);
    }
}

void kube_model_free(struct kube_model *model)
{
    // Deleted as the API server would tell it, so that one way of taking apart is enough. Slices
    // and destinations go before the services that they keep.
    static const enum kube_kind order[] = {KUBE_POD,         KUBE_ENDPOINT_SLICE,
                                           KUBE_MESH_POLICY, KUBE_MESH_DESTINATION,
                                           KUBE_SERVICE,     KUBE_MESH_SETTINGS};
    if (model == NULL) {
        return;
    }
    for (uint32_t i = 0; i < model->namespaces.cap; i++) {
        for (struct table_link *link = model->namespaces.heads[i], *next; link != NULL;
             link = next) {
            next = link->next;
            kube_namespace_delete(model, ((struct kube_namespace *)link)->name);
        }
    }
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        struct table_link *link;
        while ((link = any_link(&model->objects[order[i]])) != NULL) {
            delete_object(model, order[i], (struct kube_object *)link);
        }
        table_cleanup(&model->objects[order[i]]);
    }
    forget_workloads(model);
    table_cleanup(&model->namespaces);
    table_cleanup(&model->labels);
    table_cleanup(&model->workloads);
    table_cleanup(&model->places);
    array_cleanup(&model->told_places);
    clear_moved(&model->moved);
    clear_moved(&model->told_moved);
    free(model->own_namespace);
    free(model->trust_domain);
    free(model);
}

bool kube_model_put(struct kube_model *model, enum kube_kind kind, const json_t *object,
                    struct err *err)
{
    const char *ns = kube_json_text(object, "metadata", "namespace", NULL);
    const char *name = kube_json_text(object, "metadata", "name", NULL);
    bool is_cluster_wide = kind == KUBE_NAMESPACE || kind == KUBE_MESH_SETTINGS;
    if (!kube_json_is_name(name) || (is_cluster_wide ? ns[0] != '\0' : !kube_json_is_label(ns))) {
        return err_set_at(err, "metadata", "no %s has such a name or namespace",
                          kube_kind_name(kind));
    }
    switch (kind) {
    case KUBE_POD:
        kube_pod_put(model, ns, name, object);
        break;
    case KUBE_SERVICE:
        kube_service_put(model, ns, name, object);
        break;
    case KUBE_ENDPOINT_SLICE:
        kube_slice_put(model, ns, name, object);
        break;
    case KUBE_NAMESPACE:
        kube_namespace_put(model, name, object);
        break;
    case KUBE_MESH_POLICY:
        kube_policy_put(model, ns, name, object);
        break;
    case KUBE_MESH_DESTINATION:
        kube_destination_put(model, ns, name, object);
        break;
    default:
        kube_settings_put(model, name, object);
        break;
    }
    return true;
}

void kube_model_delete(struct kube_model *model, enum kube_kind kind, const char *ns,
                       const char *name)
{
    if (kind == KUBE_NAMESPACE) {
        kube_namespace_delete(model, name);
        return;
    }
    struct kube_object *object = kube_object_find(model, kind, ns, name);
    if (object != NULL) {
        delete_object(model, kind, object);
    }
}

static void take_places(struct kube_model *model, struct kube_update *out)
{
    array_cleanup(&model->told_places);
    struct list *link;
    while ((link = list_pop(&model->changed_places)) != NULL) {
        struct kube_place_row *place = LIST_OF(link, struct kube_place_row, changed);
        struct kube_place *told = array_add(&model->told_places, sizeof *told);
        told->ip = place->ip;
        told->owner = place->owner == NULL ? NULL : kube_workload_key(model, place->owner);
        kube_place_settle(model, place); // it may be of no use any more
    }
    out->places = model->told_places.items;
    out->num_places = model->told_places.num;
}

static void take_moved(struct kube_model *model, struct kube_update *out)
{
    clear_moved(&model->told_moved);
    model->told_moved = model->moved;
    model->moved = (struct array){.num = 0};
    struct kube_moved *moved = model->told_moved.items;
    for (uint32_t i = 0; i < model->told_moved.num; i++) {
        const struct kube_pod *pod =
            (const struct kube_pod *)kube_object_find(model, KUBE_POD, moved[i].ns, moved[i].pod);
        moved[i].owner =
            pod == NULL || pod->workload == NULL ? NULL : kube_workload_key(model, pod->workload);
    }
    out->moved = moved;
    out->num_moved = model->told_moved.num;
}

const char *kube_model_trust_domain(const struct kube_model *model)
{
    return model->trust_domain;
}

void kube_model_take(struct kube_model *model, struct kube_update *out)
{
    struct list *link;
    *out = (struct kube_update){.trust_domain = model->trust_domain};
    if (model->trust_domain == NULL) {
        return;
    }
    while ((link = list_pop(&model->dirty_services)) != NULL) {
        kube_service_settle(model, LIST_OF(link, struct kube_service, dirty));
    }
    if (model->is_fleet_dirty) {
        model->is_fleet_dirty = false;
        out->config = kube_fleet_new(model);
        model->stats.num_configs++;
    }
    take_places(model, out);
    take_moved(model, out);
}

bool kube_model_find_pod(const struct kube_model *model, const char *ns, const char *name,
                         struct kube_pod_facts *out)
{
    const struct kube_pod *pod =
        (const struct kube_pod *)kube_object_find(model, KUBE_POD, ns, name);
    *out = (struct kube_pod_facts){.uid = NULL};
    if (pod == NULL) {
        return false;
    }
    *out = (struct kube_pod_facts){.uid = pod->uid,
                                   .account = pod->account,
                                   .is_in_mesh = pod->is_in_mesh,
                                   .is_over = pod->is_over,
                                   .is_terminating = pod->is_terminating};
    if (pod->workload != NULL && model->trust_domain != NULL) {
        out->owner = kube_workload_key(model, pod->workload);
    }
    return true;
}

bool kube_model_take_verdict(struct kube_model *model, struct kube_verdict *out)
{
    struct list *link = list_pop(&model->news);
    if (link == NULL) {
        return false;
    }
    const struct kube_judgement *judgement = LIST_OF(link, struct kube_judgement, news);
    *out = (struct kube_verdict){.kind = judgement->kind,
                                 .ns = judgement->ns,
                                 .name = judgement->name,
                                 .generation = judgement->generation,
                                 .is_accepted = judgement->is_accepted,
                                 .reason = judgement->reason,
                                 .message = judgement->message};
    return true;
}

// Says whether a resource is for a pod, by the form that is in force.
static bool concerns(const struct kube_model *model, enum kube_kind kind,
                     const struct kube_object *object, const struct kube_pod *pod)
{
    if (pod->workload == NULL) {
        return false;
    }
    if (kind == KUBE_MESH_POLICY) {
        const struct kube_policy *policy = (const struct kube_policy *)object;
        return policy->good != NULL && pod->object.ns == object->ns &&
               kube_selector_matches(&policy->selector, pod);
    }
    if (kind == KUBE_MESH_DESTINATION) {
        const struct kube_destination *destination = (const struct kube_destination *)object;
        bool is_for_all = destination->selector.accounts.num == 0 &&
                          strcmp(object->ns->name, model->own_namespace) == 0;
        return destination->good != NULL && (is_for_all || pod->object.ns == object->ns) &&
               kube_selector_matches(&destination->selector, pod);
    }
    return kind == KUBE_MESH_SETTINGS && strcmp(object->name, KUBE_SETTINGS_NAME) == 0;
}

size_t kube_model_num_concerned(const struct kube_model *model, enum kube_kind kind, const char *ns,
                                const char *name)
{
    const struct kube_object *object = kube_object_find(model, kind, ns, name);
    const struct table *pods = &model->objects[KUBE_POD];
    size_t num = 0;
    if (object != NULL && kind == KUBE_MESH_POLICY) {
        const struct list *head = &object->ns->objects[KUBE_POD];
        for (const struct list *link = head->next; link != head; link = link->next) {
            num += concerns(model, kind, object, LIST_OF(link, struct kube_pod, object.in_ns));
        }
        return num;
    }
    for (uint32_t i = 0; i < pods->cap && object != NULL; i++) {
        for (struct table_link *link = pods->heads[i]; link != NULL; link = link->next) {
            num += concerns(model, kind, object, (const struct kube_pod *)link);
        }
    }
    return num;
}

bool kube_model_concerns(const struct kube_model *model, enum kube_kind kind, const char *ns,
                         const char *name, const char *pod_ns, const char *pod)
{
    const struct kube_object *object = kube_object_find(model, kind, ns, name);
    const struct kube_object *found = kube_object_find(model, KUBE_POD, pod_ns, pod);
    return object != NULL && found != NULL &&
           concerns(model, kind, object, (const struct kube_pod *)found);
}

const struct kube_model_stats *kube_model_stats(const struct kube_model *model)
{
    return &model->stats;
}
