// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/policyd/world/world.h"
#include "tabard/v1/policy_agent.pb-c.h"

#define TIMEOUT   30
#define NUM       12
#define NUM_IPS   20
#define NUM_STEPS 400

static struct world world;

static void on_change(void *ctx)
{
    (void)ctx;
}

static void on_behind(void *ctx, struct viewer *viewer)
{
    (void)ctx;
    (void)viewer;
}

static unsigned pick(unsigned *seed, unsigned num)
{
    *seed = *seed * 1103515245 + 12345;
    return (*seed >> 16) % num;
}

static struct fleet *random_fleet(unsigned *seed)
{
    char *text = NULL;
    size_t len = 0;
    struct err err = {{0}, {0}};
    FILE *out = open_memstream(&text, &len);
    fprintf(out, "workloads:\n");
    for (int i = 0; i < NUM; i++) {
        if (i < 3 || pick(seed, 8) > 0) {
            fprintf(out,
                    "- {spiffe_id: 'spiffe://demo.example/w%d', addresses: ['10.0.0.0/8'], ports: "
                    "[80]}\n",
                    i);
        }
    }
    fprintf(out, "policies:\n");
    for (int i = 0; i < NUM; i++) {
        fprintf(
            out,
            "- {targets: ['spiffe://demo.example/w%u'], policy: {name: p%d, action: ALLOW, mode: "
            "ENFORCE, rules: [{principals: ['spiffe://demo.example/w%u']}]}}\n",
            3 + pick(seed, NUM - 3), i, pick(seed, 3));
    }
    fclose(out);
    const struct fleet_piece piece = {.name = "a", .text = text, .len = len};
    struct fleet *fleet = fleet_new(&piece, 1, "demo.example", &err);
    cr_assert_not_null(fleet, "%s", err.text);
    free(text);
    return fleet;
}

static struct ca_trust *empty_trust(void)
{
    return calloc(1, sizeof(struct ca_trust));
}

// The names of the destinations that a sidecar would have in force.
struct played {
    struct viewer viewer;
    char names[64][128];
    size_t num;
};

static void take_name(struct played *played, const char *name, bool is_removed)
{
    size_t at = 0;
    while (at < played->num && strcmp(played->names[at], name) != 0) {
        at++;
    }
    if (is_removed && at < played->num) {
        memmove(played->names[at], played->names[--played->num], sizeof played->names[0]);
    } else if (!is_removed && at == played->num) {
        cr_assert_lt(played->num, 64);
        snprintf(played->names[played->num++], sizeof played->names[0], "%s", name);
    }
}

