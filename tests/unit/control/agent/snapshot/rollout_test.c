// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot/rollout.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/control/agent/folder.h"

#define NOW_UNIX 1790000000

// A rollout with a proxy that the test plays.
struct stage {
    struct rollout rollout;
    struct keyring *keyring;
    uint64_t sent[64]; // generations, in order
    size_t num_sent;
    bool send_fails;
    bool claim_fails;
    struct now now;
};

static bool on_send(void *ctx, const Tabard__V1__Snapshot *snapshot, struct err *err)
{
    struct stage *stage = ctx;
    if (stage->send_fails) {
        return err_set(err, "not sent");
    }
    stage->sent[stage->num_sent++] = snapshot->generation;
    return true;
}

static bool on_claim(void *ctx, const struct assembly *assembly, struct err *err)
{
    (void)assembly;
    return !((struct stage *)ctx)->claim_fails || err_set(err, "claimed by another");
}

static void stage_init(struct stage *stage)
{
    *stage = (struct stage){.now = {.ms = 1000, .unix_ms = NOW_UNIX * 1000LL}};
    stage->keyring = keyring_new();
    rollout_init(&stage->rollout, stage->keyring,
                 &(struct rollout_hooks){.ctx = stage, .send = on_send, .claim = on_claim});
    log_init("test", LOG_LEVEL_ERROR + 1);
}

static void stage_cleanup(struct stage *stage)
{
    rollout_cleanup(&stage->rollout);
    keyring_free(stage->keyring);
}

// Offers an update whose content is `content`, with the settings that somebody wants.
static void offer_by(struct stage *stage, uint8_t content, const char *who)
{
    struct assembly assembly = {.not_before = NOW_UNIX - 100,
                                .not_after = NOW_UNIX + 300,
                                .enforcement_by = who,
                                .key_exchange_by = who};
    assembly.snapshot = malloc(sizeof *assembly.snapshot);
    tabard__v1__snapshot__init(assembly.snapshot);
    assembly.key = folder_key(MINT_KEY_ED25519);
    memset(assembly.digest, content, sizeof assembly.digest);
    snprintf(assembly.spiffe_id, sizeof assembly.spiffe_id, "spiffe://demo.example/%u", content);
    rollout_offer(&stage->rollout, &assembly, stage->now);
    cr_expect_null(assembly.snapshot, "it was taken over");
}

static void offer(struct stage *stage, uint8_t content)
{
    offer_by(stage, content, "default");
}

static void up(struct stage *stage)
{
    rollout_proxy_up(&stage->rollout, stage->now);
}

static void down(struct stage *stage)
{
    rollout_proxy_down(&stage->rollout, stage->now);
}

static void answer(struct stage *stage, uint64_t generation, const char *error)
{
    cr_expect(rollout_answer(&stage->rollout, generation, error, stage->now), "generation %u",
              (unsigned)generation);
}

static void pass(struct stage *stage, uint64_t ms)
{
    stage->now.ms += ms;
    stage->now.unix_ms += (int64_t)ms;
}

static void tick_after(struct stage *stage, uint64_t ms)
{
    pass(stage, ms);
    rollout_tick(&stage->rollout, stage->now);
}

static const char *why(const struct stage *stage)
{
    static char buf[2048];
    const char *text = rollout_not_ready_because(&stage->rollout, stage->now, buf, sizeof buf);
    return text != NULL ? text : "ready";
}

// Brings a proxy up that then has the first update in force.
static void stage_in_force(struct stage *stage)
{
    stage_init(stage);
    up(stage);
    offer(stage, 1);
    answer(stage, 1, "");
}

#define expect_sent(stage, ...)                                                                    \
    do {                                                                                           \
        const uint64_t expected[] = {__VA_ARGS__};                                                 \
        cr_expect_eq((stage)->num_sent, sizeof expected / sizeof expected[0], "%zu were sent",     \
                     (stage)->num_sent);                                                           \
        cr_expect_eq(memcmp((stage)->sent, expected, sizeof expected), 0);                         \
    } while (0)

Test(rollout, is_ready_once_the_proxy_has_applied_a_snapshot, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    cr_expect_str_eq(why(&stage), "the proxy is not running");
    offer(&stage, 1);
    cr_expect_eq(stage.num_sent, 0, "there is nobody to send it to");
    up(&stage);
    expect_sent(&stage, 1);
    cr_expect_str_eq(why(&stage), "no configuration is in force yet");
    cr_expect_eq(rollout_generation(&stage.rollout), 0);
    answer(&stage, 1, "");
    cr_expect_str_eq(why(&stage), "ready");
    cr_expect_eq(rollout_generation(&stage.rollout), 1);
    cr_expect_eq(stage.rollout.applied_unix_ms, stage.now.unix_ms);
    rollout_drain(&stage.rollout);
    cr_expect_str_eq(why(&stage), "draining");
    stage_cleanup(&stage);
}

