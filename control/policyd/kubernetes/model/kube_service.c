// SPDX-License-Identifier: Apache-2.0
//
// Services: their cluster IPs and ports, and what their slices say of who is behind them.
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/policyd/kubernetes/model/kube_json.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"

static struct kube_service *make_service(struct kube_model *model, const char *ns, const char *name)
{
    struct kube_service *service = (struct kube_service *)kube_object_make(
        model, KUBE_SERVICE, ns, name, sizeof(struct kube_service));
    if (service->slices.next == NULL) {
        list_init(&service->slices);
        service->judgement = (struct kube_judgement){
            .kind = KUBE_SERVICE, .ns = service->object.ns->name, .name = service->object.name};
    }
    return service;
}

// Frees a service that has not come itself, once nothing names it.
static void release(struct kube_model *model, struct kube_service *service)
{
    if (service->is_known || service->num_named > 0 || !list_is_empty(&service->slices)) {
        return;
    }
    struct kube_workload **members = service->members.items;
    for (uint32_t i = 0; i < service->members.num; i++) {
        kube_workload_unref(model, members[i]);
    }
    array_cleanup(&service->members);
    array_cleanup(&service->targets);
    array_cleanup(&service->outside);
    list_remove(&service->dirty);
    kube_judgement_cleanup(&service->judgement);
    kube_object_drop(model, KUBE_SERVICE, &service->object);
}

void kube_service_mark(struct kube_model *model, struct kube_service *service)
{
    if (!list_is_linked(&service->dirty)) {
        list_push(&model->dirty_services, &service->dirty);
    }
}

struct kube_service *kube_service_named(struct kube_model *model, const char *ns, const char *name)
{
    struct kube_service *service = make_service(model, ns, name);
    service->num_named++;
    kube_service_mark(model, service);
    return service;
}

void kube_service_unnamed(struct kube_model *model, struct kube_service *service)
{
    service->num_named--;
    release(model, service);
}

static void clear_ports(struct array *ports)
{
    struct kube_service_port *items = ports->items;
    for (uint32_t i = 0; i < ports->num; i++) {
        free(items[i].name);
    }
    array_cleanup(ports);
}

// Reads the TCP ports of a Service or an EndpointSlice, which have the same form.
static void read_ports(struct array *out, const json_t *ports)
{
    const json_t *item;
    size_t i;
    json_array_foreach((json_t *)ports, i, item)
    {
        const char *protocol = kube_json_text(item, "protocol", NULL);
        json_int_t port = json_integer_value(json_object_get(item, "port"));
        if ((protocol[0] == '\0' || strcmp(protocol, "TCP") == 0) && port > 0 && port <= 65535) {
            struct kube_service_port *row = array_add(out, sizeof *row);
            row->name = must_strdup(kube_json_text(item, "name", NULL));
            row->port = (uint16_t)port;
        }
    }
}

static bool same_ports(const struct array *a, const struct array *b)
{
    const struct kube_service_port *left = a->items;
    const struct kube_service_port *right = b->items;
    bool is_same = a->num == b->num;
    for (uint32_t i = 0; i < a->num && is_same; i++) {
        is_same = left[i].port == right[i].port && strcmp(left[i].name, right[i].name) == 0;
    }
    return is_same;
}

// Reads cluster IPs; "None" and "" are none.
static void read_cluster_ips(struct array *out, const json_t *spec)
{
    const json_t *item;
    size_t i;
    const char *type = kube_json_text(spec, "type", NULL);
    if (strcmp(type, "ExternalName") == 0) {
        return;
    }
    json_array_foreach((json_t *)json_object_get(spec, "clusterIPs"), i, item)
    {
        struct ip ip;
        if (json_string_value(item) != NULL && ip_parse(&ip, json_string_value(item), NULL)) {
            *(struct ip *)array_add(out, sizeof ip) = ip;
        }
    }
}

static bool same_places(const struct array *places, const struct array *ips)
{
    struct kube_place_row *const *rows = places->items;
    const struct ip *wanted = ips->items;
    bool is_same = places->num == ips->num;
    for (uint32_t i = 0; i < ips->num && is_same; i++) {
        is_same = ip_equal(&rows[i]->ip, &wanted[i]);
    }
    return is_same;
}

static void set_places(struct kube_model *model, struct kube_service *service,
                       const struct array *ips)
{
    const struct ip *items = ips->items;
    struct array before = service->places;
    service->places = (struct array){.num = 0};
    for (uint32_t i = 0; i < ips->num; i++) {
        struct kube_place_row *place = kube_place_find(model, &items[i]);
        kube_place_add(&place->services, service);
        kube_place_add(&service->places, place);
        kube_place_settle(model, place);
    }
    for (uint32_t i = 0; i < before.num; i++) {
        struct kube_place_row *place = ((struct kube_place_row **)before.items)[i];
        kube_place_remove(&place->services, service);
        kube_place_settle(model, place);
    }
    array_cleanup(&before);
}

