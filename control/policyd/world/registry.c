// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/world/registry.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"

struct place;

// One address of one claim; a place's holders are a list of these.
struct hold {
    struct claim *claim;
    struct place *place;
    struct hold *next;
};

struct place {
    struct table_link link; // first: a link is its place
    struct ip ip;
    struct hold *holds;
    struct hold *owner;   // the one that counts: the address belongs to its claim's identity
    struct claim *placed; // owned: that of registry_place; NULL: none
};

struct claim {
    char *id; // owned
    uint64_t since_us;
    bool is_lingering;
    size_t num_addresses;
    struct ip addresses[REGISTRY_ADDRESSES_MAX];
    struct hold holds[REGISTRY_ADDRESSES_MAX];
};

void registry_init(struct registry *registry, void *ctx,
                   void (*on_moved)(void *ctx, const struct ip *ip, const char *from_id,
                                    const char *to_id))
{
    *registry = (struct registry){.ctx = ctx, .on_moved = on_moved};
}

static void free_claim(struct registry *registry, struct claim *claim)
{
    registry->num_claims--;
    free(claim->id);
    free(claim);
}

void registry_cleanup(struct registry *registry)
{
    for (uint32_t i = 0; i < registry->places.cap; i++) {
        struct place *place = (struct place *)registry->places.heads[i];
        while (place != NULL) {
            struct place *next = (struct place *)place->link.next;
            invariant(place->placed != NULL);
            free_claim(registry, place->placed);
            free(place);
            place = next;
        }
    }
    invariant(registry->num_claims == 0);
    table_cleanup(&registry->places);
}

static struct place *find_place(struct registry *registry, const struct ip *ip, uint64_t *out_hash)
{
    *out_hash = table_hash(&registry->places, ip->bytes, sizeof ip->bytes);
    struct table_link *link = table_first(&registry->places, *out_hash);
    while (link != NULL && !ip_equal(&((struct place *)link)->ip, ip)) {
        link = table_next(link);
    }
    return (struct place *)link;
}

// Says whether `a` counts rather than `b`: a claim in touch counts before one that lingers, then
// the older one, then the id that sorts first, so that several policyds agree.
static bool goes_before(const struct claim *a, const struct claim *b)
{
    if (a->is_lingering != b->is_lingering) {
        return b->is_lingering;
    }
    if (a->since_us != b->since_us) {
        return a->since_us < b->since_us;
    }
    return strcmp(a->id, b->id) < 0;
}

// Finds the owner anew, and calls on_moved if the address has another identity than before.
static void settle(struct registry *registry, struct place *place, const char *was_id)
{
    place->owner = NULL;
    for (struct hold *hold = place->holds; hold != NULL; hold = hold->next) {
        if (place->owner == NULL || goes_before(hold->claim, place->owner->claim)) {
            place->owner = hold;
        }
    }
    const char *id = place->owner == NULL ? NULL : place->owner->claim->id;
    bool is_same = was_id == id || (was_id != NULL && id != NULL && strcmp(was_id, id) == 0);
    if (!is_same) {
        registry->on_moved(registry->ctx, &place->ip, was_id, id);
    }
}

static const char *owner_id(const struct place *place)
{
    return place->owner == NULL ? NULL : place->owner->claim->id;
}

static bool is_free_for(struct registry *registry, const struct claim_spec *spec,
                        const struct ip *ip, struct err *err)
{
    uint64_t hash;
    char text[ADDR_TEXT_MAX];
    const struct place *place = find_place(registry, ip, &hash);
    if (place == NULL || place->owner->claim->is_lingering ||
        strcmp(place->owner->claim->id, spec->id) == 0) {
        return true;
    }
    return err_set(err, "%s is in use by %s", ip_text(ip, text), place->owner->claim->id);
}

static void hold_place(struct registry *registry, struct claim *claim, size_t i)
{
    uint64_t hash;
    struct place *place = find_place(registry, &claim->addresses[i], &hash);
    if (place == NULL) {
        place = must_alloc(1, sizeof *place);
        table_put(&registry->places, &place->link, hash);
        place->ip = claim->addresses[i];
    }
    claim->holds[i] = (struct hold){.claim = claim, .place = place, .next = place->holds};
    place->holds = &claim->holds[i];
    settle(registry, place, owner_id(place));
}

