// SPDX-License-Identifier: Apache-2.0
//
// What becomes of an offer with a ticket: one answer, and no second try.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/agent/snapshot/rollout.h"
#include "tests/unit/control/agent/folder.h"

#define NOW_UNIX 1790000000
#define SOURCE   1

struct stage {
    struct rollout rollout;
    struct keyring *keyring;
    size_t num_sent;
    bool send_fails;
    bool claim_fails;
    struct now now;
    size_t num_settled;
    uint64_t settled; // the last ticket
    char error[128];
};

static bool on_send(void *ctx, const Tabard__V1__Snapshot *snapshot, struct err *err)
{
    struct stage *stage = ctx;
    (void)snapshot;
    stage->num_sent++;
    return !stage->send_fails || err_set(err, "not sent");
}

static bool on_claim(void *ctx, const struct assembly *assembly, struct err *err)
{
    (void)assembly;
    return !((struct stage *)ctx)->claim_fails || err_set(err, "claimed by another");
}

static void on_settled(void *ctx, size_t source, uint64_t ticket, const char *error)
{
    struct stage *stage = ctx;
    cr_expect_eq(source, SOURCE);
    stage->num_settled++;
    stage->settled = ticket;
    snprintf(stage->error, sizeof stage->error, "%s", error);
}

static void stage_init(struct stage *stage)
{
    *stage = (struct stage){.now = {.ms = 1000, .unix_ms = NOW_UNIX * 1000LL}};
    stage->keyring = keyring_new();
    rollout_init(&stage->rollout, stage->keyring,
                 &(struct rollout_hooks){
                     .ctx = stage, .send = on_send, .claim = on_claim, .settled = on_settled});
    log_init("test", LOG_LEVEL_ERROR + 1);
}

static void stage_cleanup(struct stage *stage)
{
    rollout_cleanup(&stage->rollout);
    keyring_free(stage->keyring);
}

static void offer(struct stage *stage, uint8_t content, uint64_t ticket)
{
    struct assembly assembly = {
        .not_before = NOW_UNIX - 100, .not_after = NOW_UNIX + 300, .tickets = {[SOURCE] = ticket}};
    assembly.snapshot = malloc(sizeof *assembly.snapshot);
    tabard__v1__snapshot__init(assembly.snapshot);
    assembly.key = folder_key(MINT_KEY_ED25519);
    memset(assembly.digest, content, sizeof assembly.digest);
    rollout_offer(&stage->rollout, &assembly, stage->now);
    assembly_cleanup(&assembly);
}

static void pass(struct stage *stage, uint64_t ms)
{
    stage->now.ms += ms;
    rollout_tick(&stage->rollout, stage->now);
}

static void expect(const struct stage *stage, size_t num, uint64_t ticket, const char *error)
{
    cr_expect_eq(stage->num_settled, num, "%zu answers", stage->num_settled);
    cr_expect_eq(stage->settled, ticket, "ticket %u", (unsigned)stage->settled);
    cr_expect_str_eq(stage->error, error);
}

Test(rollout_ticket, is_answered_when_every_worker_has_it, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    offer(&stage, 1, 7);
    rollout_proxy_up(&stage.rollout, stage.now);
    expect(&stage, 0, 0, "");
    rollout_answer(&stage.rollout, 1, "", stage.now);
    expect(&stage, 1, 7, "");
    offer(&stage, 1, 8); // the same again
    expect(&stage, 2, 8, "");
    rollout_proxy_down(&stage.rollout, stage.now);
    rollout_proxy_up(&stage.rollout, stage.now);
    rollout_answer(&stage.rollout, 1, "", stage.now);
    expect(&stage, 2, 8, "");
    stage_cleanup(&stage);
}

Test(rollout_ticket, the_same_again_waits_for_a_proxy_that_has_it, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    rollout_proxy_up(&stage.rollout, stage.now);
    offer(&stage, 1, 0);
    rollout_answer(&stage.rollout, 1, "", stage.now);
    rollout_proxy_down(&stage.rollout, stage.now);
    offer(&stage, 1, 7);
    expect(&stage, 0, 0, "");
    rollout_proxy_up(&stage.rollout, stage.now);
    rollout_answer(&stage.rollout, 1, "", stage.now);
    expect(&stage, 1, 7, "");
    stage_cleanup(&stage);
}

