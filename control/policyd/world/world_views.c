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

static void digest_fixed(const struct fleet *fleet, const struct fleet_sight *sight,
                         uint8_t out[SHA256_DIGEST_LENGTH])
{
    const struct fleet_policy *policies = fleet->policies.items;
    const Tabard__V1__FleetDestination **destinations = fleet->destinations.items;
    const uint32_t *numbers = sight->policies.items;
    SHA256_CTX sha;
    SHA256_Init(&sha);
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
        const struct spiffe_id *id = &fleet_workload(world->fleet, callees[i].workload)->id;
        struct member *member = world_member(world, id->text, id->text_len);
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
    digest_fixed(world->fleet, &view->sight, view->digest);
    add_to_callers(world, view);
}

static bool same_ports(const struct fleet_sight *a, const struct fleet_callee *in_a,
                       const struct fleet_sight *b, const struct fleet_callee *in_b)
{
    const uint32_t *left = (const uint32_t *)a->ports.items + in_a->first_port;
    const uint32_t *right = (const uint32_t *)b->ports.items + in_b->first_port;
    return in_a->num_ports == in_b->num_ports &&
           (in_a->num_ports == 0 || memcmp(left, right, in_a->num_ports * sizeof *left) == 0);
}

// Notes each address of a callee that came, went or has other ports as a change. Returns false when
// those are so many that a whole state is noted instead.
static bool note_member(struct world *world, struct view *view, const struct fleet *fleet,
                        uint32_t workload, uint32_t *num_noted)
{
    const struct spiffe_id *id = &fleet_workload(fleet, workload)->id;
    const struct member *member = world_member(world, id->text, id->text_len);
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

// Walks over both lists, which are sorted by id.
static void note_difference(struct world *world, struct view *view, const struct fleet *old_fleet,
                            const struct fleet_sight *old)
{
    const struct fleet_callee *was = old->callees.items;
    const struct fleet_callee *is = view->sight.callees.items;
    uint32_t num_noted = 0;
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
        if (!is_same && !note_member(world, view, named_by, workload, &num_noted)) {
            return;
        }
        i += order <= 0;
        k += order >= 0;
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
    member->number = fleet_find(world->fleet, member->id, member->id_len);
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

void world_set_fleet(struct world *world, struct fleet *fleet)
{
    struct fleet *old = world->fleet;
    // A view without viewers may stand on the list of the dirty, and is about to be freed.
    world_flush(world);
    world->packed = NULL;
    world->fleet = fleet;
    each_member(world, renumber, NULL);
    each_member(world, renew_member, old);
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

bool world_join(struct world *world, struct viewer *viewer, const char *id, struct err *err)
{
    struct member *member = world_member(world, id, strlen(id));
    if (member->number == FLEET_NONE) {
        return err_set(err, "the fleet doesn't name %s", id);
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