static void let_go(struct registry *registry, struct hold *hold)
{
    struct place *place = hold->place;
    struct hold **at = &place->holds;
    const char *was_id = owner_id(place);
    while (*at != hold) {
        at = &(*at)->next;
    }
    *at = hold->next;
    settle(registry, place, was_id);
    if (place->holds == NULL) {
        table_remove(&registry->places, &place->link);
        free(place);
    }
}

struct claim *registry_claim(struct registry *registry, const struct claim_spec *spec,
                             struct err *err)
{
    if (spec->num_addresses > REGISTRY_ADDRESSES_MAX) {
        err_set(err, "%zu addresses, more than %d", spec->num_addresses, REGISTRY_ADDRESSES_MAX);
        return NULL;
    }
    if (registry->num_claims >= REGISTRY_CLAIMS_MAX) {
        err_set(err, "the limit of %d sidecars with addresses is reached", REGISTRY_CLAIMS_MAX);
        return NULL;
    }
    for (size_t i = 0; i < spec->num_addresses && !spec->is_foreign; i++) {
        if (!is_free_for(registry, spec, &spec->addresses[i], err)) {
            return NULL;
        }
    }
    struct claim *claim = must_alloc(1, sizeof *claim);
    claim->id = must_strdup(spec->id);
    registry->num_claims++;
    claim->since_us = spec->since_us;
    for (size_t i = 0; i < spec->num_addresses; i++) {
        bool is_twice = false;
        for (size_t k = 0; k < claim->num_addresses; k++) {
            is_twice = is_twice || ip_equal(&claim->addresses[k], &spec->addresses[i]);
        }
        if (is_twice) {
            continue;
        }
        claim->addresses[claim->num_addresses] = spec->addresses[i];
        hold_place(registry, claim, claim->num_addresses);
        claim->num_addresses++;
    }
    return claim;
}

void registry_linger(struct registry *registry, struct claim *claim)
{
    claim->is_lingering = true;
    for (size_t i = 0; i < claim->num_addresses; i++) {
        settle(registry, claim->holds[i].place, owner_id(claim->holds[i].place));
    }
}

void registry_drop(struct registry *registry, struct claim *claim)
{
    if (claim == NULL) {
        return;
    }
    for (size_t i = 0; i < claim->num_addresses; i++) {
        let_go(registry, &claim->holds[i]);
    }
    free_claim(registry, claim);
}

bool registry_place(struct registry *registry, const struct ip *ip, const char *id, struct err *err)
{
    uint64_t hash;
    struct place *place = find_place(registry, ip, &hash);
    struct claim *before = place == NULL ? NULL : place->placed;
    const struct claim_spec spec = {
        .id = id, .addresses = ip, .num_addresses = 1, .is_foreign = true};
    struct claim *claim = id == NULL ? NULL : registry_claim(registry, &spec, err);
    if (id != NULL && claim == NULL) {
        return false;
    }
    if (place != NULL) {
        place->placed = claim;
    } else if (claim != NULL) {
        claim->holds[0].place->placed = claim;
    }
    registry_drop(registry, before);
    return true;
}

const char *registry_owner(struct registry *registry, const struct ip *ip)
{
    uint64_t hash;
    const struct place *place = find_place(registry, ip, &hash);
    return place == NULL ? NULL : owner_id(place);
}

bool claim_is_in_force(const struct claim *claim)
{
    for (size_t i = 0; i < claim->num_addresses; i++) {
        if (strcmp(owner_id(claim->holds[i].place), claim->id) != 0) {
            return false;
        }
    }
    return true;
}

const char *claim_id(const struct claim *claim)
{
    return claim->id;
}

const struct ip *claim_addresses(const struct claim *claim, size_t *out_num)
{
    *out_num = claim->num_addresses;
    return claim->addresses;
}

uint64_t claim_since_us(const struct claim *claim)
{
    return claim->since_us;
}
