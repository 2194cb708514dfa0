// SPDX-License-Identifier: Apache-2.0
//
// The feed between real files, a policy agent that the test plays, and a rollout that it plays too.
#include "control/agent/feed.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/host/watch.h"
#include "tests/unit/control/agent/folder.h"
#include "tests/unit/control/agent/sources/policy_agent/pa_peer.h"
#include "tests/unit/support/loop.h"

#define PA_ROW 1
#define FOLLOWS                                                                                    \
    "policy_agent: {address: \"unix:pa.sock\", node_id: n, state: state}\n"                        \
    "identity: {certificate: web.pem, key: web.key}\n"
#define FORWARD "forwards: [{listen: \"127.0.0.1:7000\", destination: \"127.0.0.1:9443\"}]\n"

TestSuite(feed, .timeout = 30);

struct stage {
    uv_loop_t loop;
    struct folder folder;
    struct pa_peer peer;
    struct feed feed;
    unsigned num_offers;
    uint64_t ticket; // of the last offer, the policy agent's
    size_t num_forwards;
    size_t num_policies;
    unsigned num_failed;
    char failure[1024];
};

static const struct assembly *on_in_force(void *ctx)
{
    (void)ctx;
    return NULL;
}

static void on_offer(void *ctx, struct assembly *assembly)
{
    struct stage *stage = ctx;
    stage->num_offers++;
    stage->ticket = assembly->tickets[PA_ROW];
    stage->num_forwards = assembly->snapshot->n_forwards;
    stage->num_policies = assembly->snapshot->n_policies;
}

static void on_failed(void *ctx, const char *text)
{
    struct stage *stage = ctx;
    stage->num_failed++;
    snprintf(stage->failure, sizeof stage->failure, "%s", text);
}

static void start(struct stage *stage, const char *mesh_yaml)
{
    char path[256];
    log_init("test", LOG_LEVEL_ERROR + 1);
    *stage = (struct stage){.num_offers = 0};
    cr_assert_eq(uv_loop_init(&stage->loop), 0);
    folder_init(&stage->folder);
    folder_write(&stage->folder, "mesh.yaml", mesh_yaml);
    snprintf(path, sizeof path, "%s/pa.sock", stage->folder.path);
    pa_peer_start(&stage->peer, &stage->loop, path);
    feed_start(&stage->feed, &stage->loop, stage->folder.mesh,
               &(struct feed_hooks){
                   .ctx = stage, .offer = on_offer, .in_force = on_in_force, .failed = on_failed});
    // Files that have just been written are read twice.
    run_until(stage, false, 3 * WATCH_RETRY_MS);
}

static void stop(struct stage *stage)
{
    feed_close(&stage->feed);
    pa_peer_stop(&stage->peer);
    loop_end(&stage->loop);
    feed_cleanup(&stage->feed);
    folder_cleanup(&stage->folder);
}

// Says the state of folder.h's world, with so many policies.
static void say_state(struct stage *stage, const char *nonce, uint64_t version, size_t num_policies)
{
    Tabard__V1__SubscribeResponse response = TABARD__V1__SUBSCRIBE_RESPONSE__INIT;
    Tabard__V1__State state = TABARD__V1__STATE__INIT;
    Tabard__V1__TrustBundle bundle = TABARD__V1__TRUST_BUNDLE__INIT;
    Tabard__V1__Policy policies[2] = {TABARD__V1__POLICY__INIT, TABARD__V1__POLICY__INIT};
    Tabard__V1__Policy__Rule rule = TABARD__V1__POLICY__RULE__INIT;
    Tabard__V1__Policy__Rule *rules[] = {&rule};
    static char *names[] = {(char *)"p", (char *)"q"};
    char *principals[] = {(char *)FOLDER_ID};
    ProtobufCBinaryData root = {0};
    rule.n_principals = 1;
    rule.principals = principals;
    for (size_t i = 0; i < num_policies; i++) {
        policies[i].name = names[i];
        policies[i].action = TABARD__V1__POLICY__ACTION__ALLOW;
        policies[i].mode = TABARD__V1__POLICY__MODE__ENFORCE;
        policies[i].n_rules = 1;
        policies[i].rules = rules;
    }
    cr_assert(mint_cert_der(&root.data, &root.len, stage->folder.root.cert));
    bundle.trust_domain = (char *)FOLDER_DOMAIN;
    bundle.n_roots = 1;
    bundle.roots = &root;
    state.n_trust_bundles = 1;
    state.trust_bundles = (Tabard__V1__TrustBundle *[]){&bundle};
    state.n_policies = num_policies;
    state.policies = (Tabard__V1__Policy *[]){&policies[0], &policies[1]};
    response.nonce = (char *)nonce;
    response.version = version;
    response.state = &state;
    pa_peer_say(&stage->peer, &response);
    free(root.data);
}

