// SPDX-License-Identifier: Apache-2.0
//
// Works out what each view shows of a fleet, and notes what differs from the fleet before.
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "control/policyd/world/world_impl.h"

static void digest_message(SHA256_CTX *sha, const ProtobufCMessage *message)
{
    struct bytes bytes = {0};
    pb_wire_put_message(&bytes, 1, message);
    SHA256_Update(sha, bytes.at, bytes.len);
    bytes_cleanup(&bytes);
}

static void digest_fixed(const struct fleet *fleet, const struct view *view,
                         uint8_t out[SHA256_DIGEST_LENGTH])
{
    const struct fleet_sight *sight = &view->sight;
    const Tabard__V1__Workload *own = fleet_workload(fleet, view->member->number)->spec;
    const uint32_t settings[] = {(uint32_t)own->enforcement, (uint32_t)own->unlisted_outbound,
                                 (uint32_t)own->key_exchange};
    const struct fleet_policy *policies = fleet->policies.items;
    const Tabard__V1__FleetDestination **destinations = fleet->destinations.items;
    const uint32_t *numbers = sight->policies.items;
    SHA256_CTX sha;
    SHA256_Init(&sha);
    SHA256_Update(&sha, settings, sizeof settings);
    for (uint32_t i = 0; i < sight->policies.num; i++) {
        digest_message(&sha, &policies[numbers[i]].spec->policy->base);
    }
    SHA256_Update(&sha, "", 1);
    numbers = sight->destinations.items;
    for (uint32_t i = 0; i < sight->destinations.num; i++) {
        digest_message(&sha, &destinations[numbers[i]]->destination->base);
    }
    SHA256_Final(out, &sha);
}

// Puts a view on the lists of those it may call.
static void add_to_callers(struct world *world, struct view *view)
{
    const struct fleet_callee *callees = view->sight.callees.items;
    for (uint32_t i = 0; i < view->sight.callees.num; i++) {
        const struct fleet_workload *row = fleet_workload(world->fleet, callees[i].workload);
        struct member *member = world_member(world, row->key, row->key_len);
        struct view **caller = array_add(&member->callers, sizeof(struct view *));
        *caller = view;
    }
}

// Works out what the view's owner sees of the fleet in force.
static void fill_sight(struct world *world, struct view *view)
{
    world->num_sights++;
    if (view->member->number == FLEET_NONE) {
        memset(view->digest, 0, sizeof view->digest);
        return;
    }
    fleet_sight_init(&view->sight, world->fleet, view->member->number);
    digest_fixed(world->fleet, view, view->digest);
    add_to_callers(world, view);
}

static bool same_numbers(const uint32_t *a, uint32_t num_a, const uint32_t *b, uint32_t num_b)
{
    return num_a == num_b && (num_a == 0 || memcmp(a, b, num_a * sizeof *a) == 0);
}

static bool same_ports(const struct fleet_sight *a, const struct fleet_callee *in_a,
                       const struct fleet_sight *b, const struct fleet_callee *in_b)
{
    return same_numbers((const uint32_t *)a->ports.items + in_a->first_port, in_a->num_ports,
                        (const uint32_t *)b->ports.items + in_b->first_port, in_b->num_ports);
}

// Notes each address of a callee that came, went or has other ports as a change. Returns false when
// those are so many that a whole state is noted instead.
static bool note_member(struct world *world, struct view *view, const struct fleet *fleet,
                        uint32_t workload, uint32_t *num_noted)
{
    const struct fleet_workload *row = fleet_workload(fleet, workload);
    const struct member *member = world_member(world, row->key, row->key_len);
    if ((*num_noted += member->addresses.num) >= WORLD_LOG_MAX) {
        view_note_all(world, view);
        return false;
    }
    const struct ip *addresses = member->addresses.items;
    for (uint32_t i = 0; i < member->addresses.num; i++) {
        view_note(world, view, member, &addresses[i]);
    }
    return true;
}

// Walks over both lists, which are sorted by key. Returns false when a whole state was noted.
static bool note_callees(struct world *world, struct view *view, const struct fleet *old_fleet,
                         const struct fleet_sight *old, uint32_t *num_noted)
{
    const struct fleet_callee *was = old->callees.items;
    const struct fleet_callee *is = view->sight.callees.items;
    uint32_t i = 0;
    uint32_t k = 0;
    while (i < old->callees.num || k < view->sight.callees.num) {
        int order = i == old->callees.num ? 1
                    : k == view->sight.callees.num
                        ? -1
                        : fleet_compare_workloads(fleet_workload(old_fleet, was[i].workload),
                                                  fleet_workload(world->fleet, is[k].workload));
        bool is_same = order == 0 && same_ports(old, &was[i], &view->sight, &is[k]) &&
                       fleet_workload(old_fleet, was[i].workload)->spec->binding ==
                           fleet_workload(world->fleet, is[k].workload)->spec->binding;
        const struct fleet *named_by = order < 0 ? old_fleet : world->fleet;
        uint32_t workload = order < 0 ? was[i].workload : is[k].workload;
        if (!is_same && !note_member(world, view, named_by, workload, num_noted)) {
            return false;
        }
        i += order <= 0;
        k += order >= 0;
    }
    return true;
}

