// SPDX-License-Identifier: Apache-2.0
//
// The policy agent's source. The test plays the policy agent on one side and the feed on the other;
// everything between them is real.
#include "control/agent/sources/policy_agent/pa_source.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "control/agent/sources/files/mesh.h"
#include "tests/unit/control/agent/sources/policy_agent/pa_peer.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

static const struct source_field *const fields[] = {&pa_field, NULL};

struct stage {
    uv_loop_t loop;
    struct pa_peer peer;
    struct pa_source *source;
    struct part *identity;
    char path[128];
    unsigned num_puts;
    unsigned num_offers;
    unsigned num_refused;
    bool has_rules;          // of the last put or offer
    bool has_identity;       // as above
    const char *offer_error; // NULL: an offer is taken
};

static void set_up(void)
{
    temp_set_up();
    log_init("test", LOG_LEVEL_ERROR + 1);
}

TestSuite(pa_source, .init = set_up, .fini = temp_tear_down, .timeout = 30);

static void note(struct stage *stage, const struct slots *slots)
{
    stage->has_rules = slots->parts[SNAPSHOT_RULES] != NULL;
    stage->has_identity = slots->parts[SNAPSHOT_IDENTITY] != NULL;
}

static void on_put(void *ctx, const struct slots *slots)
{
    struct stage *stage = ctx;
    stage->num_puts++;
    note(stage, slots);
}

static enum offer_result on_offer(void *ctx, const struct slots *slots, struct err *err)
{
    struct stage *stage = ctx;
    stage->num_offers++;
    note(stage, slots);
    if (stage->offer_error != NULL) {
        err_set_at(err, "policies[0]", "%s", stage->offer_error);
        return OFFER_REFUSED;
    }
    return OFFER_TRIED;
}

static void on_refused(void *ctx, const char *text)
{
    (void)text;
    ((struct stage *)ctx)->num_refused++;
}

// Configures the source as mesh.yaml does; `more` is put into policy_agent.
static void configure(struct stage *stage, const char *more)
{
    struct mesh mesh;
    struct err err = {{0}, {0}};
    char text[256];
    char path[128];
    int len =
        snprintf(text, sizeof text,
                 "policy_agent: {address: \"unix:pa.sock\", node_id: n, state: state%s}\n", more);
    temp_write(temp_folder, "mesh.yaml", text, (size_t)len);
    snprintf(path, sizeof path, "%s/mesh.yaml", temp_folder);
    cr_assert(mesh_load(&mesh, path, fields, 1800000000, &err), "%s", err.text);
    pa_source_configure(stage->source, mesh.accesses[0], stage->identity);
    mesh.accesses[0] = NULL;
    mesh_cleanup(&mesh);
}

static void start(struct stage *stage)
{
    *stage = (struct stage){.num_puts = 0};
    cr_assert_eq(uv_loop_init(&stage->loop), 0);
    snprintf(stage->path, sizeof stage->path, "%s/pa.sock", temp_folder);
    pa_peer_start(&stage->peer, &stage->loop, stage->path);
    Tabard__V1__Snapshot *snapshot = must_alloc(1, sizeof *snapshot);
    tabard__v1__snapshot__init(snapshot);
    snapshot->identity = must_alloc(1, sizeof *snapshot->identity);
    tabard__v1__identity__init(snapshot->identity);
    stage->identity = part_new(&snapshot->base, NULL);
    stage->source = pa_source_new(
        &stage->loop, &(struct source_hooks){
                          .ctx = stage, .put = on_put, .offer = on_offer, .refused = on_refused});
}

static void stop(struct stage *stage)
{
    pa_source_close(stage->source);
    pa_peer_stop(&stage->peer);
    part_unref(stage->identity);
    loop_end(&stage->loop);
}

static void connect_stage(struct stage *stage)
{
    unsigned before = stage->peer.num_requests;
    cr_assert(
        run_until(stage, stage->peer.call != NULL && stage->peer.num_requests > before, 5000));
}

static void say_state(struct stage *stage, const char *nonce, uint64_t version)
{
    Tabard__V1__SubscribeResponse response = TABARD__V1__SUBSCRIBE_RESPONSE__INIT;
    Tabard__V1__State state = TABARD__V1__STATE__INIT;
    response.nonce = (char *)nonce;
    response.version = version;
    response.state = &state;
    pa_peer_say(&stage->peer, &response);
}

static bool is_answered(struct stage *stage, const char *nonce, const char *error)
{
    bool ok = run_until(stage, strcmp(stage->peer.nonce, nonce) == 0, 5000);
    return ok && strcmp(stage->peer.error, error) == 0;
}

static struct source_facts facts(const struct stage *stage)
{
    struct source_facts out;
    pa_source_facts(stage->source, &out);
    return out;
}

