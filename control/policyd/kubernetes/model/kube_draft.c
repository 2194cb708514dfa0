// SPDX-License-Identifier: Apache-2.0
//
// The destinations of a fleet: with the addresses of the services that they name, without those
// that are the mesh's own, and without those that a sidecar would refuse beside the others.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "control/policyd/kubernetes/model/kube_model_impl.h"
#include "proxy/rules/route.h"

#define NOTE_BYTES 1024

struct draft {
    struct kube_destination *of;
    Tabard__V1__FleetDestination *message; // owned; NULL: it has no address
    char note[NOTE_BYTES];                 // for its author, beside that it is accepted
    bool is_refused;
};

// All of them, the older before the younger one: of two that stand against each other the later one
// is refused, but none of policyd's own namespace for one of another.
struct drafts {
    struct draft *all;
    uint32_t num;
    const char *own_namespace;
};

static bool is_for_all(const struct drafts *drafts, const struct draft *draft)
{
    return strcmp(draft->of->object.ns->name, drafts->own_namespace) == 0 &&
           draft->of->selector.accounts.num == 0;
}

static int compare_destinations(const void *a, const void *b)
{
    const struct kube_destination *left = ((const struct draft *)a)->of;
    const struct kube_destination *right = ((const struct draft *)b)->of;
    int order = strcmp(left->created, right->created);
    return order != 0 ? order : strcmp(left->object.path, right->object.path);
}

static void add_note(struct draft *draft, const char *text, const char *what)
{
    size_t len = strlen(draft->note);
    snprintf(draft->note + len, NOTE_BYTES - len, "%s%s %s", len == 0 ? "" : "; ", what, text);
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
static void leave_out_own(struct kube_model *model, struct draft *draft)
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

static void add_services(struct draft *draft)
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

static void make_drafts(struct kube_model *model, struct drafts *out)
{
    const struct table *table = &model->objects[KUBE_MESH_DESTINATION];
    *out = (struct drafts){.own_namespace = model->own_namespace};
    out->all = must_alloc(table->num, sizeof *out->all);
    for (uint32_t i = 0; i < table->cap; i++) {
        for (struct table_link *link = table->heads[i]; link != NULL; link = link->next) {
            struct kube_destination *of = (struct kube_destination *)link;
            if (of->good != NULL) {
                out->all[out->num++] =
                    (struct draft){.of = of, .message = pb_copy(&of->good->base)};
            }
        }
    }
    if (out->num > 1) {
        qsort(out->all, out->num, sizeof *out->all, compare_destinations);
    }
    for (uint32_t i = 0; i < out->num; i++) {
        struct draft *draft = &out->all[i];
        add_services(draft);
        leave_out_own(model, draft);
        if (draft->message->destination->n_addresses == 0) {
            tabard__v1__fleet_destination__free_unpacked(draft->message, NULL);
            draft->message = NULL;
        }
    }
}

// A group of callers that get the same destinations: those of a namespace that no selector names,
// or one account of it.
struct group {
    const char *ns;
    const char *account; // NULL: the others
};

static bool names_account(const struct kube_destination *of, const char *account)
{
    char *const *accounts = of->selector.accounts.items;
    bool is_named = account == NULL;
    for (uint32_t i = 0; i < of->selector.accounts.num && !is_named; i++) {
        is_named = strcmp(accounts[i], account) == 0;
    }
    return is_named;
}

static bool is_of_group(const struct drafts *drafts, const struct draft *draft,
                        const struct group *group)
{
    if (draft->message == NULL || draft->is_refused) {
        return false;
    }
    bool is_of_account = draft->of->selector.accounts.num == 0 ||
                         (group->account != NULL && names_account(draft->of, group->account));
    return is_for_all(drafts, draft) ||
           (is_of_account && strcmp(draft->of->object.ns->name, group->ns) == 0);
}

// Writes what is wrong, with the name of the other one in place of its number in the list.
static void refuse(struct draft *draft, const struct err *err, struct draft *const *list,
                   uint32_t num)
{
    unsigned other = 0;
    const char *at = strstr(err->text, "destinations[");
    draft->is_refused = true;
    if (at != NULL && sscanf(at, "destinations[%u]", &other) == 1 && other < num) {
        snprintf(draft->note, NOTE_BYTES, "spec: %.*s%s%s", (int)(at - err->text), err->text,
                 list[other]->of->object.path, strchr(at, ']') + 1);
    } else {
        snprintf(draft->note, NOTE_BYTES, "spec: %s", err->text);
    }
}

// Finds the one of a group that a sidecar would refuse, if there is one.
static bool refuse_one(struct drafts *drafts, const struct group *group)
{
    struct draft **list = must_alloc(drafts->num, sizeof(struct draft *));
    Tabard__V1__Destination **messages = must_alloc(drafts->num, sizeof *messages);
    struct err err = {{0}, {0}};
    unsigned number = 0;
    uint32_t num = 0;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < drafts->num; i++) {
            struct draft *draft = &drafts->all[i];
            if (is_for_all(drafts, draft) == (round == 0) && is_of_group(drafts, draft, group)) {
                messages[num] = draft->message->destination;
                list[num++] = draft;
            }
        }
    }
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    snapshot.destinations = messages;
    snapshot.n_destinations = num;
    struct route_index *index = route_index_new(&snapshot, &err);
    bool is_bad = index == NULL;
    if (is_bad) {
        bool is_named = sscanf(err.where, "destinations[%u]", &number) == 1 && number < num;
        refuse(list[is_named ? number : num - 1], &err, list, num);
    }
    route_index_free(index);
    free(messages);
    free(list);
    return is_bad;
}

// Refuses what must be refused for a group, unless a draft before this one was of the group, too.
static void refuse_group(struct drafts *drafts, uint32_t number, const char *account)
{
    const struct kube_destination *of = drafts->all[number].of;
    const struct group group = {.ns = of->object.ns->name, .account = account};
    for (uint32_t i = 0; i < number; i++) {
        if (drafts->all[i].of->object.ns == of->object.ns &&
            names_account(drafts->all[i].of, account)) {
            return;
        }
    }
    while (refuse_one(drafts, &group)) {
    }
}

static void refuse_all(struct drafts *drafts)
{
    for (uint32_t i = 0; i < drafts->num; i++) {
        const struct kube_selector *selector = &drafts->all[i].of->selector;
        char *const *accounts = selector->accounts.items;
        refuse_group(drafts, i, NULL);
        for (uint32_t a = 0; a < selector->accounts.num; a++) {
            refuse_group(drafts, i, accounts[a]);
        }
    }
}

void kube_draft_destinations(struct kube_model *model, Tabard__V1__FleetConfig *config)
{
    struct drafts drafts;
    make_drafts(model, &drafts);
    refuse_all(&drafts);
    config->destinations = must_alloc(drafts.num, sizeof *config->destinations);
    for (uint32_t i = 0; i < drafts.num; i++) {
        struct draft *draft = &drafts.all[i];
        if (!draft->of->is_bad) {
            kube_judge(model, &draft->of->judgement, !draft->is_refused,
                       draft->is_refused ? "Conflict" : "Accepted", draft->note);
        }
        if (draft->message != NULL && !draft->is_refused) {
            config->destinations[config->n_destinations++] = draft->message;
        } else if (draft->message != NULL) {
            tabard__v1__fleet_destination__free_unpacked(draft->message, NULL);
        }
    }
    free(drafts.all);
}