Test(rollout_ticket, is_refused_once_and_not_tried_again, .timeout = 10)
{
    enum how { BY_PROXY, BY_SEND, BY_CLAIM, BY_DEATH };
    static const struct {
        enum how how;
        const char *error;
    } rows[] = {{BY_PROXY, "no"},
                {BY_SEND, "not sent"},
                {BY_CLAIM, "claimed by another"},
                {BY_DEATH, "the proxy died while it applied this update, twice"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct stage stage;
        stage_init(&stage);
        rollout_proxy_up(&stage.rollout, stage.now);
        stage.send_fails = rows[i].how == BY_SEND;
        stage.claim_fails = rows[i].how == BY_CLAIM;
        offer(&stage, 1, 7);
        if (rows[i].how == BY_PROXY) {
            rollout_answer(&stage.rollout, 1, "no", stage.now);
        }
        for (int j = 0; rows[i].how == BY_DEATH && j < ROLLOUT_DEATHS_MAX; j++) {
            rollout_proxy_down(&stage.rollout, stage.now);
            rollout_proxy_up(&stage.rollout, stage.now);
        }
        expect(&stage, 1, 7, rows[i].error);
        size_t num_sent = stage.num_sent;
        stage.send_fails = stage.claim_fails = false;
        pass(&stage, 2 * ROLLOUT_RETRY_MS_MAX);
        cr_expect_eq(stage.num_sent, num_sent, "%s: sent again", rows[i].error);
        cr_expect_str_eq(stage.rollout.last_error, rows[i].error);
        stage_cleanup(&stage);
    }
}

Test(rollout_ticket, the_newest_offer_is_the_one_that_is_answered, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    rollout_proxy_up(&stage.rollout, stage.now);
    offer(&stage, 1, 1);
    offer(&stage, 2, 2);
    offer(&stage, 2, 3);
    rollout_answer(&stage.rollout, 1, "", stage.now);
    expect(&stage, 1, 1, "");
    rollout_answer(&stage.rollout, 2, "no", stage.now);
    expect(&stage, 2, 3, "no");
    offer(&stage, 3, 4);
    offer(&stage, 4, 0); // a local change takes its place
    offer(&stage, 3, 5);
    rollout_answer(&stage.rollout, 3, "", stage.now);
    cr_expect_eq(stage.num_settled, 3);
    stage_cleanup(&stage);
}

Test(rollout_ticket, in_two_offers_is_in_force_with_the_first_and_refused_with_the_last,
     .timeout = 10)
{
    for (int is_first_good = 0; is_first_good < 2; is_first_good++) {
        struct stage stage;
        stage_init(&stage);
        rollout_proxy_up(&stage.rollout, stage.now);
        offer(&stage, 1, 7);
        offer(&stage, 2, 7); // the same try, beside a local change
        rollout_answer(&stage.rollout, 1, is_first_good ? "" : "no", stage.now);
        expect(&stage, is_first_good ? 1 : 0, is_first_good ? 7 : 0, "");
        rollout_answer(&stage.rollout, 2, "neither", stage.now);
        expect(&stage, 1, 7, is_first_good ? "" : "neither");
        stage_cleanup(&stage);
    }
}

Test(rollout_ticket, once_answered_leaves_the_rest_to_be_tried_again, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    rollout_proxy_up(&stage.rollout, stage.now);
    offer(&stage, 1, 7);
    offer(&stage, 2, 7);
    rollout_answer(&stage.rollout, 1, "", stage.now);
    rollout_answer(&stage.rollout, 2, "no", stage.now); // the local change, which nobody waits for
    size_t num_sent = stage.num_sent;
    pass(&stage, 2 * ROLLOUT_RETRY_MS_MAX);
    cr_expect_eq(stage.num_sent, num_sent + 1);
    expect(&stage, 1, 7, "");
    stage_cleanup(&stage);
}

static uint8_t content_in_force(const struct stage *stage)
{
    return stage->rollout.in_force.is_set ? stage->rollout.in_force.what.digest[0] : 0;
}

// Answers what is sent last, which must be more than `num_before`.
static void answer_last(struct stage *stage, size_t num_before, const char *error)
{
    cr_assert_gt(stage->num_sent, num_before, "nothing was sent");
    cr_assert(rollout_answer(&stage->rollout, stage->rollout.generation_last, error, stage->now));
}

Test(rollout_ticket, that_is_refused_leaves_an_update_of_before_to_be_tried_again, .timeout = 10)
{
    for (int was_refused = 0; was_refused < 2; was_refused++) { // when the try came
        for (uint8_t tried = 1; tried <= 2; tried++) {          // the same content, or more
            struct stage stage;
            stage_init(&stage);
            rollout_proxy_up(&stage.rollout, stage.now);
            offer(&stage, 9, 0);
            answer_last(&stage, 0, "");
            offer(&stage, 1, 0); // say, ports that another program has
            if (was_refused) {
                answer_last(&stage, 1, "in use");
            }
            offer(&stage, tried, 7);
            if (!was_refused && tried != 1) {
                answer_last(&stage, 1, "in use");
            }
            answer_last(&stage, 1, "in use");
            expect(&stage, 1, 7, "in use");
            size_t num_sent = stage.num_sent;
            pass(&stage, 2 * ROLLOUT_RETRY_MS_MAX);
            answer_last(&stage, num_sent, "");
            cr_expect_eq(content_in_force(&stage), 1, "%d, %d", was_refused, (int)tried);
            cr_expect_eq(stage.num_settled, 1);
            stage_cleanup(&stage);
        }
    }
}

Test(rollout_ticket, that_comes_into_force_takes_the_place_of_the_update_of_before, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    rollout_proxy_up(&stage.rollout, stage.now);
    offer(&stage, 1, 0);
    answer_last(&stage, 0, "in use");
    offer(&stage, 2, 7);
    answer_last(&stage, 1, "");
    expect(&stage, 1, 7, "");
    offer(&stage, 3, 8);
    answer_last(&stage, 2, "no");
    pass(&stage, 2 * ROLLOUT_RETRY_MS_MAX);
    cr_expect_eq(stage.num_sent, 3);
    cr_expect_eq(content_in_force(&stage), 2);
    stage_cleanup(&stage);
}

Test(rollout_ticket, that_kills_the_proxy_leaves_an_update_of_before_to_be_tried_again,
     .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    rollout_proxy_up(&stage.rollout, stage.now);
    offer(&stage, 1, 0);
    answer_last(&stage, 0, "in use");
    offer(&stage, 2, 7);
    for (int i = 0; i < ROLLOUT_DEATHS_MAX; i++) {
        rollout_proxy_down(&stage.rollout, stage.now);
        rollout_proxy_up(&stage.rollout, stage.now);
    }
    cr_expect_eq(stage.num_settled, 1);
    size_t num_sent = stage.num_sent;
    pass(&stage, 2 * ROLLOUT_RETRY_MS_MAX);
    cr_expect_leq(stage.num_sent, num_sent + 1);
    cr_assert(rollout_answer(&stage.rollout, stage.rollout.generation_last, "", stage.now));
    cr_expect_eq(content_in_force(&stage), 1);
    stage_cleanup(&stage);
}
