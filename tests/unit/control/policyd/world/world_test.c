// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb/pb_text.h"
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

static struct fleet *fleet_of(const char *text)
{
    struct err err = {{0}, {0}};
    Tabard__V1__FleetConfig *config = (Tabard__V1__FleetConfig *)pb_text_parse(
        &tabard__v1__fleet_config__descriptor, text, strlen(text), "text", NULL, &err);
    cr_assert_not_null(config, "%s", err.text);
    struct fleet *fleet = fleet_new_of(config, "demo.example", &err);
    cr_assert_not_null(fleet, "%s", err.text);
    return fleet;
}

// Workloads 3 and 4 have two variants each, of which 4's second may be missing.
static bool has_variant(int workload)
{
    return workload == 3 || workload == 4;
}

static struct fleet *random_fleet(unsigned *seed)
{
    char *text = NULL;
    size_t len = 0;
    bool is_named[NUM] = {false};
    FILE *out = open_memstream(&text, &len);
    fprintf(out, "workloads:\n");
    for (int i = 0; i < NUM; i++) {
        is_named[i] = i < 4 || pick(seed, 8) > 0;
        for (int v = 0; is_named[i] && v <= (i == 3 || (i == 4 && pick(seed, 2) == 0)); v++) {
            fprintf(out, "- {spiffe_id: 'spiffe://demo.example/w%d', ports: [80]%s%s}\n", i,
                    v == 1 ? ", variant: v" : "",
                    pick(seed, 20) == 0 ? ", enforcement: OBSERVE" : "");
        }
    }
    fprintf(out, "policies:\n");
    for (int i = 0; i < NUM; i++) {
        fprintf(
            out,
            "- {targets: ['spiffe://demo.example/w%u'], %spolicy: {name: p%d, action: ALLOW, mode: "
            "ENFORCE, rules: [{principals: ['spiffe://demo.example/w%u']}]}}\n",
            3 + pick(seed, NUM - 3), pick(seed, 3) == 0 ? "variants: [v], " : "", i, pick(seed, 3));
    }
    fprintf(out, "services:\n");
    for (int i = 0; i < NUM; i++) {
        int member = 3 + (int)pick(seed, NUM - 3);
        if (is_named[member] && pick(seed, 3) > 0) {
            fprintf(out,
                    "- {name: s%d, addresses: ['10.96.0.%d'], ports: [{port: %u, targets: [80]}], "
                    "members: [{spiffe_id: 'spiffe://demo.example/w%d'}]}\n",
                    i, i, 80 + pick(seed, 2), member);
        }
    }
    fclose(out);
    struct fleet *fleet = fleet_of(text);
    free(text);
    return fleet;
}

static struct ca_trust *empty_trust(void)
{
    return calloc(1, sizeof(struct ca_trust));
}

// The destinations that a sidecar would have in force, by name and as text.
struct played {
    struct viewer viewer;
    char names[64][128];
    char *texts[64];
    size_t num;
};

static void take(struct played *played, const char *name, const ProtobufCMessage *destination)
{
    size_t at = 0;
    while (at < played->num && strcmp(played->names[at], name) != 0) {
        at++;
    }
    cr_assert_lt(at, 64);
    if (at < played->num) {
        free(played->texts[at]);
        memmove(played->names[at], played->names[--played->num], sizeof played->names[0]);
        played->texts[at] = played->texts[played->num];
    }
    if (destination != NULL) {
        snprintf(played->names[played->num], sizeof played->names[0], "%s", name);
        played->texts[played->num++] = pb_text_to_json(destination);
    }
}

static void forget(struct played *played)
{
    while (played->num > 0) {
        free(played->texts[--played->num]);
    }
}

