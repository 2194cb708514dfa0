// SPDX-License-Identifier: Apache-2.0
//
// Which destinations can't stand beside others. Only those that share a block of addresses with
// another one are compared, for each group of callers that gets the same of them.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/keymap.h"
#include "base/must.h"
#include "control/policyd/kubernetes/model/kube_draft.h"
#include "proxy/rules/route.h"

// Those of one namespace, behind those that are for everybody.
struct candidates {
    struct kube_draft **all;
    uint32_t num;
};

static void refuse_surplus(struct kube_drafts *drafts)
{
    uint32_t num = 0; // of the namespace
    for (uint32_t i = 0; i < drafts->num; i++) {
        struct kube_draft *draft = &drafts->all[i];
        bool is_next = i == 0 || drafts->all[i - 1].of->object.ns != draft->of->object.ns;
        num = is_next ? 1 : num + 1;
        if (num > KUBE_DESTINATIONS_OF_ONE_MAX) {
            draft->refusal = "OverLimit";
            snprintf(draft->note, sizeof draft->note,
                     "the namespace has %d MeshDestinations that are older, and may have no more",
                     KUBE_DESTINATIONS_OF_ONE_MAX);
        }
    }
}

// Marks those candidates that share a block of addresses.
static void find_suspects(const struct candidates *candidates)
{
    struct array blocks = {0}; // struct cidr, which the map borrows: filled first
    struct keymap owners = {0};
    for (uint32_t i = 0; i < candidates->num; i++) {
        const Tabard__V1__Destination *destination = candidates->all[i]->message->destination;
        candidates->all[i]->is_suspect = false;
        for (size_t a = 0; a < destination->n_addresses; a++) {
            cidr_parse(array_add(&blocks, sizeof(struct cidr)), destination->addresses[a], NULL);
        }
    }
    const struct cidr *block = blocks.items;
    for (uint32_t i = 0; i < candidates->num; i++) {
        const Tabard__V1__Destination *destination = candidates->all[i]->message->destination;
        for (size_t a = 0; a < destination->n_addresses; a++, block++) {
            struct keymap_key key = keymap_key_of(&block->ip, sizeof block->ip, block->prefix_bits);
            bool is_new = false;
            uint32_t *owner = keymap_put(&owners, &key, &is_new);
            *owner = is_new ? i : *owner;
            candidates->all[i]->is_suspect |= !is_new;
            candidates->all[*owner]->is_suspect |= !is_new;
        }
    }
    keymap_cleanup(&owners);
    array_cleanup(&blocks);
}

// Writes what is wrong, with the name of the other one in place of its number in the list.
static void refuse(struct kube_draft *draft, const struct err *err, struct kube_draft *const *list,
                   uint32_t num)
{
    unsigned other = 0;
    const char *at = strstr(err->text, "destinations[");
    draft->refusal = "Conflict";
    if (at != NULL && sscanf(at, "destinations[%u]", &other) == 1 && other < num) {
        snprintf(draft->note, sizeof draft->note, "spec: %.*s%s%s", (int)(at - err->text),
                 err->text, list[other]->of->object.path, strchr(at, ']') + 1);
    } else {
        snprintf(draft->note, sizeof draft->note, "spec: %s", err->text);
    }
}

// Refuses the one of a list that a sidecar would refuse, and takes it out. false: there is none.
static bool refuse_one(struct kube_draft **list, uint32_t *num)
{
    Tabard__V1__Destination **messages = must_alloc(*num, sizeof *messages);
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    struct err err = {{0}, {0}};
    unsigned number = 0;
    for (uint32_t i = 0; i < *num; i++) {
        messages[i] = list[i]->message->destination;
    }
    snapshot.destinations = messages;
    snapshot.n_destinations = *num;
    struct route_index *index = route_index_new(&snapshot, &err);
    bool is_bad = index == NULL && *num > 0;
    if (is_bad) {
        bool is_named = sscanf(err.where, "destinations[%u]", &number) == 1 && number < *num;
        number = is_named ? number : *num - 1;
        refuse(list[number], &err, list, *num);
        memmove(&list[number], &list[number + 1], (*num - number - 1) * sizeof(void *));
        (*num)--;
    }
    route_index_free(index);
    free(messages);
    return is_bad;
}