static void set_service(struct kube_model *model, struct kube_service *service, struct array *ports,
                        const struct array *ips)
{
    if (!same_places(&service->places, ips)) {
        set_places(model, service, ips);
        model->is_fleet_dirty = true;
    }
    if (same_ports(&service->ports, ports)) {
        clear_ports(ports);
    } else {
        clear_ports(&service->ports);
        service->ports = *ports;
        model->is_fleet_dirty = true;
    }
    kube_service_mark(model, service);
}

void kube_service_put(struct kube_model *model, const char *ns, const char *name,
                      const json_t *object)
{
    const json_t *spec = json_object_get(object, "spec");
    struct kube_service *service = make_service(model, ns, name);
    struct array ports = {0};
    struct array ips = {0};
    model->is_fleet_dirty = model->is_fleet_dirty || (!service->is_known && service->num_named > 0);
    service->is_known = true;
    read_ports(&ports, json_object_get(spec, "ports"));
    read_cluster_ips(&ips, spec);
    set_service(model, service, &ports, &ips);
    array_cleanup(&ips);
}

void kube_service_delete(struct kube_model *model, struct kube_service *service)
{
    struct array none = {0};
    model->is_fleet_dirty = model->is_fleet_dirty || service->num_named > 0;
    service->is_known = false;
    set_service(model, service, &none, &none);
    release(model, service);
}

static void free_endpoints(struct kube_model *model, const struct kube_slice *slice,
                           struct kube_endpoint *endpoints, uint32_t num)
{
    for (uint32_t i = 0; i < num; i++) {
        if (endpoints[i].place != NULL) {
            kube_place_remove(&endpoints[i].place->slices, slice);
            kube_place_settle(model, endpoints[i].place);
        }
    }
    free(endpoints);
}

static void leave_service(struct kube_model *model, struct kube_slice *slice)
{
    struct kube_service *service = slice->service;
    slice->service = NULL;
    list_remove(&slice->in_service);
    if (service != NULL) {
        kube_service_mark(model, service);
        release(model, service);
    }
}

// Every address counts, whether it is ready or not: who may be behind the Service changes less
// often then, and callers know it before connections go there.
static void read_endpoint(struct kube_model *model, struct kube_slice *slice, const json_t *object)
{
    const json_t *item;
    size_t i;
    bool is_pod = strcmp(kube_json_text(object, "targetRef", "kind", NULL), "Pod") == 0;
    json_array_foreach((json_t *)json_object_get(object, "addresses"), i, item)
    {
        struct kube_endpoint *endpoint = &slice->endpoints[slice->num_endpoints++];
        struct ip ip;
        endpoint->is_pod = is_pod;
        if (json_string_value(item) != NULL && ip_parse(&ip, json_string_value(item), NULL)) {
            endpoint->place = kube_place_find(model, &ip);
            kube_place_add(&endpoint->place->slices, slice);
        }
    }
}

// Reads the endpoints anew. Those of before are given up only then, or rows would come and go.
static void read_endpoints(struct kube_model *model, struct kube_slice *slice,
                           const json_t *endpoints)
{
    struct kube_endpoint *before = slice->endpoints;
    uint32_t num_before = slice->num_endpoints;
    const json_t *item;
    size_t num = 0;
    size_t i;
    json_array_foreach((json_t *)endpoints, i, item)
    {
        num += json_array_size(json_object_get(item, "addresses"));
    }
    slice->endpoints = must_alloc(num, sizeof *slice->endpoints);
    slice->num_endpoints = 0;
    json_array_foreach((json_t *)endpoints, i, item)
    {
        read_endpoint(model, slice, item);
    }
    free_endpoints(model, slice, before, num_before);
}

void kube_slice_put(struct kube_model *model, const char *ns, const char *name,
                    const json_t *object)
{
    struct kube_slice *slice = (struct kube_slice *)kube_object_make(
        model, KUBE_ENDPOINT_SLICE, ns, name, sizeof(struct kube_slice));
    const char *service =
        kube_json_text(object, "metadata", "labels", "kubernetes.io/service-name", NULL);
    read_endpoints(model, slice, json_object_get(object, "endpoints"));
    clear_ports(&slice->ports);
    read_ports(&slice->ports, json_object_get(object, "ports"));
    if (slice->service == NULL || strcmp(slice->service->object.name, service) != 0) {
        leave_service(model, slice);
        slice->service = kube_json_is_name(service) ? make_service(model, ns, service) : NULL;
    }
    if (slice->service != NULL) {
        if (!list_is_linked(&slice->in_service)) {
            list_push(&slice->service->slices, &slice->in_service);
        }
        kube_service_mark(model, slice->service);
    }
}

void kube_slice_delete(struct kube_model *model, struct kube_slice *slice)
{
    free_endpoints(model, slice, slice->endpoints, slice->num_endpoints);
    clear_ports(&slice->ports);
    leave_service(model, slice);
    kube_object_drop(model, KUBE_ENDPOINT_SLICE, &slice->object);
}