// A sidecar refuses a delta that names a destination twice.
static void expect_each_once(const Tabard__V1__DestinationDelta *delta)
{
    for (size_t i = 0; i < delta->n_set; i++) {
        for (size_t k = 0; k < i; k++) {
            cr_expect_str_neq(delta->set[i]->name, delta->set[k]->name);
        }
        for (size_t k = 0; k < delta->n_removed; k++) {
            cr_expect_str_neq(delta->set[i]->name, delta->removed[k]);
        }
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
        forget(played);
        for (size_t i = 0; i < response->state->n_destinations; i++) {
            const Tabard__V1__Destination *destination = response->state->destinations[i];
            take(played, destination->name, &destination->base);
        }
    } else {
        cr_assert_not_null(response->destinations);
        (*num_deltas)++;
        expect_each_once(response->destinations);
        for (size_t i = 0; i < response->destinations->n_removed; i++) {
            take(played, response->destinations->removed[i], NULL);
        }
        for (size_t i = 0; i < response->destinations->n_set; i++) {
            const Tabard__V1__Destination *destination = response->destinations->set[i];
            take(played, destination->name, &destination->base);
        }
    }
    tabard__v1__subscribe_response__free_unpacked(response, NULL);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// The state as one that just came would get it is what deltas must have led to.
static void expect_same(const struct played *played, const char *key, unsigned step)
{
    struct played fresh = {.viewer = {.view = NULL}};
    struct err err = {{0}, {0}};
    char *texts[64];
    unsigned ignored = 0;
    cr_assert(world_join(&world, &fresh.viewer, key, &err), "%s", err.text);
    catch_up(&fresh, &ignored);
    world_leave(&fresh.viewer);
    memcpy(texts, played->texts, sizeof texts);
    qsort(fresh.texts, fresh.num, sizeof fresh.texts[0], compare_texts);
    qsort(texts, played->num, sizeof texts[0], compare_texts);
    cr_assert_eq(fresh.num, played->num, "step %u, %s: %zu destinations, not %zu", step, key,
                 played->num, fresh.num);
    for (size_t i = 0; i < fresh.num; i++) {
        cr_assert_str_eq(fresh.texts[i], texts[i], "step %u, %s", step, key);
    }
    forget(&fresh);
}

static struct claim *claim_some(unsigned *seed, uint64_t step)
{
    char id[48], address[32];
    struct ip ip;
    unsigned workload = pick(seed, NUM);
    snprintf(id, sizeof id, "spiffe://demo.example/w%u%s", workload,
             has_variant((int)workload) && pick(seed, 2) == 0 ? "#v" : "");
    snprintf(address, sizeof address, "10.0.0.%u", 1 + pick(seed, NUM_IPS));
    cr_assert(ip_parse(&ip, address, NULL));
    const struct claim_spec spec = {.id = id,
                                    .addresses = &ip,
                                    .num_addresses = 1,
                                    .since_us = step,
                                    .is_foreign = pick(seed, 2) == 0};
    return registry_claim(&world.registry, &spec, NULL);
}

// Says that an address is a workload's, another one's or nobody's.
static void place_some(unsigned *seed)
{
    char key[48], address[32];
    struct ip ip;
    unsigned workload = 3 + pick(seed, 3);
    snprintf(key, sizeof key, "spiffe://demo.example/w%u%s", workload,
             has_variant((int)workload) && pick(seed, 2) == 0 ? "#v" : "");
    snprintf(address, sizeof address, "10.0.1.%u", 1 + pick(seed, 4));
    cr_assert(ip_parse(&ip, address, NULL));
    cr_assert(registry_place(&world.registry, &ip, pick(seed, 4) == 0 ? NULL : key, NULL));
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
        if (pick(&seed, 10) == 0) {
            world_set_fleet(&world, random_fleet(&seed));
        } else if (pick(&seed, 3) == 0) {
            place_some(&seed);
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
        forget(&played[i]);
    }
    world_cleanup(&world);
}

static void start_world(const char *fleet)
{
    const struct world_hooks hooks = {.on_change = on_change, .on_behind = on_behind};
    world_init(&world, &hooks);
    world_set_trust(&world, empty_trust());
    world_set_fleet(&world, fleet_of(fleet));
}

static Tabard__V1__SubscribeResponse *update_of(struct viewer *viewer)
{
    bool is_state = false;
    cr_assert(viewer_is_behind(viewer));
    const struct bytes *body = viewer_take_update(&world, viewer, &is_state);
    Tabard__V1__SubscribeResponse *response =
        tabard__v1__subscribe_response__unpack(NULL, body->len, body->at);
    cr_assert_not_null(response);
    return response;
}

#define ALLOW_A "action: ALLOW, mode: ENFORCE, rules: [{principals: ['spiffe://demo.example/a']}]"

static const char two_variants[] =
    "workloads:\n"
    "- {spiffe_id: 'spiffe://demo.example/a'}\n"
    "- {spiffe_id: 'spiffe://demo.example/b', ports: [80], variant: v, enforcement: OBSERVE}\n"
    "- {spiffe_id: 'spiffe://demo.example/b', ports: [80], variant: w, unlisted_outbound: "
    "PLAINTEXT}\n"
    "policies:\n"
    "- {targets: ['spiffe://demo.example/b'], variants: [v], policy: {name: p, " ALLOW_A "}}\n"
    "- {targets: ['spiffe://demo.example/b'], variants: [w], policy: {name: q, " ALLOW_A "}}\n"
    "- {targets: ['spiffe://demo.example/b'], policy: {name: r, " ALLOW_A "}}\n";

Test(world, a_viewer_that_moves_to_another_variant_gets_its_whole_state, .timeout = TIMEOUT)
{
    struct viewer viewer = {.view = NULL};
    struct err err = {{0}, {0}};
    start_world(two_variants);
    cr_expect_not(world_join(&world, &viewer, "spiffe://demo.example/b", &err),
                  "no workload has this id and no variant");
    cr_assert(world_join(&world, &viewer, "spiffe://demo.example/b#v", &err), "%s", err.text);
    viewer.wants_deltas = true;
    Tabard__V1__SubscribeResponse *response = update_of(&viewer);
    cr_expect_eq(response->state->n_policies, 2);
    cr_expect_str_eq(response->state->policies[0]->name, "p");
    cr_expect_eq(response->state->enforcement, TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE);
    cr_expect_eq(response->state->unlisted_outbound, 0);
    tabard__v1__subscribe_response__free_unpacked(response, NULL);
    cr_expect_not(world_move(&world, &viewer, "spiffe://demo.example/b#x", &err));
    cr_expect_not(viewer_is_behind(&viewer), "what can't be changes nothing");
    uint64_t num_changes = world.num_changes;
    cr_assert(world_move(&world, &viewer, "spiffe://demo.example/b#w", &err), "%s", err.text);
    cr_expect_gt(world.num_changes, num_changes, "a new state has a new version");
    cr_expect(viewer.wants_deltas);
    response = update_of(&viewer);
    cr_assert_not_null(response->state);
    cr_expect_eq(response->state->n_policies, 2);
    cr_expect_str_eq(response->state->policies[0]->name, "q");
    cr_expect_eq(response->state->enforcement, 0);
    cr_expect_eq(response->state->unlisted_outbound,
                 TABARD__V1__SETTINGS__UNLISTED_OUTBOUND__PLAINTEXT);
    tabard__v1__subscribe_response__free_unpacked(response, NULL);
    world_leave(&viewer);
    world_cleanup(&world);
}

Test(world, an_address_that_goes_to_another_variant_of_one_id_is_told_once, .timeout = TIMEOUT)
{
    struct viewer viewer = {.view = NULL};
    struct err err = {{0}, {0}};
    struct ip ip;
    start_world(two_variants);
    cr_assert(ip_parse(&ip, "10.0.0.1", NULL));
    cr_assert(registry_place(&world.registry, &ip, "spiffe://demo.example/b#v", &err));
    cr_assert(world_join(&world, &viewer, "spiffe://demo.example/a", &err), "%s", err.text);
    viewer.wants_deltas = true;
    tabard__v1__subscribe_response__free_unpacked(update_of(&viewer), NULL);
    cr_assert(registry_place(&world.registry, &ip, "spiffe://demo.example/b#w", &err));
    Tabard__V1__SubscribeResponse *response = update_of(&viewer);
    cr_assert_not_null(response->destinations);
    cr_expect_eq(response->destinations->n_removed, 0);
    cr_assert_eq(response->destinations->n_set, 1);
    cr_expect_str_eq(response->destinations->set[0]->name, "spiffe://demo.example/b@10.0.0.1");
    cr_assert_eq(response->destinations->set[0]->n_identities, 1);
    cr_expect_str_eq(response->destinations->set[0]->identities[0], "spiffe://demo.example/b");
    tabard__v1__subscribe_response__free_unpacked(response, NULL);
    world_leave(&viewer);
    world_cleanup(&world);
}

Test(world, a_service_is_one_destination_of_all_its_members_without_binding, .timeout = TIMEOUT)
{
    struct viewer viewer = {.view = NULL};
    struct err err = {{0}, {0}};
    start_world("workloads:\n"
                "- {spiffe_id: 'spiffe://demo.example/a'}\n"
                "- {spiffe_id: 'spiffe://demo.example/b', ports: [8080]}\n"
                "- {spiffe_id: 'spiffe://demo.example/c', ports: [8080]}\n"
                "policies:\n"
                "- {targets: ['spiffe://demo.example/b'], policy: {name: p, " ALLOW_A "}}\n"
                "services: [{name: s, addresses: ['10.96.0.1', 'fd00::1'], ports: [{port: 80, "
                "targets: [8080]}, {port: 81, targets: [8081]}], members: [{spiffe_id: "
                "'spiffe://demo.example/b'}, {spiffe_id: 'spiffe://demo.example/c'}]}]\n");
    cr_assert(world_join(&world, &viewer, "spiffe://demo.example/a", &err), "%s", err.text);
    Tabard__V1__SubscribeResponse *response = update_of(&viewer);
    cr_assert_eq(response->state->n_destinations, 1);
    static const char want[] =
        "{name: s, addresses: ['10.96.0.1', 'fd00::1'], ports: [80], mode: MTLS, identities: "
        "['spiffe://demo.example/b', 'spiffe://demo.example/c'], binding: NONE}";
    char *text = pb_text_to_json(&response->state->destinations[0]->base);
    ProtobufCMessage *wanted = pb_text_parse(&tabard__v1__destination__descriptor, want,
                                             sizeof want - 1, "want", NULL, &err);
    char *want_text = pb_text_to_json(wanted);
    cr_expect_str_eq(text, want_text);
    protobuf_c_message_free_unpacked(wanted, NULL);
    free(want_text);
    free(text);
    tabard__v1__subscribe_response__free_unpacked(response, NULL);
    world_leave(&viewer);
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
    forget(&played);
    world_leave(&played.viewer);
    world_cleanup(&world);
}

Test(world, settings_that_change_alone_come_with_a_whole_state, .timeout = TIMEOUT)
{
    static const char *const changed[] = {
        ", enforcement: OBSERVE", ", unlisted_outbound: PLAINTEXT", ", key_exchange: POST_QUANTUM"};
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        struct viewer viewer = {.view = NULL};
        struct err err = {{0}, {0}};
        char text[256];
        start_world("workloads: [{spiffe_id: 'spiffe://demo.example/a'}]\n");
        cr_assert(world_join(&world, &viewer, "spiffe://demo.example/a", &err), "%s", err.text);
        viewer.wants_deltas = true;
        tabard__v1__subscribe_response__free_unpacked(update_of(&viewer), NULL);
        snprintf(text, sizeof text, "workloads: [{spiffe_id: 'spiffe://demo.example/a'%s}]\n",
                 changed[i]);
        world_set_fleet(&world, fleet_of(text));
        Tabard__V1__SubscribeResponse *response = update_of(&viewer);
        cr_assert_not_null(response->state);
        const Tabard__V1__State *state = response->state;
        cr_expect_eq(state->enforcement + state->unlisted_outbound + state->key_exchange, 2);
        tabard__v1__subscribe_response__free_unpacked(response, NULL);
        world_leave(&viewer);
        world_cleanup(&world);
    }
}

