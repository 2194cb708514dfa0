// SPDX-License-Identifier: Apache-2.0
//
// States and deltas as bytes: packed once for all viewers that stand at the same change.
#include <stdio.h>
#include <string.h>

#include "control/policyd/world/world_impl.h"
#include "proto/policy_agent_fields.h"
#include "proxy/rules/route.h"
#include "tabard/v1/policy_agent.pb-c.h"

#define NAME_MAX_LEN (DESTINATION_NAME_LEN_MAX + 1)

// An address's destination is named after both, or after the address alone where the id is long.
static const char *name_of(const struct member *member, const char *ip, char out[NAME_MAX_LEN])
{
    bool is_long = member->id_len + 1 + strlen(ip) > DESTINATION_NAME_LEN_MAX;
    snprintf(out, NAME_MAX_LEN, "%s%s%s", is_long ? "spiffe://" : member->id, is_long ? "" : "@",
             ip);
    return out;
}

static void put_destination(struct bytes *out, uint32_t field, const struct world *world,
                            const struct view *view, const struct member *member,
                            const struct fleet_callee *callee, const struct ip *ip)
{
    char name[NAME_MAX_LEN], text[ADDR_TEXT_MAX];
    Tabard__V1__Destination destination = TABARD__V1__DESTINATION__INIT;
    char *address = text;
    char *identity = member->id;
    ip_text(ip, text);
    destination.name = (char *)name_of(member, text, name);
    destination.addresses = &address;
    destination.n_addresses = 1;
    destination.ports = (uint32_t *)view->sight.ports.items + callee->first_port;
    destination.n_ports = callee->num_ports;
    destination.mode = TABARD__V1__DESTINATION__MODE__MTLS;
    destination.identities = &identity;
    destination.n_identities = 1;
    destination.binding = fleet_workload(world->fleet, callee->workload)->spec->binding;
    pb_wire_put_message(out, field, &destination.base);
}

static void put_service(struct bytes *out, uint32_t field, const struct world *world,
                        const struct view *view, const struct fleet_served *served)
{
    const struct fleet_service *service =
        &((const struct fleet_service *)world->fleet->services.items)[served->service];
    Tabard__V1__Destination destination = TABARD__V1__DESTINATION__INIT;
    destination.name = service->spec->name;
    destination.addresses = service->spec->addresses;
    destination.n_addresses = service->spec->n_addresses;
    destination.ports = (uint32_t *)view->sight.ports.items + served->first_port;
    destination.n_ports = served->num_ports;
    destination.mode = TABARD__V1__DESTINATION__MODE__MTLS;
    destination.identities = service->identities.items;
    destination.n_identities = service->identities.num;
    destination.binding = TABARD__V1__DESTINATION__BINDING__NONE;
    pb_wire_put_message(out, field, &destination.base);
}

static void put_settings(struct bytes *out, const struct world *world, const struct view *view)
{
    if (view->member->number == FLEET_NONE) {
        return;
    }
    const Tabard__V1__Workload *spec = fleet_workload(world->fleet, view->member->number)->spec;
    if (spec->enforcement != 0) {
        pb_wire_put_number(out, STATE_ENFORCEMENT, spec->enforcement);
    }
    if (spec->unlisted_outbound != 0) {
        pb_wire_put_number(out, STATE_UNLISTED_OUTBOUND, spec->unlisted_outbound);
    }
    if (spec->key_exchange != 0) {
        pb_wire_put_number(out, STATE_KEY_EXCHANGE, spec->key_exchange);
    }
}

static void put_state(struct world *world, const struct view *view, struct bytes *out)
{
    const struct fleet *fleet = world->fleet;
    const struct fleet_policy *policies = fleet->policies.items;
    const Tabard__V1__FleetDestination **fixed = fleet->destinations.items;
    const struct fleet_callee *callees = view->sight.callees.items;
    const uint32_t *numbers = view->sight.policies.items;
    bytes_push(out, world->trust->packed.at, world->trust->packed.len);
    for (uint32_t i = 0; i < view->sight.policies.num; i++) {
        pb_wire_put_message(out, STATE_POLICIES, &policies[numbers[i]].spec->policy->base);
    }
    for (uint32_t i = 0; i < view->sight.callees.num; i++) {
        const struct fleet_workload *row = fleet_workload(fleet, callees[i].workload);
        const struct member *member = world_member(world, row->key, row->key_len);
        const struct ip *addresses = member->addresses.items;
        for (uint32_t a = 0; a < member->addresses.num; a++) {
            put_destination(out, STATE_DESTINATIONS, world, view, member, &callees[i],
                            &addresses[a]);
        }
    }
    numbers = view->sight.destinations.items;
    for (uint32_t i = 0; i < view->sight.destinations.num; i++) {
        pb_wire_put_message(out, STATE_DESTINATIONS, &fixed[numbers[i]]->destination->base);
    }
    const struct fleet_served *served = view->sight.services.items;
    for (uint32_t i = 0; i < view->sight.services.num; i++) {
        put_service(out, STATE_DESTINATIONS, world, view, &served[i]);
    }
    put_settings(out, world, view);
}

