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
#include "proxy/rules/route.h"

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

// Lists the single addresses among the blocks of a destination.
static struct array singles_of(const Tabard__V1__Destination *destination)
{
    struct array singles = {0}; // struct ip
    for (size_t i = 0; i < destination->n_addresses; i++) {
        struct cidr block;
        if (cidr_parse(&block, destination->addresses[i], NULL) && block.prefix_bits == 128) {
            *(struct ip *)array_add(&singles, sizeof block.ip) = block.ip;
        }
    }
    return singles;
}

// Adds an address that isn't there yet, however it is written. false: there are too many.
static bool add_address(Tabard__V1__Destination *destination, struct array *singles,
                        const struct ip *ip)
{
    const struct ip *known = singles->items;
    char text[ADDR_TEXT_MAX];
    for (uint32_t i = 0; i < singles->num; i++) {
        if (ip_equal(&known[i], ip)) {
            return true;
        }
    }
    if (destination->n_addresses >= DESTINATION_ADDRESSES_MAX) {
        return false;
    }
    *(struct ip *)array_add(singles, sizeof *ip) = *ip;
    destination->addresses = must_grow(destination->addresses, destination->n_addresses + 1,
                                       sizeof *destination->addresses);
    destination->addresses[destination->n_addresses++] = must_strdup(ip_text(ip, text));
    return true;
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

// The tag of what is named for everybody, beside the groups.
#define FOR_ALL UINT32_MAX

bool kube_draft_is_for_all(const struct kube_drafts *drafts, const struct kube_draft *draft)
{
    return strcmp(draft->of->object.ns->name, drafts->own_namespace) == 0 &&
           draft->of->selector.accounts.num == 0;
}

// Notes which single addresses the specs name, of those that are for the same callers.
static void find_named(struct kube_drafts *drafts)
{
    for (uint32_t i = 0; i < drafts->num; i++) {
        struct kube_draft *draft = &drafts->all[i];
        struct kube_place_row *const *places = draft->of->places.items;
        bool is_next = i == 0 || drafts->all[i - 1].of->object.ns != draft->of->object.ns;
        draft->group = is_next ? i : drafts->all[i - 1].group;
        for (uint32_t p = 0; p < draft->of->places.num; p++) {
            struct keymap_key key =
                keymap_key_of(&places[p]->ip, sizeof places[p]->ip,
                              kube_draft_is_for_all(drafts, draft) ? FOR_ALL : draft->group);
            bool is_new = false;
            *keymap_put(&drafts->named, &key, &is_new) = i;
        }
    }
}

// Says whether an endpoint's address is named by a spec: that counts, since whoever writes a
// service's endpoints is another than whoever names the service.
static bool is_named(const struct kube_drafts *drafts, const struct kube_draft *draft,
                     const struct ip *ip)
{
    struct keymap_key own = keymap_key_of(ip, sizeof *ip, draft->group);
    struct keymap_key all = keymap_key_of(ip, sizeof *ip, FOR_ALL);
    return keymap_find(&drafts->named, &own) != NULL || keymap_find(&drafts->named, &all) != NULL;
}

// Adds the addresses of one service, as far as a destination may have so many: whoever writes its
// slices is another than whoever names it, and one destination holds up none.
static void add_service(const struct kube_drafts *drafts, struct kube_draft *draft,
                        const struct kube_service *service, struct array *singles)
{
    Tabard__V1__Destination *destination = draft->message->destination;
    struct kube_place_row *const *places = service->places.items;
    const struct ip *outside = service->outside.items;
    bool is_headless = service->is_known && service->places.num == 0;
    uint32_t num_outside = is_headless ? service->outside.num : 0;
    bool has_room = true;
    for (uint32_t p = 0; p < service->places.num && has_room; p++) {
        has_room = add_address(destination, singles, &places[p]->ip);
    }
    for (uint32_t o = 0; o < num_outside && has_room; o++) {
        has_room =
            is_named(drafts, draft, &outside[o]) || add_address(destination, singles, &outside[o]);
    }
    if (!has_room) {
        add_note(draft, "has more addresses than a destination may have, and the rest is left out",
                 service->object.path);
    } else if (service->places.num + num_outside == 0) {
        add_note(draft, service->is_known ? "has no address" : "isn't there", service->object.path);
    }
}

static void add_services(const struct kube_drafts *drafts, struct kube_draft *draft)
{
    struct kube_service *const *services = draft->of->services.items;
    struct array singles = {0}; // struct ip
    if (draft->of->services.num > 0) {
        singles = singles_of(draft->message->destination);
    }
    for (uint32_t i = 0; i < draft->of->services.num; i++) {
        add_service(drafts, draft, services[i], &singles);
    }
    array_cleanup(&singles);
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
    find_named(out);
    for (uint32_t i = 0; i < out->num; i++) {
        struct kube_draft *draft = &out->all[i];
        add_services(out, draft);
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
    keymap_cleanup(&drafts.named);
    free(drafts.all);
}