static void connect_stage(struct stage *stage)
{
    cr_assert(run_until(stage, stage->peer.call != NULL && stage->peer.num_requests > 0, 5000));
}

static bool is_answered(struct stage *stage, const char *nonce, const char *error)
{
    bool ok = run_until(stage, strcmp(stage->peer.nonce, nonce) == 0, 5000);
    return ok && strcmp(stage->peer.error, error) == 0;
}

static void start_following(struct stage *stage)
{
    start(stage, FOLLOWS);
    connect_stage(stage);
}

// Says a state and waits until the feed offers it.
static void offer_state(struct stage *stage, const char *nonce, uint64_t version,
                        size_t num_policies)
{
    unsigned before = stage->num_offers;
    say_state(stage, nonce, version, num_policies);
    cr_assert(run_until(stage, stage->num_offers > before, 5000), "%s", stage->peer.error);
}

// Has a state accepted, as the proxy does.
static void accept_state(struct stage *stage, const char *nonce, uint64_t version)
{
    offer_state(stage, nonce, version, 1);
    cr_assert_neq(stage->ticket, 0);
    feed_settled(&stage->feed, PA_ROW, stage->ticket, "");
    cr_assert(is_answered(stage, nonce, ""), "%s", stage->peer.error);
}

Test(feed, what_mesh_yaml_alone_says_is_offered_and_nobody_waits_for_an_answer)
{
    struct stage stage;
    start(&stage, folder_mesh_yaml);
    cr_assert(run_until(&stage, stage.num_offers > 0, 5000));
    cr_expect_eq(stage.ticket, 0);
    cr_expect_eq(stage.num_policies, 1);
    cr_expect_eq(stage.peer.num_streams, 0);
    cr_expect_null(feed_facts(&stage.feed, &(struct source_facts){0}));
    stop(&stage);
}

Test(feed, a_policy_agent_s_state_is_joined_with_what_mesh_yaml_says)
{
    struct stage stage;
    struct source_facts facts;
    start(&stage, FOLLOWS FORWARD);
    connect_stage(&stage);
    cr_expect_eq(stage.num_offers, 0, "it is not whole");
    accept_state(&stage, "one", 1);
    cr_expect_eq(stage.num_forwards, 1);
    cr_expect_eq(stage.num_policies, 1);
    cr_expect_str_eq(feed_facts(&stage.feed, &facts), "policy agent");
    cr_expect_eq(facts.version, 1);
    folder_write(&stage.folder, "mesh.yaml", FOLLOWS);
    cr_expect(run_until(&stage, stage.num_forwards == 0, 5000));
    cr_expect_eq(stage.num_policies, 1);
    cr_expect_eq(stage.ticket, 0, "a local change is no try");
    stop(&stage);
}

Test(feed, a_local_change_goes_with_a_try_and_stands_when_the_try_is_refused)
{
    struct stage stage;
    start_following(&stage);
    accept_state(&stage, "one", 1);
    offer_state(&stage, "two", 2, 2);
    uint64_t ticket = stage.ticket;
    folder_write(&stage.folder, "mesh.yaml", FOLLOWS FORWARD);
    cr_assert(run_until(&stage, stage.num_forwards == 1, 5000));
    cr_expect_eq(stage.ticket, ticket, "of the same try");
    cr_expect_eq(stage.num_policies, 2);
    feed_settled(&stage.feed, PA_ROW, ticket, "no");
    cr_expect(is_answered(&stage, "two", "no"), "%s", stage.peer.error);
    cr_expect(run_until(&stage, stage.num_policies == 1, 5000), "what was refused is gone");
    cr_expect_eq(stage.ticket, 0);
    cr_expect_eq(stage.num_forwards, 1);
    stop(&stage);
}

Test(feed, a_refusal_alone_offers_nothing)
{
    struct stage stage;
    start_following(&stage);
    accept_state(&stage, "one", 1);
    unsigned before = stage.num_offers;
    offer_state(&stage, "two", 2, 2);
    feed_settled(&stage.feed, PA_ROW, stage.ticket, "no");
    cr_expect(is_answered(&stage, "two", "no"), "%s", stage.peer.error);
    cr_expect_not(run_until(&stage, stage.num_offers > before + 1, 100));
    stop(&stage);
}

Test(feed, an_answer_to_the_try_before_says_nothing_of_the_one_at_hand)
{
    struct stage stage;
    start_following(&stage);
    accept_state(&stage, "one", 1);
    uint64_t first = stage.ticket;
    offer_state(&stage, "two", 2, 2);
    feed_settled(&stage.feed, PA_ROW, first, "");
    cr_expect_not(run_until(&stage, stage.peer.num_results > 1, 100));
    feed_settled(&stage.feed, PA_ROW, first, "no");
    cr_expect_not(run_until(&stage, stage.peer.num_results > 1, 100));
    feed_settled(&stage.feed, PA_ROW, stage.ticket, "");
    cr_expect(is_answered(&stage, "two", ""), "%s", stage.peer.error);
    stop(&stage);
}