static const struct fleet_service *service_of(const struct fleet *fleet,
                                              const struct fleet_served *served)
{
    return &((const struct fleet_service *)fleet->services.items)[served->service];
}

static bool same_texts(char *const *a, size_t num_a, char *const *b, size_t num_b)
{
    for (size_t i = 0; num_a == num_b && i < num_a; i++) {
        if (strcmp(a[i], b[i]) != 0) {
            return false;
        }
    }
    return num_a == num_b;
}

// Says whether a caller of a service is told the same of it as before.
static bool same_service(const struct fleet *old_fleet, const struct fleet_sight *old,
                         const struct fleet_served *was, const struct fleet *fleet,
                         const struct fleet_sight *sight, const struct fleet_served *is)
{
    const struct fleet_service *a = service_of(old_fleet, was);
    const struct fleet_service *b = service_of(fleet, is);
    return same_numbers((const uint32_t *)old->ports.items + was->first_port, was->num_ports,
                        (const uint32_t *)sight->ports.items + is->first_port, is->num_ports) &&
           same_texts(a->spec->addresses, a->spec->n_addresses, b->spec->addresses,
                      b->spec->n_addresses) &&
           same_texts(a->identities.items, a->identities.num, b->identities.items,
                      b->identities.num);
}

// Finds the service of a name in a sight, by its map from names.
static const struct fleet_served *served_of(const struct keymap *names,
                                            const struct fleet_sight *sight, const char *name)
{
    struct keymap_key key = keymap_key_of(name, strlen(name), 0);
    const uint32_t *at = keymap_find(names, &key);
    return at == NULL ? NULL : &((const struct fleet_served *)sight->services.items)[*at];
}

static void index_served(struct keymap *names, const struct fleet *fleet,
                         const struct fleet_sight *sight)
{
    const struct fleet_served *all = sight->services.items;
    for (uint32_t i = 0; i < sight->services.num; i++) {
        const char *name = service_of(fleet, &all[i])->spec->name;
        struct keymap_key key = keymap_key_of(name, strlen(name), 0);
        bool is_new = false;
        *keymap_put(names, &key, &is_new) = i;
    }
}

// Notes each service that came, went or is told otherwise than before.
static void note_services(struct world *world, struct view *view, const struct fleet *old_fleet,
                          const struct fleet_sight *old, uint32_t num_noted)
{
    struct keymap was_named = {0};
    struct keymap is_named = {0};
    struct array changed = {0}; // const char *
    const struct fleet_served *was = old->services.items;
    const struct fleet_served *is = view->sight.services.items;
    index_served(&was_named, old_fleet, old);
    index_served(&is_named, world->fleet, &view->sight);
    for (uint32_t i = 0; i < old->services.num; i++) {
        const char *name = service_of(old_fleet, &was[i])->spec->name;
        if (served_of(&is_named, &view->sight, name) == NULL) {
            *(const char **)array_add(&changed, sizeof name) = name;
        }
    }
    for (uint32_t i = 0; i < view->sight.services.num; i++) {
        const char *name = service_of(world->fleet, &is[i])->spec->name;
        const struct fleet_served *before = served_of(&was_named, old, name);
        if (before == NULL ||
            !same_service(old_fleet, old, before, world->fleet, &view->sight, &is[i])) {
            *(const char **)array_add(&changed, sizeof name) = name;
        }
    }
    if (num_noted + changed.num >= WORLD_LOG_MAX) {
        view_note_all(world, view);
    } else {
        for (uint32_t i = 0; i < changed.num; i++) {
            view_note_service(world, view, ((const char **)changed.items)[i]);
        }
    }
    array_cleanup(&changed);
    keymap_cleanup(&was_named);
    keymap_cleanup(&is_named);
}

static void note_difference(struct world *world, struct view *view, const struct fleet *old_fleet,
                            const struct fleet_sight *old)
{
    uint32_t num_noted = 0;
    bool has_services = old->services.num > 0 || view->sight.services.num > 0;
    if (note_callees(world, view, old_fleet, old, &num_noted) && has_services) {
        note_services(world, view, old_fleet, old, num_noted);
    }
}

