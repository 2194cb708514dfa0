// SPDX-License-Identifier: Apache-2.0
//
// All that is in force as one message.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/port_range.h"
#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "control/policyd/fleet/fleet.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"
#include "proxy/rules/route.h"

#define OVER_NAMESPACE                                                                             \
    "the namespace has more Services, or larger ones, than the mesh takes from one"

static int compare_workloads(const void *a, const void *b)
{
    const struct kube_workload *left = *(struct kube_workload *const *)a;
    const struct kube_workload *right = *(struct kube_workload *const *)b;
    return strcmp(left->key, right->key);
}

static int compare_objects(const void *a, const void *b)
{
    const struct kube_object *left = *(struct kube_object *const *)a;
    const struct kube_object *right = *(struct kube_object *const *)b;
    return strcmp(left->path, right->path);
}

// Lists the objects of a kind in the order of their paths.
static struct kube_object **in_order(const struct kube_model *model, enum kube_kind kind,
                                     uint32_t *out_num)
{
    const struct table *table = &model->objects[kind];
    struct kube_object **all = must_alloc(table->num, sizeof(struct kube_object *));
    *out_num = 0;
    for (uint32_t i = 0; i < table->cap; i++) {
        for (struct table_link *link = table->heads[i]; link != NULL; link = link->next) {
            all[(*out_num)++] = (struct kube_object *)link;
        }
    }
    if (*out_num > 1) {
        qsort(all, *out_num, sizeof *all, compare_objects);
    }
    return all;
}

// Lists the workloads that pods have, in order, and lets go of those that none has any more.
static struct kube_workload **live_workloads(struct kube_model *model, uint32_t *out_num)
{
    const struct table *table = &model->workloads;
    struct kube_workload **all = must_alloc(table->num, sizeof(struct kube_workload *));
    struct array idle = {0}; // struct kube_workload *
    *out_num = 0;
    for (uint32_t i = 0; i < table->cap; i++) {
        for (struct table_link *link = table->heads[i]; link != NULL; link = link->next) {
            struct kube_workload *workload = (struct kube_workload *)link;
            workload->is_in_fleet = workload->num_pods > 0;
            if (workload->is_in_fleet) {
                kube_workload_key(model, workload);
                all[(*out_num)++] = workload;
            } else {
                kube_place_add(&idle, workload);
            }
        }
    }
    if (*out_num > 1) {
        qsort(all, *out_num, sizeof *all, compare_workloads);
    }
    struct kube_workload **workloads = idle.items;
    for (uint32_t i = 0; i < idle.num; i++) {
        kube_workload_ref(workloads[i]);
        kube_workload_unref(model, workloads[i]);
    }
    array_cleanup(&idle);
    return all;
}

static char *id_of(const struct kube_workload *workload)
{
    return must_have(strndup(workload->key, fleet_key_id_len(workload->key)));
}

// A destination that was by mutual TLS must not be called in plaintext as one that is unlisted.
static Tabard__V1__Settings__UnlistedOutbound unlisted_outbound(const struct kube_model *model,
                                                                const struct kube_namespace *ns)
{
    return model->num_lost + ns->num_lost > 0 ? TABARD__V1__SETTINGS__UNLISTED_OUTBOUND__DENY
                                              : model->unlisted_outbound;
}

static Tabard__V1__Workload *make_workload(const struct kube_model *model,
                                           const struct kube_workload *workload)
{
    Tabard__V1__Workload *made = must_alloc(1, sizeof *made);
    tabard__v1__workload__init(made);
    made->spiffe_id = id_of(workload);
    made->by_certificate = true;
    made->by_service_account = true;
    made->ports = must_alloc(1, sizeof *made->ports);
    made->ports[made->n_ports++] = port_range_value((struct port_range){1, UINT16_MAX});
    made->enforcement = kube_namespace_mode(model, workload->ns);
    made->unlisted_outbound = unlisted_outbound(model, workload->ns);
    made->key_exchange = model->key_exchange;
    made->certificate_seconds = model->certificate_seconds;
    made->variant = must_strdup(workload->variant);
    return made;
}

// Says whether a policy is one of those that make a variant.
static bool has_policy(const char *variant, const char *policy)
{
    size_t len = strlen(policy);
    for (const char *at = variant; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, policy, len) == 0 && (at[len] == ',' || at[len] == '\0')) {
            return true;
        }
    }
    return false;
}