// An account that a suspect's selector names; `number` is the suspect's among the candidates.
struct named {
    const char *account;
    uint32_t number;
};

static int compare_named(const void *a, const void *b)
{
    const struct named *left = a;
    const struct named *right = b;
    int order = strcmp(left->account, right->account);
    return order != 0 ? order : (left->number > right->number) - (left->number < right->number);
}

static bool is_compared(const struct kube_draft *draft)
{
    return draft->is_suspect && draft->refusal == NULL;
}

// Compares what one account's pods get: what is for every account, and what names this one; none:
// the pods of accounts that nothing names.
static void compare_for(const struct candidates *candidates, const struct named *named,
                        uint32_t num_named)
{
    struct kube_draft **list = must_alloc(candidates->num + num_named, sizeof(struct kube_draft *));
    uint32_t num = 0;
    uint32_t next = 0; // of named, which is in the candidates' order
    for (uint32_t i = 0; i < candidates->num; i++) {
        struct kube_draft *draft = candidates->all[i];
        bool is_named = next < num_named && named[next].number == i;
        next += is_named;
        if ((is_named || draft->of->selector.accounts.num == 0) && is_compared(draft)) {
            list[num++] = draft;
        }
    }
    while (num > 1 && refuse_one(list, &num)) {
    }
    free(list);
}

static void compare_all(const struct candidates *candidates)
{
    struct array all = {0}; // struct named
    find_suspects(candidates);
    compare_for(candidates, NULL, 0);
    for (uint32_t i = 0; i < candidates->num; i++) {
        const struct kube_draft *draft = candidates->all[i];
        char *const *accounts = draft->of->selector.accounts.items;
        for (uint32_t a = 0; a < draft->of->selector.accounts.num && is_compared(draft); a++) {
            struct named *named = array_add(&all, sizeof *named);
            *named = (struct named){.account = accounts[a], .number = i};
        }
    }
    struct named *named = all.items;
    if (all.num > 1) {
        qsort(named, all.num, sizeof *named, compare_named);
    }
    for (uint32_t i = 0, end; i < all.num; i = end) {
        // One that names an account twice is in its list once.
        uint32_t num = 0;
        for (end = i; end < all.num && strcmp(named[end].account, named[i].account) == 0; end++) {
            if (num == 0 || named[i + num - 1].number != named[end].number) {
                named[i + num++] = named[end];
            }
        }
        compare_for(candidates, named + i, num);
    }
    array_cleanup(&all);
}

static void add_candidate(struct candidates *candidates, struct kube_draft *draft)
{
    if (draft->message != NULL && draft->refusal == NULL) {
        candidates->all[candidates->num++] = draft;
    }
}

void kube_conflict_refuse(struct kube_drafts *drafts)
{
    struct candidates candidates = {.all = must_alloc(drafts->num, sizeof(struct kube_draft *))};
    uint32_t num_shared = 0;
    refuse_surplus(drafts);
    for (uint32_t i = 0; i < drafts->num; i++) {
        if (kube_draft_is_for_all(drafts, &drafts->all[i])) {
            add_candidate(&candidates, &drafts->all[i]);
        }
    }
    // Those for everybody first: what they leave is compared in each namespace.
    compare_all(&candidates);
    for (uint32_t i = 0; i < candidates.num; i++) {
        if (candidates.all[i]->refusal == NULL) {
            candidates.all[num_shared++] = candidates.all[i];
        }
    }
    for (uint32_t i = 0, end; i < drafts->num; i = end) {
        candidates.num = num_shared;
        for (end = i;
             end < drafts->num && drafts->all[end].of->object.ns == drafts->all[i].of->object.ns;
             end++) {
            if (!kube_draft_is_for_all(drafts, &drafts->all[end])) {
                add_candidate(&candidates, &drafts->all[end]);
            }
        }
        if (candidates.num > num_shared) {
            compare_all(&candidates);
        }
    }
    free(candidates.all);
}
