// SPDX-License-Identifier: Apache-2.0
//
// MeshDestination: from its spec to a destination of the fleet, but for the addresses that services
// give it (kube_draft.c).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/policyd/fleet/fleet.h"
#include "control/policyd/kubernetes/model/kube_json.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"

#define SERVICES_MAX 64

// A service that a spec names.
struct service_name {
    const char *ns;
    const char *name;
};

// What a spec says. Its texts are the spec's.
struct form {
    Tabard__V1__FleetDestination *message; // owned
    struct kube_selector selector;         // owned
    struct service_name services[SERVICES_MAX];
    size_t num_services;
};

static bool read_services(struct form *form, const json_t *services, struct err *err)
{
    const json_t *item;
    size_t i;
    if (services == NULL) {
        return true;
    }
    if (!json_is_array(services) || json_array_size(services) == 0 ||
        json_array_size(services) > SERVICES_MAX) {
        return err_set(err, "is no list of 1 to %d services", SERVICES_MAX);
    }
    json_array_foreach((json_t *)services, i, item)
    {
        struct service_name *service = &form->services[form->num_services++];
        service->ns = kube_json_text(item, "namespace", NULL);
        service->name = kube_json_text(item, "name", NULL);
        bool ok = kube_json_only(item, err, "namespace", "name", NULL) &&
                  (kube_json_is_label(service->ns) ||
                   err_set_at(err, "namespace", "is missing or no name of a namespace")) &&
                  (kube_json_is_name(service->name) ||
                   err_set_at(err, "name", "is missing or no name of a service"));
        if (!ok) {
            return err_prefix_where(err, "[%zu]", i);
        }
    }
    return true;
}

static void set_callers(const struct kube_model *model, const struct kube_object *object,
                        struct form *form)
{
    Tabard__V1__FleetDestination *message = form->message;
    bool is_for_all =
        strcmp(object->ns->name, model->own_namespace) == 0 && form->selector.accounts.num == 0;
    if (!is_for_all) {
        message->callers =
            kube_selector_patterns(model, &form->selector, object->ns->name, &message->n_callers);
        return;
    }
    char text[SPIFFE_ID_LEN_MAX];
    snprintf(text, sizeof text, "spiffe://%s", model->trust_domain);
    message->callers = must_alloc(1, sizeof *message->callers);
    message->callers[message->n_callers++] = must_strdup(text);
}

// Checks a destination as one of the fleet's. Services may bring its addresses.
static bool check(struct form *form, struct err *err)
{
    char placeholder[] = "192.0.2.1";
    char *list[] = {placeholder};
    Tabard__V1__Destination *destination = form->message->destination;
    bool has_none = destination->n_addresses == 0 && form->num_services > 0;
    if (has_none) {
        destination->addresses = list;
        destination->n_addresses = 1;
    }
    bool ok = fleet_check_destination(form->message, err) || kube_json_place(err, "destination");
    if (has_none) {
        destination->addresses = NULL;
        destination->n_addresses = 0;
    }
    return ok;
}

static bool read_form(const struct kube_model *model, const struct kube_object *object,
                      struct form *out, json_t *spec, struct err *err)
{
    if (!json_is_object(spec)) {
        return err_set_at(err, "spec", "missing");
    }
    if (json_object_get(spec, "name") != NULL) {
        return err_set_at(err, "spec.name", "there is no such field");
    }
    if (!kube_selector_read(&out->selector, json_object_get(spec, "selector"), false, err)) {
        return err_prefix_where(err, "spec");
    }
    if (!read_services(out, json_object_get(spec, "services"), err)) {
        return err_prefix_where(err, "spec.services");
    }
    json_t *rest = must_have(json_copy(spec));
    json_object_del(rest, "selector");
    json_object_del(rest, "services");
    json_object_set_new(rest, "name", must_have(json_string(object->path)));
    Tabard__V1__Destination *destination =
        kube_json_message(&tabard__v1__destination__descriptor, rest, err);
    json_decref(rest);
    if (destination == NULL) {
        return kube_json_place(err, "");
    }
    out->message = must_alloc(1, sizeof *out->message);
    tabard__v1__fleet_destination__init(out->message);
    out->message->destination = destination;
    set_callers(model, object, out);
    return check(out, err);
}

static void form_cleanup(struct form *form)
{
    if (form->message != NULL) {
        tabard__v1__fleet_destination__free_unpacked(form->message, NULL);
    }
    kube_selector_cleanup(&form->selector);
}