// Makes a policy for the variants that it reaches. NULL: there is none, so that nobody enforces it.
static Tabard__V1__FleetPolicy *make_policy(const struct kube_policy *policy,
                                            struct kube_workload *const *workloads, uint32_t num)
{
    if (policy->good == NULL || policy->is_surplus) {
        return NULL;
    }
    Tabard__V1__FleetPolicy *made = pb_copy(&policy->good->base);
    const char *last = NULL;
    for (uint32_t i = 0; i < num && policy->selector.labels != NULL; i++) {
        const char *variant = workloads[i]->variant;
        if (workloads[i]->ns == policy->object.ns && has_policy(variant, policy->object.name) &&
            (last == NULL || strcmp(last, variant) != 0)) {
            made->variants =
                must_grow(made->variants, made->n_variants + 1, sizeof *made->variants);
            made->variants[made->n_variants++] = must_strdup(variant);
            last = variant;
        }
    }
    if (policy->selector.labels != NULL && made->n_variants == 0) {
        tabard__v1__fleet_policy__free_unpacked(made, NULL);
        return NULL;
    }
    return made;
}

static void add_ports(Tabard__V1__FleetService *made, const struct kube_service *service)
{
    const struct kube_target *targets = service->targets.items;
    made->ports = must_alloc(service->targets.num, sizeof *made->ports);
    for (uint32_t i = 0; i < service->targets.num; i++) {
        Tabard__V1__FleetService__Port *port =
            made->n_ports > 0 ? made->ports[made->n_ports - 1] : NULL;
        if (port == NULL || port->port != targets[i].port) {
            port = must_alloc(1, sizeof *port);
            tabard__v1__fleet_service__port__init(port);
            port->port = targets[i].port;
            made->ports[made->n_ports++] = port;
        }
        port->targets = must_grow(port->targets, port->n_targets + 1, sizeof *port->targets);
        port->targets[port->n_targets++] = targets[i].target;
    }
}

static void add_members(Tabard__V1__FleetService *made, const struct kube_service *service)
{
    uint32_t num = service->members.num;
    struct kube_workload **members =
        must_copy(service->members.items, num * sizeof(struct kube_workload *));
    qsort(members, num, sizeof(struct kube_workload *), compare_workloads);
    made->members = must_alloc(num, sizeof *made->members);
    for (uint32_t i = 0; i < num; i++) {
        Tabard__V1__FleetService__Member *member = must_alloc(1, sizeof *member);
        tabard__v1__fleet_service__member__init(member);
        member->spiffe_id = id_of(members[i]);
        member->variant = must_strdup(members[i]->variant);
        made->members[made->n_members++] = member;
    }
    free(members);
}

// Of two services at one cluster IP, which can only be for a moment, the first one has it.
static void add_addresses(Tabard__V1__FleetService *made, const struct kube_service *service)
{
    struct kube_place_row *const *places = service->places.items;
    made->addresses = must_alloc(service->places.num, sizeof *made->addresses);
    for (uint32_t i = 0; i < service->places.num; i++) {
        struct kube_service *const *all = places[i]->services.items;
        bool is_first = true;
        char text[ADDR_TEXT_MAX];
        for (uint32_t s = 0; s < places[i]->services.num; s++) {
            is_first = is_first && strcmp(all[s]->object.path, service->object.path) >= 0;
        }
        for (uint32_t k = 0; k < i; k++) {
            is_first = is_first && places[k] != places[i];
        }
        if (is_first) {
            made->addresses[made->n_addresses++] = must_strdup(ip_text(&places[i]->ip, text));
        }
    }
}

// Says what of a service is over a limit of the fleet's, or NULL.
static const char *over_limit(const Tabard__V1__FleetService *made)
{
    size_t num_ids = 0;
    for (size_t i = 0; i < made->n_members; i++) {
        num_ids +=
            i == 0 || strcmp(made->members[i]->spiffe_id, made->members[i - 1]->spiffe_id) != 0;
    }
    if (num_ids > DESTINATION_IDENTITIES_MAX) {
        return "its pods have more service accounts than a destination may have identities";
    }
    if (made->n_addresses > FLEET_SERVICE_ADDRESSES_MAX ||
        made->n_members > FLEET_SERVICE_MEMBERS_MAX || made->n_ports > FLEET_SERVICE_PORTS_MAX) {
        return "it has more addresses, ports or pods of different kinds than a service of a fleet "
               "may have";
    }
    for (size_t i = 0; i < made->n_ports; i++) {
        if (made->ports[i]->n_targets > FLEET_SERVICE_TARGETS_MAX) {
            return "more ports are behind one of its ports than may be";
        }
    }
    return NULL;
}

// Returns about how many bytes a caller is told of a service.
static size_t told_bytes(const Tabard__V1__FleetService *made)
{
    size_t bytes = strlen(made->name) + made->n_addresses * ADDR_TEXT_MAX;
    for (size_t i = 0; i < made->n_members; i++) {
        bool is_same =
            i > 0 && strcmp(made->members[i]->spiffe_id, made->members[i - 1]->spiffe_id) == 0;
        bytes += is_same ? 0 : strlen(made->members[i]->spiffe_id);
    }
    for (size_t i = 0; i < made->n_ports; i++) {
        bytes += sizeof(uint32_t) * (1 + made->ports[i]->n_targets);
    }
    return bytes;
}