Test(feed, mesh_yaml_without_its_policy_agent_is_the_whole_truth_again)
{
    struct stage stage;
    start_following(&stage);
    accept_state(&stage, "one", 1);
    offer_state(&stage, "two", 2, 2);
    uint64_t ticket = stage.ticket;
    folder_write(&stage.folder, "mesh.yaml", folder_mesh_yaml);
    cr_expect(run_until(&stage, stage.num_policies == 1, 5000), "%s", stage.failure);
    cr_expect_eq(stage.ticket, 0);
    cr_expect(run_until(&stage, stage.peer.call == NULL, 5000), "its stream has ended");
    feed_settled(&stage.feed, PA_ROW, ticket, "no"); // nobody is left who tried it
    cr_expect_not(run_until(&stage, stage.num_failed > 0, 100));
    stop(&stage);
}

// Says a state without the bundles that it needs.
static void say_bad_state(struct stage *stage, const char *nonce, uint64_t version)
{
    Tabard__V1__SubscribeResponse response = TABARD__V1__SUBSCRIBE_RESPONSE__INIT;
    Tabard__V1__State state = TABARD__V1__STATE__INIT;
    response.nonce = (char *)nonce;
    response.version = version;
    response.state = &state;
    pa_peer_say(&stage->peer, &response);
}

Test(feed, a_state_that_is_not_good_is_refused_by_its_field_and_told)
{
    struct stage stage;
    start_following(&stage);
    say_bad_state(&stage, "one", 1);
    cr_expect(run_until(&stage, stage.peer.num_results == 1, 5000));
    cr_expect(strstr(stage.peer.error, "trust_bundles: missing") != NULL, "%s", stage.peer.error);
    cr_expect_str_eq(stage.failure, stage.peer.error, "the operator is told the same");
    cr_expect_eq(stage.num_offers, 0);
    accept_state(&stage, "two", 1);
    say_bad_state(&stage, "three", 2);
    cr_expect(run_until(&stage, stage.peer.num_results == 3, 5000));
    folder_write(&stage.folder, "mesh.yaml", FOLLOWS FORWARD);
    cr_expect(run_until(&stage, stage.num_forwards == 1, 5000), "what was not good is gone: %s",
              stage.failure);
    cr_expect_eq(stage.num_policies, 1);
    stop(&stage);
}

// Writes a web.pem that nobody accepts for a while.
static void write_early_leaf(const struct folder *folder)
{
    time_t now = time(NULL);
    struct err err = {0};
    X509 *leaf = mint_leaf_new(&folder->intermediate, folder->key,
                               &(struct mint_leaf){.spiffe_id = FOLDER_ID,
                                                   .not_before = now + FEED_RETRY_MS / 1000 + 1,
                                                   .not_after = now + 3600},
                               &err);
    cr_assert_not_null(leaf, "%s", err.text);
    folder_write_chain(folder, "web.pem", leaf, folder->intermediate.cert);
    X509_free(leaf);
}

Test(feed, what_only_time_makes_good_is_offered_when_it_is)
{
    struct stage stage;
    start_following(&stage);
    accept_state(&stage, "one", 1);
    unsigned before = stage.num_offers;
    write_early_leaf(&stage.folder);
    cr_assert(run_until(&stage, stage.num_failed > 0, 5000));
    cr_expect(strstr(stage.failure, "identity.chain") != NULL, "%s", stage.failure);
    cr_expect_eq(stage.num_offers, before);
    run_until(&stage, false, 3 * WATCH_RETRY_MS); // told for each reading of the new file
    unsigned num_failed = stage.num_failed;
    cr_expect(run_until(&stage, stage.num_offers > before, 2 * FEED_RETRY_MS + 3000));
    cr_expect_eq(stage.num_failed, num_failed, "%s", stage.failure);
    unsigned after = stage.num_offers;
    cr_expect_not(run_until(&stage, stage.num_offers > after, 100));
    stop(&stage);
}

Test(feed, a_mesh_yaml_that_is_not_good_is_told_and_offers_nothing)
{
    struct stage stage;
    start(&stage, "polices: []\n");
    cr_expect(run_until(&stage, stage.num_failed > 0, 5000));
    cr_expect(strstr(stage.failure, "mesh.yaml:1:1") != NULL, "%s", stage.failure);
    cr_expect_eq(stage.num_offers, 0);
    stop(&stage);
}
