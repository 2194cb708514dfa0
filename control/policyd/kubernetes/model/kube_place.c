// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"

struct kube_place_row *kube_place_find(struct kube_model *model, const struct ip *ip)
{
    uint64_t hash = table_hash(&model->places, ip->bytes, sizeof ip->bytes);
    struct table_link *link = table_first(&model->places, hash);
    while (link != NULL && !ip_equal(&((struct kube_place_row *)link)->ip, ip)) {
        link = table_next(link);
    }
    if (link == NULL) {
        struct kube_place_row *place = must_alloc(1, sizeof *place);
        place->ip = *ip;
        link = &place->link;
        table_put(&model->places, link, hash);
    }
    return (struct kube_place_row *)link;
}

void kube_place_add(struct array *list, void *item)
{
    *(void **)array_add(list, sizeof item) = item;
}

void kube_place_remove(struct array *list, const void *item)
{
    void **items = list->items;
    for (uint32_t i = 0; i < list->num; i++) {
        if (items[i] == item) {
            items[i] = items[--list->num];
            break;
        }
    }
    if (list->num == 0) {
        array_cleanup(list);
    }
}

// Says whether an address that two pods have is rather that of `a`: one that ends has it no longer,
// and of two that stay the older one had it first.
static bool goes_before(const struct kube_pod *a, const struct kube_pod *b)
{
    if (a->is_terminating != b->is_terminating) {
        return b->is_terminating;
    }
    int order = strcmp(a->created, b->created);
    return order != 0 ? order < 0 : strcmp(a->object.path, b->object.path) < 0;
}

// A cluster IP is no pod's, whatever a pod's status says.
static struct kube_workload *owner_of(const struct kube_place_row *place)
{
    struct kube_pod *const *pods = place->pods.items;
    const struct kube_pod *best = NULL;
    for (uint32_t i = 0; i < place->pods.num && place->services.num == 0; i++) {
        if (best == NULL || goes_before(pods[i], best)) {
            best = pods[i];
        }
    }
    return best == NULL ? NULL : best->workload;
}

static bool is_unused(const struct kube_place_row *place)
{
    return place->pods.num == 0 && place->services.num == 0 && place->slices.num == 0 &&
           place->num_destinations == 0 && place->owner == NULL && !list_is_linked(&place->changed);
}

void kube_place_settle(struct kube_model *model, struct kube_place_row *place)
{
    struct kube_workload *owner = owner_of(place);
    struct kube_slice *const *slices = place->slices.items;
    for (uint32_t i = 0; i < place->slices.num; i++) {
        if (slices[i]->service != NULL) {
            kube_service_mark(model, slices[i]->service);
        }
    }
    if (owner != place->owner) {
        if (owner != NULL) {
            kube_workload_ref(owner);
        }
        kube_workload_unref(model, place->owner);
        model->is_fleet_dirty = model->is_fleet_dirty || place->num_destinations > 0;
        place->owner = owner;
        if (!list_is_linked(&place->changed)) {
            list_push(&model->changed_places, &place->changed);
        }
    }
    if (is_unused(place)) {
        table_remove(&model->places, &place->link);
        free(place);
    }
}