static void catch_up(struct played *played, unsigned *num_deltas)
{
    bool is_state = false;
    if (!viewer_is_behind(&played->viewer)) {
        return;
    }
    const struct bytes *body = viewer_take_update(&world, &played->viewer, &is_state);
    cr_assert_not_null(body);
    Tabard__V1__SubscribeResponse *response =
        tabard__v1__subscribe_response__unpack(NULL, body->len, body->at);
    cr_assert_not_null(response);
    if (is_state) {
        cr_assert_not_null(response->state);
        played->num = 0;
        for (size_t i = 0; i < response->state->n_destinations; i++) {
            take_name(played, response->state->destinations[i]->name, false);
        }
    } else {
        cr_assert_not_null(response->destinations);
        (*num_deltas)++;
        for (size_t i = 0; i < response->destinations->n_removed; i++) {
            take_name(played, response->destinations->removed[i], true);
        }
        for (size_t i = 0; i < response->destinations->n_set; i++) {
            take_name(played, response->destinations->set[i]->name, false);
        }
    }
    tabard__v1__subscribe_response__free_unpacked(response, NULL);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

// The state as one that just came would get it is what deltas must have led to.
static void expect_same(struct played *played, const char *id, unsigned step)
{
    struct played fresh = {.viewer = {.view = NULL}};
    struct err err = {{0}, {0}};
    unsigned ignored = 0;
    cr_assert(world_join(&world, &fresh.viewer, id, &err), "%s", err.text);
    catch_up(&fresh, &ignored);
    world_leave(&fresh.viewer);
    qsort(fresh.names, fresh.num, sizeof fresh.names[0], compare_names);
    qsort(played->names, played->num, sizeof played->names[0], compare_names);
    cr_assert_eq(fresh.num, played->num, "step %u, %s: %zu destinations, not %zu", step, id,
                 played->num, fresh.num);
    for (size_t i = 0; i < fresh.num; i++) {
        cr_assert_str_eq(fresh.names[i], played->names[i], "step %u, %s", step, id);
    }
}

static struct claim *claim_some(unsigned *seed, uint64_t step)
{
    char id[48], address[32];
    struct ip ip;
    snprintf(id, sizeof id, "spiffe://demo.example/w%u", pick(seed, NUM));
    snprintf(address, sizeof address, "10.0.0.%u", 1 + pick(seed, NUM_IPS));
    cr_assert(ip_parse(&ip, address, NULL));
    const struct claim_spec spec = {.id = id,
                                    .addresses = &ip,
                                    .num_addresses = 1,
                                    .since_us = step,
                                    .is_foreign = pick(seed, 2) == 0};
    return registry_claim(&world.registry, &spec, NULL);
}

Test(world, deltas_lead_where_a_whole_state_leads, .timeout = TIMEOUT)
{
    static struct claim *claims[8];
    static struct played played[3];
    const struct world_hooks hooks = {.on_change = on_change, .on_behind = on_behind};
    unsigned seed = 7;
    unsigned num_deltas = 0;
    struct err err = {{0}, {0}};
    char id[48];
    world_init(&world, &hooks);
    world_set_trust(&world, empty_trust());
    world_set_fleet(&world, random_fleet(&seed));
    for (int i = 0; i < 3; i++) {
        snprintf(id, sizeof id, "spiffe://demo.example/w%d", i);
        cr_assert(world_join(&world, &played[i].viewer, id, &err), "%s", err.text);
        played[i].viewer.wants_deltas = true;
    }
    for (unsigned step = 1; step <= NUM_STEPS; step++) {
        unsigned at = pick(&seed, 8);
        if (pick(&seed, 30) == 0) {
            world_set_fleet(&world, random_fleet(&seed));
        } else if (claims[at] == NULL) {
            claims[at] = claim_some(&seed, step);
        } else if (pick(&seed, 3) == 0) {
            registry_linger(&world.registry, claims[at]);
        } else {
            registry_drop(&world.registry, claims[at]);
            claims[at] = NULL;
        }
        world_flush(&world);
        for (int i = 0; i < 3; i++) {
            // Some are slow.
            if (pick(&seed, 3) > 0) {
                snprintf(id, sizeof id, "spiffe://demo.example/w%d", i);
                catch_up(&played[i], &num_deltas);
                expect_same(&played[i], id, step);
            }
        }
    }
    cr_expect_gt(num_deltas, 50, "only %u deltas", num_deltas);
    for (int i = 0; i < 8; i++) {
        registry_drop(&world.registry, claims[i]);
    }
    for (int i = 0; i < 3; i++) {
        world_leave(&played[i].viewer);
    }
    world_cleanup(&world);
}

Test(world, a_fleet_that_changes_nothing_for_a_view_sends_it_nothing, .timeout = TIMEOUT)
{
    const struct world_hooks hooks = {.on_change = on_change, .on_behind = on_behind};
    struct played played = {.viewer = {.view = NULL}};
    struct err err = {{0}, {0}};
    unsigned ignored = 0;
    world_init(&world, &hooks);
    world_set_trust(&world, empty_trust());
    for (unsigned round = 0; round < 2; round++) {
        unsigned seed = 7;
        world_set_fleet(&world, random_fleet(&seed));
        if (round == 0) {
            cr_assert(world_join(&world, &played.viewer, "spiffe://demo.example/w0", &err));
            catch_up(&played, &ignored);
        }
        cr_expect_not(viewer_is_behind(&played.viewer), "round %u", round);
    }
    world_set_trust(&world, empty_trust());
    cr_expect(viewer_is_behind(&played.viewer), "another trust concerns everybody");
    bool is_state = false;
    played.viewer.wants_deltas = true;
    cr_assert_not_null(viewer_take_update(&world, &played.viewer, &is_state));
    cr_expect(is_state, "no delta can tell of a trust");
    world_leave(&played.viewer);
    world_cleanup(&world);
}
