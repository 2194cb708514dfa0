// SPDX-License-Identifier: Apache-2.0
//
// The destinations of a fleet: with the addresses of the services that they name, and without those
// that are the mesh's own.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "control/policyd/kubernetes/model/kube_draft.h"

static int compare_drafts(const void *a, const void *b)
{
    const struct kube_destination *left = ((const struct kube_draft *)a)->of;
    const struct kube_destination *right = ((const struct kube_draft *)b)->of;
    int order = strcmp(left->object.ns->name, right->object.ns->name);
    order = order != 0 ? order : strcmp(left->created, right->created);
    return order != 0 ? order : strcmp(left->object.path, right->object.path);
}

static void add_note(struct kube_draft *draft, const char *text, const char *what)
{
    size_t len = strlen(draft->note);
    snprintf(draft->note + len, KUBE_DRAFT_NOTE_BYTES - len, "%s%s %s", len == 0 ? "" : "; ", what,
             text);
}

static void add_address(Tabard__V1__Destination *destination, const struct ip *ip)
{
    char text[ADDR_TEXT_MAX];
    ip_text(ip, text);
    for (size_t i = 0; i < destination->n_addresses; i++) {
        if (strcmp(destination->addresses[i], text) == 0) {
            return;
        }
    }
    destination->addresses = must_grow(destination->addresses, destination->n_addresses + 1,
                                       sizeof *destination->addresses);
    destination->addresses[destination->n_addresses++] = must_strdup(text);
}

// Takes out the addresses that are of pods in the mesh: a sidecar would get them twice.
static void leave_out_own(struct kube_model *model, struct kube_draft *draft)
{
    Tabard__V1__Destination *destination = draft->message->destination;
    size_t num = 0;
    for (size_t i = 0; i < destination->n_addresses; i++) {
        struct cidr block;
        char *text = destination->addresses[i];
        bool is_single = cidr_parse(&block, text, NULL) && block.prefix_bits == 128;
        struct kube_place_row *place = is_single ? kube_place_find(model, &block.ip) : NULL;
        if (place != NULL && place->owner != NULL) {
            add_note(draft, "is a pod in the mesh and left out", text);
            free(text);
        } else {
            destination->addresses[num++] = text;
        }
    }
    destination->n_addresses = num;
}

static void add_services(struct kube_draft *draft)
{
    struct kube_service *const *services = draft->of->services.items;
    Tabard__V1__Destination *destination = draft->message->destination;
    for (uint32_t i = 0; i < draft->of->services.num; i++) {
        struct kube_place_row *const *places = services[i]->places.items;
        const struct ip *outside = services[i]->outside.items;
        bool is_headless = services[i]->is_known && services[i]->places.num == 0;
        uint32_t num_outside = is_headless ? services[i]->outside.num : 0;
        for (uint32_t p = 0; p < services[i]->places.num; p++) {
            add_address(destination, &places[p]->ip);
        }
        for (uint32_t o = 0; o < num_outside; o++) {
            add_address(destination, &outside[o]);
        }
        if (services[i]->places.num + num_outside == 0) {
            add_note(draft, services[i]->is_known ? "has no address" : "isn't there",
                     services[i]->object.path);
        }
    }
}

static void make_drafts(struct kube_model *model, struct kube_drafts *out)
{
    const struct table *table = &model->objects[KUBE_MESH_DESTINATION];
    *out = (struct kube_drafts){.own_namespace = model->own_namespace};
    out->all = must_alloc(table->num, sizeof *out->all);
    for (uint32_t i = 0; i < table->cap; i++) {
        for (struct table_link *link = table->heads[i]; link != NULL; link = link->next) {
            struct kube_destination *of = (struct kube_destination *)link;
            if (of->good != NULL) {
                out->all[out->num++] =
                    (struct kube_draft){.of = of, .message = pb_copy(&of->good->base)};
            }
        }
    }
    if (out->num > 1) {
        qsort(out->all, out->num, sizeof *out->all, compare_drafts);
    }
    for (uint32_t i = 0; i < out->num; i++) {
        struct kube_draft *draft = &out->all[i];
        add_services(draft);
        leave_out_own(model, draft);
        if (draft->message->destination->n_addresses == 0) {
            tabard__v1__fleet_destination__free_unpacked(draft->message, NULL);
            draft->message = NULL;
        }
    }
}

void kube_draft_destinations(struct kube_model *model, Tabard__V1__FleetConfig *config)
{
    struct kube_drafts drafts;
    make_drafts(model, &drafts);
    kube_conflict_refuse(&drafts);
    config->destinations = must_alloc(drafts.num, sizeof *config->destinations);
    for (uint32_t i = 0; i < drafts.num; i++) {
        struct kube_draft *draft = &drafts.all[i];
        if (!draft->of->is_bad) {
            kube_judge(model, &draft->of->judgement, draft->refusal == NULL,
                       draft->refusal == NULL ? "Accepted" : draft->refusal, draft->note);
        }
        if (draft->message != NULL && draft->refusal == NULL) {
            config->destinations[config->n_destinations++] = draft->message;
        } else if (draft->message != NULL) {
            tabard__v1__fleet_destination__free_unpacked(draft->message, NULL);
        }
    }
    free(drafts.all);
}