static void renew_view(struct world *world, struct view *view, const struct fleet *old_fleet)
{
    struct fleet_sight old = view->sight;
    uint8_t old_digest[SHA256_DIGEST_LENGTH];
    memcpy(old_digest, view->digest, sizeof old_digest);
    view->sight = (struct fleet_sight){.callees = {.num = 0}};
    fill_sight(world, view);
    if (memcmp(old_digest, view->digest, sizeof old_digest) != 0) {
        view_note_all(world, view);
    } else {
        note_difference(world, view, old_fleet, &old);
    }
    fleet_sight_cleanup(&old);
}

typedef void on_member(struct world *world, struct member *member, void *ctx);

static void each_member(struct world *world, on_member *on_one, void *ctx)
{
    // Members are made meanwhile, and the table may grow: the list is taken first.
    uint32_t num = 0;
    struct member **all = must_alloc(world->members.num, sizeof(struct member *));
    for (uint32_t i = 0; i < world->members.cap; i++) {
        for (struct table_link *link = world->members.heads[i]; link != NULL; link = link->next) {
            all[num++] = (struct member *)link;
        }
    }
    for (uint32_t i = 0; i < num; i++) {
        on_one(world, all[i], ctx);
    }
    free(all);
}

static void renumber(struct world *world, struct member *member, void *ctx)
{
    (void)ctx;
    array_cleanup(&member->callers);
    member->number = fleet_find_key(world->fleet, member->key, member->key_len);
    if (member->view != NULL && list_is_empty(&member->view->viewers)) {
        view_free(member->view);
        member->view = NULL;
        world->num_views--;
    } else if (member->view != NULL) {
        member->view->body_to = 0;
    }
}

static void renew_member(struct world *world, struct member *member, void *ctx)
{
    const struct fleet *old_fleet = ctx;
    if (member->view != NULL) {
        renew_view(world, member->view, old_fleet);
    }
}

static void note_members(struct world *world, struct member *member, void *ctx)
{
    (void)world;
    (void)ctx;
    const struct change *log = member->view == NULL ? NULL : member->view->log;
    for (size_t i = 0; i < WORLD_LOG_MAX && log != NULL; i++) {
        if (log[i].member != NULL) {
            ((struct member *)log[i].member)->is_noted = true;
        }
    }
}

static void forget_idle(struct world *world, struct member *member, void *ctx)
{
    (void)ctx;
    bool is_in_use = member->number != FLEET_NONE || member->addresses.num > 0 ||
                     member->view != NULL || member->is_noted;
    member->is_noted = false;
    if (!is_in_use) {
        table_remove(&world->members, &member->link);
        member_free(member);
    }
}

void world_set_fleet(struct world *world, struct fleet *fleet)
{
    struct fleet *old = world->fleet;
    // A view without viewers may stand on the list of the dirty, and is about to be freed.
    world_flush(world);
    world->packed = NULL;
    world->fleet = fleet;
    each_member(world, renumber, NULL);
    each_member(world, renew_member, old);
    if (world->members.num > 2 * fleet->workloads.num + WORLD_IDLE_MAX) {
        each_member(world, note_members, NULL);
        each_member(world, forget_idle, NULL);
    }
    fleet_free(old);
}

static void note_trust(struct world *world, struct member *member, void *ctx)
{
    (void)ctx;
    if (member->view != NULL) {
        view_note_all(world, member->view);
    }
}

void world_set_trust(struct world *world, struct ca_trust *trust)
{
    struct ca_trust *old = world->trust;
    world->trust = trust;
    each_member(world, note_trust, NULL);
    ca_trust_free(old);
}

bool world_join(struct world *world, struct viewer *viewer, const char *key, struct err *err)
{
    struct member *member = world_member(world, key, strlen(key));
    if (member->number == FLEET_NONE) {
        return err_set(err, "the fleet doesn't name %s", key);
    }
    if (member->view == NULL) {
        struct view *view = must_alloc(1, sizeof *view);
        view->member = member;
        list_init(&view->viewers);
        view->seq = view->state_seq = 1;
        member->view = view;
        world->num_views++;
        fill_sight(world, view);
    }
    *viewer = (struct viewer){.view = member->view, .wants_all = true};
    list_push(&member->view->viewers, &viewer->link);
    return true;
}

bool world_move(struct world *world, struct viewer *viewer, const char *key, struct err *err)
{
    struct viewer before = *viewer;
    const struct member *member = world_member(world, key, strlen(key));
    if (member->number == FLEET_NONE) {
        return err_set(err, "the fleet doesn't name %s", key);
    }
    if (before.view != NULL && before.view->member == member) {
        return true;
    }
    world_leave(viewer);
    if (!world_join(world, viewer, key, err)) {
        return false;
    }
    viewer->wants_deltas = before.wants_deltas;
    world->num_changes++; // what it is sent next is news, of a higher version
    view_mark(world, viewer->view);
    return true;
}