Test(rollout, unchanged_content_is_no_new_generation, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    up(&stage);
    offer(&stage, 1);
    offer(&stage, 1);
    answer(&stage, 1, "");
    offer(&stage, 1);
    expect_sent(&stage, 1);
    offer(&stage, 2);
    expect_sent(&stage, 1, 2);
    stage_cleanup(&stage);
}

Test(rollout, who_wants_the_settings_in_force_is_known_though_nothing_else_changes, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    up(&stage);
    offer_by(&stage, 1, "mesh.yaml");
    answer(&stage, 1, "");
    offer_by(&stage, 1, "policy agent");
    cr_expect_eq(stage.num_sent, 1);
    cr_expect_str_eq(stage.rollout.in_force.what.enforcement_by, "policy agent");
    cr_expect_str_eq(stage.rollout.in_force.what.key_exchange_by, "policy agent");
    stage_cleanup(&stage);
}

Test(rollout, one_is_under_way_at_a_time_and_the_newest_wins, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    up(&stage);
    offer(&stage, 1);
    offer(&stage, 2);
    offer(&stage, 3);
    expect_sent(&stage, 1);
    answer(&stage, 1, "");
    expect_sent(&stage, 1, 2);
    answer(&stage, 2, "");
    cr_expect_str_eq(stage.rollout.in_force.what.spiffe_id, "spiffe://demo.example/3");
    stage_cleanup(&stage);
}

Test(rollout, going_back_while_the_next_is_under_way_is_not_lost, .timeout = 10)
{
    struct stage stage;
    stage_in_force(&stage);
    offer(&stage, 2);
    offer(&stage, 1);
    answer(&stage, 2, "");
    expect_sent(&stage, 1, 2, 3);
    answer(&stage, 3, "");
    cr_expect_str_eq(stage.rollout.in_force.what.spiffe_id, "spiffe://demo.example/1");
    stage_cleanup(&stage);
}

Test(rollout, what_the_proxy_refuses_changes_nothing_and_is_tried_again, .timeout = 10)
{
    struct stage stage;
    stage_in_force(&stage);
    offer(&stage, 2);
    answer(&stage, 2, "127.0.0.1:80: in use");
    cr_expect_str_eq(why(&stage), "ready");
    cr_expect_eq(rollout_generation(&stage.rollout), 1);
    cr_expect_str_eq(stage.rollout.last_error, "127.0.0.1:80: in use");
    cr_expect_eq(stage.rollout.num_rejected, 1);
    cr_expect_eq(keyring_num_keys(stage.keyring), 1, "its key goes");
    tick_after(&stage, ROLLOUT_RETRY_MS_MIN - 1);
    expect_sent(&stage, 1, 2);
    tick_after(&stage, 1);
    expect_sent(&stage, 1, 2, 3);
    answer(&stage, 3, "127.0.0.1:80: in use");
    tick_after(&stage, ROLLOUT_RETRY_MS_MIN);
    expect_sent(&stage, 1, 2, 3);
    tick_after(&stage, ROLLOUT_RETRY_MS_MIN);
    expect_sent(&stage, 1, 2, 3, 4);
    answer(&stage, 4, "");
    cr_expect_str_eq(stage.rollout.last_error, "");
    cr_expect_eq(rollout_generation(&stage.rollout), 4);
    stage_cleanup(&stage);
}

Test(rollout, an_error_of_the_source_is_kept_until_the_source_is_well, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    up(&stage);
    offer(&stage, 1);
    rollout_source_failed(&stage.rollout, "mesh.yaml:1:1: bad", stage.now);
    answer(&stage, 1, "");
    cr_expect_str_eq(stage.rollout.last_error, "mesh.yaml:1:1: bad",
                     "an older snapshot in force says nothing of it");
    cr_expect_eq(stage.rollout.num_source_errors, 1);
    cr_expect_str_eq(why(&stage), "ready");
    down(&stage);
    up(&stage);
    answer(&stage, 1, "");
    cr_expect_str_eq(stage.rollout.last_error, "mesh.yaml:1:1: bad");
    offer(&stage, 1);
    cr_expect_str_eq(stage.rollout.last_error, "");
    stage_cleanup(&stage);
}

Test(rollout, a_new_proxy_gets_what_was_in_force_with_its_number, .timeout = 10)
{
    struct stage stage;
    stage_in_force(&stage);
    down(&stage);
    cr_expect_str_eq(why(&stage), "the proxy is not running");
    offer(&stage, 2);
    up(&stage);
    expect_sent(&stage, 1, 1);
    cr_expect_str_eq(why(&stage), "no configuration is in force yet");
    answer(&stage, 1, "");
    expect_sent(&stage, 1, 1, 2);
    cr_expect_str_eq(why(&stage), "ready");
    stage_cleanup(&stage);
}

