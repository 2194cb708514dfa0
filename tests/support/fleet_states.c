// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fleet_states.h"

#include <stdlib.h>

#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "control/policyd/world/world.h"
#include "proxy/rules/policy.h"
#include "proxy/rules/route.h"
#include "tabard/v1/policy_agent.pb-c.h"

static void on_change(void *ctx)
{
    (void)ctx;
}

static void on_behind(void *ctx, struct viewer *viewer)
{
    (void)ctx;
    (void)viewer;
}

static bool check_state(const Tabard__V1__State *state, struct err *err)
{
    struct policy_index *policies = policy_index_new(state->policies, state->n_policies, err);
    Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
    snapshot.destinations = state->destinations;
    snapshot.n_destinations = state->n_destinations;
    struct route_index *routes = policies == NULL ? NULL : route_index_new(&snapshot, err);
    policy_index_free(policies);
    route_index_free(routes);
    return routes != NULL;
}

static bool check_view(struct world *world, const char *key, struct err *err)
{
    struct viewer viewer = {.view = NULL};
    bool is_state = false;
    if (!world_join(world, &viewer, key, err)) {
        return false;
    }
    const struct bytes *body = viewer_take_update(world, &viewer, &is_state);
    Tabard__V1__SubscribeResponse *response =
        tabard__v1__subscribe_response__unpack(NULL, body->len, body->at);
    bool ok = (response != NULL && response->state != NULL) || err_set(err, "no state");
    ok = ok && check_state(response->state, err);
    if (response != NULL) {
        tabard__v1__subscribe_response__free_unpacked(response, NULL);
    }
    world_leave(&viewer);
    return ok || err_prefix(err, "%s", key);
}

bool fleet_states_check(const Tabard__V1__FleetConfig *config, const char *trust_domain,
                        const struct fleet_states_place *places, size_t num_places, struct err *err)
{
    const struct world_hooks hooks = {.on_change = on_change, .on_behind = on_behind};
    struct world world;
    struct fleet *fleet = fleet_new_of(pb_copy(&config->base), trust_domain, err);
    if (fleet == NULL) {
        return false;
    }
    world_init(&world, &hooks);
    world_set_trust(&world, must_alloc(1, sizeof(struct ca_trust)));
    world_set_fleet(&world, fleet);
    bool ok = true;
    for (size_t i = 0; i < num_places && ok; i++) {
        ok = registry_place(&world.registry, &places[i].ip, places[i].owner, err);
    }
    for (uint32_t i = 0; i < fleet->workloads.num && ok; i++) {
        ok = check_view(&world, fleet_workload(fleet, i)->key, err);
    }
    world_cleanup(&world);
    return ok;
}