static void give_up_good(struct kube_model *model, struct kube_destination *destination)
{
    struct kube_service **services = destination->services.items;
    struct kube_place_row **places = destination->places.items;
    for (uint32_t i = 0; i < destination->services.num; i++) {
        kube_service_unnamed(model, services[i]);
    }
    for (uint32_t i = 0; i < destination->places.num; i++) {
        places[i]->num_destinations--;
        kube_place_settle(model, places[i]);
    }
    array_cleanup(&destination->services);
    array_cleanup(&destination->places);
    kube_selector_cleanup(&destination->selector);
    if (destination->good != NULL) {
        tabard__v1__fleet_destination__free_unpacked(destination->good, NULL);
    }
    destination->good = NULL;
    model->is_fleet_dirty = true;
}

// Takes over what a form holds, but for the texts of the spec.
static void set_good(struct kube_model *model, struct kube_destination *destination,
                     struct form *form)
{
    const Tabard__V1__Destination *inner = form->message->destination;
    give_up_good(model, destination);
    destination->good = form->message;
    destination->selector = form->selector;
    for (size_t i = 0; i < form->num_services; i++) {
        kube_place_add(&destination->services,
                       kube_service_named(model, form->services[i].ns, form->services[i].name));
    }
    for (size_t i = 0; i < inner->n_addresses; i++) {
        struct cidr block;
        if (cidr_parse(&block, inner->addresses[i], NULL) && block.prefix_bits == 128) {
            struct kube_place_row *place = kube_place_find(model, &block.ip);
            place->num_destinations++;
            kube_place_add(&destination->places, place);
        }
    }
}

// Counts a destination whose earlier form isn't known where its callers are.
static void set_lost(struct kube_model *model, struct kube_destination *destination, bool is_lost)
{
    struct kube_namespace *ns = destination->object.ns;
    if (destination->is_lost == is_lost) {
        return;
    }
    bool is_everybodys = strcmp(ns->name, model->own_namespace) == 0;
    uint32_t *num = is_everybodys ? &model->num_lost : &ns->num_lost;
    *num += is_lost ? 1 : -1U;
    destination->is_lost = is_lost;
    model->is_fleet_dirty = true;
}

static void judge(struct kube_model *model, struct kube_destination *destination)
{
    struct err err = {{0}, {0}};
    struct form form = {.num_services = 0};
    if (model->trust_domain == NULL) {
        return;
    }
    json_t *spec = json_loads(destination->spec, JSON_DECODE_ANY, NULL);
    bool is_plaintext = strcmp(kube_json_text(spec, "mode", NULL), "PLAINTEXT") == 0;
    destination->is_bad = !read_form(model, &destination->object, &form, spec, &err);
    if (destination->is_bad) {
        form_cleanup(&form);
        bool has_good = destination->good != NULL;
        set_lost(model, destination,
                 kube_judge_is_lost(&destination->judgement, has_good) && !is_plaintext);
        kube_judge_refused(model, &destination->judgement, &err,
                           has_good               ? KUBE_STAYS
                           : destination->is_lost ? "what it said before isn't known any more, so "
                                                    "its callers may call nothing that is unlisted"
                                                  : NULL);
    } else {
        set_lost(model, destination, false);
        set_good(model, destination, &form); // it is judged when it stands beside the others
    }
    json_decref(spec);
}

void kube_destination_judge(struct kube_model *model, struct kube_object *object)
{
    judge(model, (struct kube_destination *)object);
}

void kube_destination_put(struct kube_model *model, const char *ns, const char *name,
                          const json_t *object)
{
    struct kube_destination *destination = (struct kube_destination *)kube_object_make(
        model, KUBE_MESH_DESTINATION, ns, name, sizeof(struct kube_destination));
    const json_t *found = json_object_get(object, "spec");
    char *spec = found == NULL ? must_strdup("null") : kube_json_canonical(found);
    bool is_same = destination->spec != NULL && strcmp(destination->spec, spec) == 0;
    destination->judgement.kind = KUBE_MESH_DESTINATION;
    destination->judgement.ns = destination->object.ns->name;
    destination->judgement.name = destination->object.name;
    const char *created = kube_json_text(object, "metadata", "creationTimestamp", NULL);
    if (destination->created == NULL || strcmp(destination->created, created) != 0) {
        free(destination->created);
        destination->created = must_strdup(created);
        model->is_fleet_dirty = true; // it may stand before others now
    }
    kube_judge_generation(model, &destination->judgement, object);
    if (is_same) {
        free(spec);
        return;
    }
    free(destination->spec);
    destination->spec = spec;
    judge(model, destination);
}

void kube_destination_delete(struct kube_model *model, struct kube_destination *destination)
{
    give_up_good(model, destination);
    set_lost(model, destination, false);
    kube_judgement_cleanup(&destination->judgement);
    free(destination->spec);
    free(destination->created);
    kube_object_drop(model, KUBE_MESH_DESTINATION, &destination->object);
}