Test(rollout, a_snapshot_that_kills_the_proxy_is_given_up_for_the_last_good_one, .timeout = 10)
{
    struct stage stage;
    stage_in_force(&stage);
    offer(&stage, 2);
    for (unsigned i = 0; i < ROLLOUT_DEATHS_MAX; i++) {
        down(&stage);
        up(&stage);
        answer(&stage, 1, "");
    }
    expect_sent(&stage, 1, 2, 1, 3, 1);
    cr_expect_str_eq(why(&stage), "ready");
    cr_expect(strstr(stage.rollout.last_error, "died") != NULL, "%s", stage.rollout.last_error);
    cr_expect_eq(stage.rollout.num_rejected, 1);
    tick_after(&stage, 10 * ROLLOUT_RETRY_MS_MAX);
    cr_expect_eq(stage.num_sent, 5, "not tried again by itself");
    stage_cleanup(&stage);
}

Test(rollout, with_nothing_in_force_a_killing_snapshot_is_tried_with_every_proxy, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    offer(&stage, 1);
    for (unsigned i = 1; i <= 5; i++) {
        up(&stage);
        cr_expect_eq(stage.num_sent, i);
        down(&stage);
    }
    stage_cleanup(&stage);
}

Test(rollout, what_a_new_proxy_refuses_takes_turns_with_the_newer, .timeout = 10)
{
    struct stage stage;
    stage_in_force(&stage);
    down(&stage);
    offer(&stage, 2);
    up(&stage);
    answer(&stage, 1, "127.0.0.1:80: in use");
    cr_expect_str_eq(why(&stage), "no configuration is in force: 127.0.0.1:80: in use");
    tick_after(&stage, ROLLOUT_RETRY_MS_MIN);
    answer(&stage, 2, "also bad");
    tick_after(&stage, ROLLOUT_RETRY_MS_MAX);
    expect_sent(&stage, 1, 1, 2, 1);
    answer(&stage, 1, "");
    cr_expect_str_eq(why(&stage), "ready");
    stage_cleanup(&stage);
}

Test(rollout, an_answer_that_nobody_asked_for_is_told, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    up(&stage);
    cr_expect(!rollout_answer(&stage.rollout, 0, "", stage.now));
    cr_expect(!rollout_answer(&stage.rollout, 1, "", stage.now));
    offer(&stage, 1);
    cr_expect(!rollout_answer(&stage.rollout, 2, "", stage.now), "from the future");
    answer(&stage, 1, "");
    cr_expect(!rollout_answer(&stage.rollout, 1, "", stage.now), "a second time");
    cr_expect_str_eq(why(&stage), "ready");
    stage_cleanup(&stage);
}

Test(rollout, a_proxy_that_does_not_answer_has_hung, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    up(&stage);
    offer(&stage, 1);
    pass(&stage, ROLLOUT_ANSWER_MS_MAX);
    cr_expect(rollout_tick(&stage.rollout, stage.now));
    pass(&stage, 1);
    cr_expect(!rollout_tick(&stage.rollout, stage.now));
    stage_cleanup(&stage);
}

Test(rollout, an_expired_certificate_is_not_ready, .timeout = 10)
{
    struct stage stage;
    stage_in_force(&stage);
    pass(&stage, 299999);
    cr_expect_str_eq(why(&stage), "ready");
    pass(&stage, 1);
    cr_expect_str_eq(why(&stage), "the certificate of spiffe://demo.example/1 has expired");
    stage_cleanup(&stage);
}

Test(rollout, what_cannot_be_claimed_is_not_sent, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    stage.claim_fails = true;
    up(&stage);
    offer(&stage, 1);
    cr_expect_eq(stage.num_sent, 0);
    cr_expect_str_eq(stage.rollout.last_error, "claimed by another");
    cr_expect_eq(keyring_num_keys(stage.keyring), 0);
    stage.claim_fails = false;
    tick_after(&stage, ROLLOUT_RETRY_MS_MIN);
    expect_sent(&stage, 1);
    stage_cleanup(&stage);
}

Test(rollout, a_send_that_fails_keeps_the_update_for_later, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    stage.send_fails = true;
    up(&stage);
    offer(&stage, 1);
    cr_expect_str_eq(stage.rollout.last_error, "not sent");
    stage.send_fails = false;
    tick_after(&stage, ROLLOUT_RETRY_MS_MIN);
    cr_expect_eq(stage.num_sent, 1);
    answer(&stage, stage.sent[0], "");
    cr_expect_str_eq(why(&stage), "ready");
    stage_cleanup(&stage);
}

Test(rollout, nothing_is_sent_in_a_drain, .timeout = 10)
{
    struct stage stage;
    stage_init(&stage);
    up(&stage);
    rollout_drain(&stage.rollout);
    offer(&stage, 1);
    cr_expect_eq(stage.num_sent, 0);
    stage_cleanup(&stage);
}