// Makes a service of those that somebody in the mesh is behind, and takes the bytes of it off the
// namespace's room. NULL: there is nothing to tell.
static Tabard__V1__FleetService *make_service(struct kube_model *model,
                                              struct kube_service *service, size_t *room)
{
    if (service->places.num == 0 || service->members.num == 0 || service->targets.num == 0) {
        kube_judge_good(model, &service->judgement);
        return NULL;
    }
    Tabard__V1__FleetService *made = must_alloc(1, sizeof *made);
    size_t size = strlen(service->object.path) + sizeof "service/";
    tabard__v1__fleet_service__init(made);
    made->name = must_alloc(1, size);
    snprintf(made->name, size, "service/%s", service->object.path);
    made->has_strangers = service->has_strangers;
    add_addresses(made, service);
    add_ports(made, service);
    add_members(made, service);
    size_t bytes = told_bytes(made);
    const char *over = over_limit(made);
    over = over == NULL && bytes > *room ? OVER_NAMESPACE : over;
    if (over != NULL) {
        kube_judge(model, &service->judgement, false, "OverLimit", over);
    } else {
        kube_judge_good(model, &service->judgement);
    }
    if (over != NULL || made->n_addresses == 0) {
        tabard__v1__fleet_service__free_unpacked(made, NULL);
        return NULL;
    }
    *room -= bytes;
    return made;
}

// Returns the end of the objects of one namespace that begin at `first`.
static uint32_t end_of_namespace(struct kube_object *const *objects, uint32_t num, uint32_t first)
{
    uint32_t end = first;
    while (end < num && objects[end]->ns == objects[first]->ns) {
        end++;
    }
    return end;
}

static void add_workloads(struct kube_model *model, Tabard__V1__FleetConfig *config,
                          struct kube_workload *const *workloads, uint32_t num)
{
    config->workloads = must_alloc(num, sizeof *config->workloads);
    for (uint32_t i = 0; i < num; i++) {
        config->workloads[config->n_workloads++] = make_workload(model, workloads[i]);
    }
}

static void add_policies(struct kube_model *model, Tabard__V1__FleetConfig *config,
                         struct kube_workload *const *workloads, uint32_t num_workloads)
{
    uint32_t num;
    struct kube_object **policies = in_order(model, KUBE_MESH_POLICY, &num);
    config->policies = must_alloc(num, sizeof *config->policies);
    for (uint32_t i = 0, end = 0; i < num; i++) {
        if (i == end) {
            end = end_of_namespace(policies, num, i);
            kube_policies_limit(model, policies + i, end - i);
        }
        Tabard__V1__FleetPolicy *made =
            make_policy((struct kube_policy *)policies[i], workloads, num_workloads);
        if (made != NULL) {
            config->policies[config->n_policies++] = made;
        }
    }
    free(policies);
}

// Adds those of the services of one namespace that it may have.
static void add_services_of_one(struct kube_model *model, Tabard__V1__FleetConfig *config,
                                struct kube_object *const *services, uint32_t num)
{
    size_t room = KUBE_SERVICE_BYTES_OF_ONE;
    uint32_t num_made = 0;
    for (uint32_t i = 0; i < num; i++) {
        struct kube_service *service = (struct kube_service *)services[i];
        if (num_made == KUBE_SERVICES_OF_ONE_MAX) {
            kube_judge(model, &service->judgement, false, "OverLimit", OVER_NAMESPACE);
            continue;
        }
        Tabard__V1__FleetService *made = make_service(model, service, &room);
        if (made != NULL) {
            config->services[config->n_services++] = made;
            num_made++;
        }
    }
}

static void add_services(struct kube_model *model, Tabard__V1__FleetConfig *config)
{
    uint32_t num;
    struct kube_object **services = in_order(model, KUBE_SERVICE, &num);
    config->services = must_alloc(num, sizeof *config->services);
    for (uint32_t i = 0, end; i < num; i = end) {
        end = end_of_namespace(services, num, i);
        add_services_of_one(model, config, services + i, end - i);
    }
    free(services);
}

Tabard__V1__FleetConfig *kube_fleet_new(struct kube_model *model)
{
    Tabard__V1__FleetConfig *config = must_alloc(1, sizeof *config);
    uint32_t num;
    tabard__v1__fleet_config__init(config);
    struct kube_workload **workloads = live_workloads(model, &num);
    add_workloads(model, config, workloads, num);
    add_policies(model, config, workloads, num);
    add_services(model, config);
    kube_draft_destinations(model, config);
    free(workloads);
    return config;
}