Test(pa_source, a_state_is_offered_and_acknowledged_when_it_is_in_force)
{
    struct stage stage;
    start(&stage);
    configure(&stage, "");
    connect_stage(&stage);
    cr_expect_str_eq(stage.peer.first->node->id, "n");
    cr_expect_not_null(stage.peer.first->certificate_request, "a Unix socket shows no certificate");
    say_state(&stage, "one", 7);
    cr_assert(run_until(&stage, stage.num_offers == 1, 5000));
    cr_expect(stage.has_rules);
    cr_expect_not(stage.has_identity, "none was issued");
    cr_expect_not(run_until(&stage, stage.peer.num_results > 0, 100), "it is not in force yet");
    cr_expect_not(facts(&stage).is_connected);
    pa_source_settled(stage.source, "");
    cr_expect(is_answered(&stage, "one", ""), "%s", stage.peer.error);
    cr_expect_eq(facts(&stage).version, 7);
    cr_expect(facts(&stage).is_connected);
    stop(&stage);
}

Test(pa_source, a_refusal_is_told_in_its_words_whoever_refused)
{
    struct stage stage;
    start(&stage);
    configure(&stage, "");
    connect_stage(&stage);
    say_state(&stage, "one", 7);
    cr_assert(run_until(&stage, stage.num_offers == 1, 5000));
    pa_source_settled(stage.source, "the proxy says no");
    cr_expect(is_answered(&stage, "one", "the proxy says no"), "%s", stage.peer.error);
    cr_expect_eq(stage.num_refused, 0, "who settles knows");
    cr_expect_str_eq(facts(&stage).last_error, "the proxy says no");
    stage.offer_error = "bad";
    say_state(&stage, "two", 7);
    cr_expect(is_answered(&stage, "two", "policies[0]: bad"), "%s", stage.peer.error);
    cr_expect_eq(stage.num_refused, 1);
    cr_expect_str_eq(facts(&stage).last_error, "policies[0]: bad");
    say_state(&stage, "three", 0); // not even offered
    cr_expect(is_answered(&stage, "three", "version: missing: versions start at 1"), "%s",
              stage.peer.error);
    cr_expect_eq(stage.num_refused, 2);
    cr_expect_eq(stage.num_offers, 2);
    cr_expect_eq(facts(&stage).num_nacks, 3);
    cr_expect_eq(facts(&stage).version, 0);
    stop(&stage);
}

Test(pa_source, while_one_response_is_tried_the_next_one_waits)
{
    struct stage stage;
    start(&stage);
    configure(&stage, "");
    connect_stage(&stage);
    say_state(&stage, "one", 1);
    say_state(&stage, "two", 2);
    cr_assert(run_until(&stage, stage.num_offers == 1, 5000));
    cr_expect_not(run_until(&stage, stage.num_offers == 2, 100));
    pa_source_settled(stage.source, "");
    cr_expect(run_until(&stage, stage.num_offers == 2, 5000));
    cr_expect(is_answered(&stage, "one", ""));
    pa_source_settled(stage.source, "");
    cr_expect(is_answered(&stage, "two", ""));
    cr_expect_eq(facts(&stage).version, 2);
    stop(&stage);
}

Test(pa_source, what_was_accepted_is_put_again_after_a_restart)
{
    struct stage stage;
    start(&stage);
    configure(&stage, "");
    cr_expect_eq(stage.num_puts, 0, "there is nothing yet");
    connect_stage(&stage);
    say_state(&stage, "one", 7);
    cr_assert(run_until(&stage, stage.num_offers == 1, 5000));
    pa_source_settled(stage.source, "");
    cr_expect(is_answered(&stage, "one", ""));
    stop(&stage);
    start(&stage);
    configure(&stage, "");
    cr_expect_eq(stage.num_puts, 1);
    cr_expect(stage.has_rules);
    cr_expect_eq(stage.num_offers, 0, "nobody waits for an answer");
    connect_stage(&stage);
    cr_expect_eq(stage.peer.first->version_in_force, 7);
    stop(&stage);
}

Test(pa_source, connects_anew_when_mesh_yaml_says_something_else_and_only_then)
{
    struct stage stage;
    start(&stage);
    configure(&stage, "");
    connect_stage(&stage);
    configure(&stage, "");
    cr_expect_not(run_until(&stage, stage.peer.num_streams == 2, 100));
    configure(&stage, ", spiffe_id: \"spiffe://demo.example/x\"");
    cr_expect(run_until(&stage, stage.peer.num_streams == 2 && stage.peer.first != NULL, 5000));
    cr_expect_str_eq(stage.peer.first->certificate_request->spiffe_id, "spiffe://demo.example/x");
    stop(&stage);
}

Test(pa_source, a_try_outlives_its_stream_and_then_answers_nobody)
{
    struct stage stage;
    start(&stage);
    configure(&stage, "");
    connect_stage(&stage);
    say_state(&stage, "one", 7);
    cr_assert(run_until(&stage, stage.num_offers == 1, 5000));
    grpc_call_finish(stage.peer.call, GRPC_UNAVAILABLE, "away");
    cr_assert(run_until(&stage, facts(&stage).num_failures == 1, 5000));
    cr_expect(strstr(facts(&stage).last_error, "away") != NULL, "%s", facts(&stage).last_error);
    pa_source_settled(stage.source, "");
    cr_expect_eq(facts(&stage).version, 7, "it is in force all the same");
    cr_expect(run_until(&stage, stage.peer.num_streams == 2 && stage.peer.first != NULL, 5000));
    cr_expect_eq(stage.peer.first->version_in_force, 7);
    cr_expect_eq(stage.peer.num_results, 0);
    stop(&stage);
}