// Says whether two changes are of the destination of one name.
static bool is_same(const struct change *a, const struct change *b)
{
    char a_name[NAME_MAX_LEN], b_name[NAME_MAX_LEN], text[ADDR_TEXT_MAX];
    if (a->service != NULL || b->service != NULL) {
        return a->service != NULL && b->service != NULL && strcmp(a->service, b->service) == 0;
    }
    if (!ip_equal(&a->ip, &b->ip)) {
        return false;
    }
    ip_text(&a->ip, text);
    return a->member == b->member ||
           strcmp(name_of(a->member, text, a_name), name_of(b->member, text, b_name)) == 0;
}

static void put_change_of_service(const struct world *world, const struct view *view,
                                  const char *name, struct bytes *out)
{
    const struct fleet_served *served = view->sight.services.items;
    const struct fleet_service *services = world->fleet->services.items;
    for (uint32_t i = 0; i < view->sight.services.num; i++) {
        if (strcmp(services[served[i].service].spec->name, name) == 0) {
            put_service(out, DELTA_SET, world, view, &served[i]);
            return;
        }
    }
    pb_wire_put_field(out, DELTA_REMOVED, name, strlen(name));
}

// Puts an address as it is now: set for whoever is there and may be called under the change's name.
static void put_change_of_address(struct world *world, const struct view *view,
                                  const struct change *change, struct bytes *out)
{
    char name[NAME_MAX_LEN], text[ADDR_TEXT_MAX];
    const char *owner = registry_owner(&world->registry, &change->ip);
    if (owner != NULL) {
        const struct member *member = world_member(world, owner, strlen(owner));
        const struct fleet_callee *callee = view_callee(view, member);
        const struct change now = {.member = member, .ip = change->ip};
        if (callee != NULL && is_same(change, &now)) {
            put_destination(out, DELTA_SET, world, view, member, callee, &change->ip);
            return;
        }
    }
    name_of(change->member, ip_text(&change->ip, text), name);
    pb_wire_put_field(out, DELTA_REMOVED, name, strlen(name));
}

// Puts each changed destination once, as it is now, whatever happened to it meanwhile.
static void put_delta(struct world *world, const struct view *view, uint64_t from,
                      struct bytes *out)
{
    for (uint64_t seq = from + 1; seq <= view->seq; seq++) {
        const struct change *change = &view->log[seq % WORLD_LOG_MAX];
        bool was_told = false;
        for (uint64_t before = from + 1; before < seq && !was_told; before++) {
            was_told = is_same(&view->log[before % WORLD_LOG_MAX], change);
        }
        if (was_told) {
            continue;
        }
        if (change->service != NULL) {
            put_change_of_service(world, view, change->service, out);
        } else {
            put_change_of_address(world, view, change, out);
        }
    }
}

static bool needs_state(const struct viewer *viewer)
{
    const struct view *view = viewer->view;
    return viewer->wants_all || !viewer->wants_deltas || viewer->seq < view->state_seq ||
           view->seq - viewer->seq > WORLD_LOG_MAX;
}

const struct bytes *viewer_take_update(struct world *world, struct viewer *viewer,
                                       bool *out_is_state)
{
    struct view *view = viewer->view;
    bool is_state = needs_state(viewer);
    uint64_t from = is_state ? 0 : viewer->seq;
    *out_is_state = is_state;
    if (world->packed != NULL && world->packed != view) {
        bytes_cleanup(&world->packed->body);
        world->packed->body_to = 0;
    }
    world->packed = view;
    if (view->body_to != view->seq || view->body_from != from) {
        struct bytes inner = {0};
        bytes_cleanup(&view->body);
        if (is_state) {
            put_state(world, view, &inner);
        } else {
            put_delta(world, view, from, &inner);
        }
        pb_wire_put_field(&view->body, is_state ? RESPONSE_STATE : RESPONSE_DESTINATIONS, inner.at,
                          inner.len);
        bytes_cleanup(&inner);
        view->body_to = view->seq;
        view->body_from = from;
        world->num_bodies++;
    }
    viewer->seq = view->seq;
    viewer->wants_all = false;
    return &view->body;
}
