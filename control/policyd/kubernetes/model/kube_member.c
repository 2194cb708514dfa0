// SPDX-License-Identifier: Apache-2.0
//
// Who is behind a service, worked out from its slices.
#include <stdlib.h>
#include <string.h>

#include "control/policyd/kubernetes/model/kube_model_impl.h"

// What the slices of one service say together.
struct crowd {
    struct array members; // struct kube_workload *
    struct array targets; // struct kube_target
    struct array outside; // struct ip
    bool has_strangers;
};

static int compare_pointers(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t) * (void *const *)a;
    uintptr_t right = (uintptr_t) * (void *const *)b;
    return (left > right) - (left < right);
}

static int compare_targets(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct kube_target));
}

static int compare_ips(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct ip));
}

// Sorts, and keeps each item once.
static void sort_out(struct array *items, size_t size, int (*compare)(const void *, const void *))
{
    char *at = items->items;
    uint32_t num = 0;
    if (items->num > 1) {
        qsort(at, items->num, size, compare);
    }
    for (uint32_t i = 0; i < items->num; i++) {
        if (num == 0 || compare(at + (num - 1) * size, at + i * size) != 0) {
            memmove(at + num++ * size, at + i * size, size);
        }
    }
    items->num = num;
}

// An endpoint is a member by its address alone. One that says that it is a pod counts as nobody
// while no pod has the address, before it has come and after it has gone, rather than as a
// stranger. One that is a cluster IP is that Service's alone, whoever lists it: who names this
// Service says nothing of that one.
static void add_endpoint(struct crowd *crowd, const struct kube_endpoint *endpoint)
{
    const struct kube_place_row *place = endpoint->place;
    if (place != NULL && place->owner != NULL) {
        *(struct kube_workload **)array_add(&crowd->members, sizeof(void *)) = place->owner;
    } else if (place == NULL || place->services.num > 0) {
        crowd->has_strangers = true;
    } else if (!endpoint->is_pod || place->pods.num > 0) {
        crowd->has_strangers = true;
        *(struct ip *)array_add(&crowd->outside, sizeof(struct ip)) = place->ip;
    }
}

static void add_targets(struct crowd *crowd, const struct kube_service *service,
                        const struct kube_slice *slice)
{
    const struct kube_service_port *ports = service->ports.items;
    const struct kube_service_port *targets = slice->ports.items;
    for (uint32_t p = 0; p < service->ports.num; p++) {
        for (uint32_t t = 0; t < slice->ports.num; t++) {
            if (strcmp(ports[p].name, targets[t].name) == 0) {
                struct kube_target *target = array_add(&crowd->targets, sizeof *target);
                *target = (struct kube_target){ports[p].port, targets[t].port};
            }
        }
    }
}

static bool same_items(const struct array *a, const struct array *b, size_t size)
{
    return a->num == b->num && (a->num == 0 || memcmp(a->items, b->items, a->num * size) == 0);
}

void kube_service_settle(struct kube_model *model, struct kube_service *service)
{
    struct crowd crowd = {.has_strangers = false};
    struct list *head = &service->slices;
    for (struct list *link = head->next; link != head; link = link->next) {
        const struct kube_slice *slice = LIST_OF(link, struct kube_slice, in_service);
        for (uint32_t i = 0; i < slice->num_endpoints; i++) {
            add_endpoint(&crowd, &slice->endpoints[i]);
        }
        add_targets(&crowd, service, slice);
    }
    sort_out(&crowd.members, sizeof(void *), compare_pointers);
    sort_out(&crowd.targets, sizeof(struct kube_target), compare_targets);
    sort_out(&crowd.outside, sizeof(struct ip), compare_ips);
    bool is_same_cluster =
        service->has_strangers == crowd.has_strangers &&
        same_items(&service->members, &crowd.members, sizeof(void *)) &&
        same_items(&service->targets, &crowd.targets, sizeof(struct kube_target));
    bool is_same =
        is_same_cluster && same_items(&service->outside, &crowd.outside, sizeof(struct ip));
    bool matters = service->places.num > 0 ? !is_same_cluster : service->num_named > 0 && !is_same;
    model->is_fleet_dirty = model->is_fleet_dirty || matters;
    struct kube_workload **members = crowd.members.items;
    for (uint32_t i = 0; i < crowd.members.num; i++) {
        kube_workload_ref(members[i]);
    }
    members = service->members.items;
    for (uint32_t i = 0; i < service->members.num; i++) {
        kube_workload_unref(model, members[i]);
    }
    array_cleanup(&service->members);
    array_cleanup(&service->targets);
    array_cleanup(&service->outside);
    service->members = crowd.members;
    service->targets = crowd.targets;
    service->outside = crowd.outside;
    service->has_strangers = crowd.has_strangers;
}