Test(world, workloads_of_earlier_fleets_are_forgotten_but_those_that_somebody_must_hear_of,
     .timeout = TIMEOUT)
{
    struct viewer viewer = {.view = NULL};
    struct err err = {{0}, {0}};
    struct ip ip;
    start_world(two_variants);
    cr_assert(ip_parse(&ip, "10.0.0.1", NULL));
    cr_assert(registry_place(&world.registry, &ip, "spiffe://demo.example/b#v", &err));
    cr_assert(world_join(&world, &viewer, "spiffe://demo.example/a", &err), "%s", err.text);
    viewer.wants_deltas = true;
    tabard__v1__subscribe_response__free_unpacked(update_of(&viewer), NULL);
    cr_assert(registry_place(&world.registry, &ip, NULL, &err));
    for (unsigned round = 0; round < 3 * WORLD_IDLE_MAX; round++) {
        char text[256];
        char key[64];
        snprintf(text, sizeof text,
                 "workloads: [{spiffe_id: 'spiffe://demo.example/a'}, {spiffe_id: "
                 "'spiffe://demo.example/x%u', ports: [80]}]\n",
                 round);
        world_set_fleet(&world, fleet_of(text));
        snprintf(key, sizeof key, "spiffe://demo.example/x%u", round);
        cr_assert(registry_place(&world.registry, &ip, key, &err));
        cr_assert(registry_place(&world.registry, &ip, NULL, &err));
    }
    cr_expect_leq(world.members.num, WORLD_IDLE_MAX + 5);
    Tabard__V1__SubscribeResponse *response = update_of(&viewer);
    cr_assert_not_null(response->destinations);
    cr_assert_eq(response->destinations->n_removed, 1);
    cr_expect_str_eq(response->destinations->removed[0], "spiffe://demo.example/b@10.0.0.1");
    tabard__v1__subscribe_response__free_unpacked(response, NULL);
    world_leave(&viewer);
    world_cleanup(&world);
}
