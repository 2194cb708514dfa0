// SPDX-License-Identifier: Apache-2.0
//
// The subscription with a played policy agent, a played proxy and played clocks.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/control/agent/sources/subscription/play.h"

#define OTHER "spiffe://demo.example/ns/shop/sa/other"

Test(subscription, begins_with_the_node_and_a_request_for_a_certificate, .timeout = 20)
{
    struct play play;
    play_init(&play);
    subscription_start(&play.sub, play.now);
    cr_expect_eq(play.num_opened, 1);
    cr_assert_eq(play.num_sent, 1);
    cr_expect_str_eq(play.sent->node->id, "node");
    cr_expect_eq(play.sent->version_in_force, 0);
    cr_expect_not_null(play.sent->certificate_request);
    cr_expect_null(play.sent->result);
    play_cleanup(&play);
}

Test(subscription, acknowledges_only_what_is_in_force_and_once, .timeout = 20)
{
    struct play play;
    play_init(&play);
    subscription_start(&play.sub, play.now);
    PLAY_RESPOND(&play, .nonce = "n1", .version = 5, .destination = "a", .certificate_for = PLAY_ID,
                 .seconds = 3600);
    cr_expect(play.has_issued);
    cr_expect_eq(play.num_sent, 1, "nothing is in force yet");
    cr_expect_eq(play.sub.version, 0);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.num_sent, 2);
    cr_expect_str_eq(play.sent->result->nonce, "n1");
    cr_expect_str_eq(play_error_sent(&play), "");
    cr_expect_null(play.sent->node, "the node is in the first request alone");
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.num_sent, 2, "one answer");
    cr_expect_eq(play.num_accepted, 1);
    play_cleanup(&play);
}

// The policy agent's first answer says why there is no certificate yet, and the next one is the
// certificate alone.
Test(subscription, a_state_that_came_before_the_certificate_waits_for_it, .timeout = 20)
{
    struct play play;
    play_init(&play);
    play.lacks_identity = true;
    subscription_start(&play.sub, play.now);
    PLAY_RESPOND(&play, .nonce = "n1", .version = 5, .destination = "a",
                 .certificate_error = "later");
    cr_expect_eq(play.num_offers, 0);
    cr_expect_str_eq(play.sent->result->nonce, "n1");
    cr_expect_not_null(strstr(play_error_sent(&play), "the state waits for it"), "%s",
                       play_error_sent(&play));
    cr_expect_eq(play.sub.version, 0);
    play_pass(&play, 2000);
    subscription_tick(&play.sub, play.now);
    cr_assert_not_null(play.sent->certificate_request, "it asks again");
    // However long that takes, the stream stays.
    play_pass(&play, SUBSCRIPTION_EMPTY_MS_MAX - 3000);
    PLAY_RESPOND(&play, .nonce = "n2", .certificate_for = PLAY_ID, .seconds = 3600);
    cr_expect_eq(play.num_offers, 1);
    cr_expect(play.has_issued);
    cr_expect_eq(play.num_destinations, 1);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_str_eq(play_error_sent(&play), "");
    cr_expect_eq(play.sub.version, 5);
    cr_expect_str_eq(subscription_state(&play.sub)->destinations[0]->name, "a");
    play_pass(&play, SUBSCRIPTION_EMPTY_MS_MAX);
    subscription_tick(&play.sub, play.now);
    cr_expect(play.sub.is_open);
    play_cleanup(&play);
}

Test(subscription, refuses_what_the_proxy_refuses_and_keeps_the_old, .timeout = 20)
{
    struct play play;
    play_init(&play);
    play_settle_first(&play);
    PLAY_RESPOND(&play, .nonce = "n2", .version = 6, .destination = "b");
    subscription_settled(&play.sub, "port 1 is taken", play.now);
    cr_expect_str_eq(play.sent->result->nonce, "n2");
    cr_expect_str_eq(play_error_sent(&play), "port 1 is taken");
    cr_expect_eq(play.sub.version, 5);
    cr_expect_str_eq(subscription_state(&play.sub)->destinations[0]->name, "a");
    cr_expect_eq(play.sub.num_nacks, 1);
    play_cleanup(&play);
}

Test(subscription, refuses_at_once_what_does_not_pass_the_checks, .timeout = 20)
{
    static const struct {
        const char *name;
        struct say say;
        const char *words;
        const char *offer_error;
    } rows[] = {
        {"lower version", {.version = 4, .destination = "b"}, "older than 5", NULL},
        {"no version", {.destination = "b"}, "version: missing", NULL},
        {"nothing", {.version = 6}, "says nothing", NULL},
        {"both", {.version = 6, .destination = "b", .removed = "a"}, "never together", NULL},
        {"no name", {.version = 6, .put = ""}, "destinations.set[0].name: empty", NULL},
        {"twice", {.version = 6, .put = "a", .removed = "a"}, "named twice", NULL},
        {"checks", {.version = 6, .destination = "b"}, "policies[0]: bad", "bad"},
        {"certificate", {.certificate_for = PLAY_ID, .seconds = 9}, "no certificate_request", NULL},
        {"no certificate", {.certificate_error = "no"}, "no certificate_request", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct play play;
        play_init(&play);
        play_settle_first(&play);
        struct say say = rows[i].say;
        say.nonce = "n2";
        play.offer_error = rows[i].offer_error;
        play_respond(&play, &say);
        cr_expect_not(subscription_is_busy(&play.sub), "%s", rows[i].name);
        cr_expect(strstr(play_error_sent(&play), rows[i].words) != NULL, "%s: \"%s\" lacks \"%s\"",
                  rows[i].name, play_error_sent(&play), rows[i].words);
        cr_expect_eq(play.sub.version, 5, "%s", rows[i].name);
        cr_expect(play.sub.is_open, "%s", rows[i].name);
        play_cleanup(&play);
    }
}

Test(subscription, takes_an_older_version_where_the_operator_says_so, .timeout = 20)
{
    struct play play;
    play_init(&play);
    play_settle_first(&play);
    subscription_configure(&play.sub, &(struct subscription_config){.spiffe_id = "",
                                                                    .accepts_older = true,
                                                                    .shows_certificate = true});
    PLAY_RESPOND(&play, .nonce = "n2", .version = 4, .destination = "b");
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.sub.version, 4);
    play_cleanup(&play);
}

Test(subscription, merges_deltas_into_the_state_until_one_is_refused, .timeout = 20)
{
    struct play play;
    play_init(&play);
    play_settle_first(&play);
    PLAY_RESPOND(&play, .nonce = "n2", .version = 6, .put = "b");
    cr_expect_eq(play.num_destinations, 2);
    subscription_settled(&play.sub, "", play.now);
    PLAY_RESPOND(&play, .nonce = "n3", .version = 7, .removed = "a");
    cr_expect_eq(play.num_destinations, 1);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_str_eq(subscription_state(&play.sub)->destinations[0]->name, "b");
    PLAY_RESPOND(&play, .nonce = "n4", .version = 8, .put = "b", .removed = "unknown");
    cr_expect_eq(play.num_destinations, 1, "the same name takes the place");
    subscription_settled(&play.sub, "no", play.now);
    PLAY_RESPOND(&play, .nonce = "n5", .version = 9, .put = "c");
    cr_expect(strstr(play_error_sent(&play), "send the state") != NULL, "%s",
              play_error_sent(&play));
    PLAY_RESPOND(&play, .nonce = "n6", .version = 9, .destination = "c");
    subscription_settled(&play.sub, "", play.now);
    PLAY_RESPOND(&play, .nonce = "n7", .version = 10, .put = "d");
    cr_expect_eq(play.num_destinations, 2);
    play_cleanup(&play);
}

Test(subscription, takes_a_certificate_for_its_own_key_and_identity_only, .timeout = 20)
{
    static const struct {
        const char *name;
        const char *wanted;
        struct say say;
        const char *words;
    } rows[] = {
        {"granted", "", {.certificate_for = OTHER}, ""},
        {"wanted", PLAY_ID, {.certificate_for = PLAY_ID}, ""},
        {"another identity", PLAY_ID, {.certificate_for = OTHER}, "but this sidecar is " PLAY_ID},
        {"another key", "", {.certificate_for = PLAY_ID, .is_of_another_key = true}, "another key"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct play play;
        play_init(&play);
        subscription_configure(&play.sub, &(struct subscription_config){.spiffe_id = rows[i].wanted,
                                                                        .shows_certificate = true});
        subscription_start(&play.sub, play.now);
        cr_expect_str_eq(play.sent->certificate_request->spiffe_id, rows[i].wanted);
        struct say say = rows[i].say;
        say.nonce = "n1";
        say.version = 1;
        say.destination = "a";
        say.seconds = 3600;
        play_respond(&play, &say);
        if (rows[i].words[0] == '\0') {
            cr_expect(subscription_is_busy(&play.sub), "%s: %s", rows[i].name, play.failed);
        } else {
            cr_expect(strstr(play_error_sent(&play), rows[i].words) != NULL, "%s: %s", rows[i].name,
                      play_error_sent(&play));
            cr_expect_null(play.sub.issued.part);
            play_pass(&play, 0);
            cr_expect_not_null(play.sent->certificate_request, "%s: asked again", rows[i].name);
        }
        play_cleanup(&play);
    }
}

Test(subscription, an_identity_that_was_granted_stays, .timeout = 20)
{
    struct play play;
    play_init(&play);
    play_settle_first(&play);
    play_pass(&play, 1700 * 1000);
    cr_assert_not_null(play.sent->certificate_request);
    PLAY_RESPOND(&play, .nonce = "n2", .certificate_for = OTHER, .seconds = 3600);
    cr_expect(strstr(play_error_sent(&play), OTHER) != NULL, "%s", play_error_sent(&play));
    cr_expect_str_eq(play.sub.issued.spiffe_id, PLAY_ID);
    play_cleanup(&play);
}

Test(subscription, renews_at_about_half_of_the_life_by_the_wall_clock, .timeout = 20)
{
    static const struct {
        uint32_t random;
        uint64_t early_s;
        uint64_t due_s;
    } rows[] = {{0, 1619, 1620}, {5, 1799, 1800}, {10, 1979, 1980}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct play play;
        play_init(&play);
        play.now.ms = 0;
        play.random = rows[i].random;
        play_settle_first(&play);
        unsigned num_sent = play.num_sent;
        play_pass(&play, rows[i].early_s * 1000);
        cr_expect_eq(play.num_sent, num_sent, "%u: too early", rows[i].random);
        // The machine slept, or the clock was set: the monotonic clock has hardly moved.
        play.now.ms += 2000;
        play.now.unix_ms = (PLAY_START + (int64_t)rows[i].due_s) * 1000;
        subscription_tick(&play.sub, play.now);
        cr_expect_eq(play.num_sent, num_sent + 1, "%u: due", rows[i].random);
        PLAY_RESPOND(&play, .nonce = "n2", .certificate_for = PLAY_ID, .seconds = 3600);
        cr_expect_eq(play.num_offers, 2);
        subscription_settled(&play.sub, "", play.now);
        cr_expect_str_eq(play_error_sent(&play), "");
        cr_expect_eq(play.sub.issued.not_after, now_unix_s(play.now) + 3600);
        play_cleanup(&play);
    }
}

Test(subscription, asks_again_later_and_later_when_no_certificate_is_issued, .timeout = 20)
{
    struct play play;
    play_init(&play);
    subscription_start(&play.sub, play.now);
    PLAY_RESPOND(&play, .nonce = "n1", .version = 1, .destination = "a",
                 .certificate_error = "not you");
    subscription_settled(&play.sub, "", play.now); // with a certificate from files
    cr_expect_str_eq(play_error_sent(&play), "", "the refusal of a certificate is understood");
    cr_expect(strstr(play.failed, "not you") != NULL, "%s", play.failed);
    for (size_t i = 0; i < PLAY_WAITS; i++) {
        play_wait_to_ask(&play, i);
        PLAY_RESPOND(&play, .nonce = "more", .certificate_error = "not you");
        cr_expect_eq(play.num_offers, 1, "nothing is offered");
    }
    play_cleanup(&play);
}

Test(subscription, comes_back_after_a_random_part_of_a_doubling_wait, .timeout = 20)
{
    static const uint64_t ceilings_ms[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};
    struct play play;
    play_init(&play);
    play.is_refusing_to_open = true;
    subscription_start(&play.sub, play.now);
    for (size_t i = 0; i < sizeof ceilings_ms / sizeof ceilings_ms[0]; i++) {
        uint64_t wait = play.sub.retry_at_ms - play.now.ms;
        cr_expect_eq(wait, play.random % (ceilings_ms[i] + 1), "row %zu: %llu ms", i,
                     (unsigned long long)wait);
        // The longest wait of the next row.
        play.random = (uint32_t)(i + 1 < 7 ? ceilings_ms[i + 1] : 30000);
        unsigned num_opened = play.num_opened;
        play_pass(&play, wait);
        cr_expect_eq(play.num_opened, num_opened + 1, "row %zu", i);
    }
    cr_expect_eq(play.sub.num_failures, 8);
    cr_expect_str_eq(play.failed, "no connection");
    play_cleanup(&play);
}

Test(subscription, starts_waiting_anew_only_after_something_was_accepted, .timeout = 20)
{
    struct play play;
    play_init(&play);
    subscription_start(&play.sub, play.now);
    for (unsigned i = 0; i < 3; i++) {
        PLAY_RESPOND(&play, .nonce = "bad"); // a response, and refused
        subscription_ended(&play.sub, "OK", play.now);
        cr_expect_eq(play.sub.failures_in_a_row, i + 2);
        play_pass(&play, 0);
    }
    PLAY_RESPOND(&play, .nonce = "n1", .version = 1, .destination = "a", .certificate_for = PLAY_ID,
                 .seconds = 3600);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.sub.failures_in_a_row, 0);
    play_pass(&play, SUBSCRIPTION_LASTED_MS);
    play.random = SUBSCRIPTION_FIRST_MS_MAX;
    subscription_ended(&play.sub, "gone", play.now);
    cr_expect_eq(play.sub.retry_at_ms, play.now.ms + SUBSCRIPTION_FIRST_MS_MAX);
    play_pass(&play, SUBSCRIPTION_FIRST_MS_MAX);
    cr_expect_eq(play.sent->version_in_force, 1);
    cr_expect_null(play.sent->certificate_request, "the certificate lasts");
    subscription_ended(&play.sub, "gone", play.now);
    subscription_configure(&play.sub, &(struct subscription_config){.spiffe_id = ""});
    play_pass(&play, SUBSCRIPTION_BACKOFF_MS_MAX);
    cr_assert_not_null(play.sent->certificate_request, "nothing else says who this is");
    cr_expect_str_eq(play.sent->certificate_request->spiffe_id, PLAY_ID);
    play_cleanup(&play);
}

Test(subscription, waits_for_nothing_without_a_deadline, .timeout = 20)
{
    enum step { NOTHING, REFUSED, NO_CERTIFICATE, LEAVING };
    static const struct {
        enum step step;
        uint64_t wait_ms;
        const char *words;
    } rows[] = {
        {NOTHING, SUBSCRIPTION_ANSWER_MS_MAX, "no response"},
        {REFUSED, SUBSCRIPTION_EMPTY_MS_MAX, "nothing usable"},
        {NO_CERTIFICATE, SUBSCRIPTION_ANSWER_MS_MAX, "certificate_request"},
        {LEAVING, SUBSCRIPTION_LEAVING_MS_MAX, "goes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct play play;
        play_init(&play);
        if (rows[i].step == LEAVING) {
            play_settle_first(&play);
            subscription_leaving(&play.sub, play.now);
        } else {
            subscription_start(&play.sub, play.now);
        }
        if (rows[i].step == REFUSED) {
            PLAY_RESPOND(&play, .nonce = "n", .version = 1, .destination = "a", .removed = "b");
        } else if (rows[i].step == NO_CERTIFICATE) {
            PLAY_RESPOND(&play, .nonce = "n", .version = 1, .destination = "a");
            subscription_settled(&play.sub, "", play.now);
        }
        play_pass(&play, rows[i].wait_ms - 1);
        cr_expect_eq(play.num_closed, 0, "row %zu: too early: %s", i, play.failed);
        play_pass(&play, 1);
        cr_expect_eq(play.num_closed, 1, "row %zu", i);
        cr_expect(strstr(play.failed, rows[i].words) != NULL, "row %zu: %s", i, play.failed);
        play_cleanup(&play);
    }
}

Test(subscription, what_was_on_its_way_when_the_stream_ended_may_come_into_force, .timeout = 20)
{
    struct play play;
    play_init(&play);
    play_settle_first(&play);
    PLAY_RESPOND(&play, .nonce = "n2", .version = 6, .destination = "b");
    subscription_ended(&play.sub, "gone", play.now);
    unsigned num_sent = play.num_sent;
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.num_sent, num_sent, "there is nobody to be told");
    cr_expect_eq(play.sub.version, 6);
    play_pass(&play, 0);
    cr_expect_eq(play.sent->version_in_force, 6);
    PLAY_RESPOND(&play, .nonce = "n1", .version = 7, .put = "c");
    cr_expect(strstr(play_error_sent(&play), "send the state") != NULL,
              "each stream has its own base");
    play_cleanup(&play);
}

Test(subscription, says_for_how_long_nobody_has_stood_behind_the_state, .timeout = 20)
{
    struct play play;
    play_init(&play);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 0);
    play_settle_first(&play);
    play_pass(&play, 50000);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 0);
    subscription_ended(&play.sub, "gone", play.now);
    play.is_refusing_to_open = true;
    play_pass(&play, 9000);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 9);
    play_cleanup(&play);
}

Test(subscription, nobody_stands_behind_the_state_while_the_policy_agent_s_host_is_silent,
     .timeout = 20)
{
    struct play play;
    play_init(&play);
    play_settle_first(&play);
    play_pass(&play, 50000);
    subscription_silent(&play.sub, 30);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 30);
    subscription_silent(&play.sub, 0);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 0);
    subscription_silent(&play.sub, 45);
    subscription_ended(&play.sub, "timed out", play.now);
    play.is_refusing_to_open = true;
    play_pass(&play, 9000);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 54);
    play_cleanup(&play);
}

Test(subscription, a_restored_state_is_a_floor_for_versions, .timeout = 20)
{
    struct play play;
    play_init(&play);
    Tabard__V1__State *state = malloc(sizeof *state);
    cr_assert_not_null(state);
    tabard__v1__state__init(state);
    subscription_restore(&play.sub, state, 9, PLAY_START - 100);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 100);
    subscription_start(&play.sub, play.now);
    cr_expect_eq(play.sent->version_in_force, 9);
    PLAY_RESPOND(&play, .nonce = "n", .version = 8, .destination = "a", .certificate_for = PLAY_ID,
                 .seconds = 3600);
    cr_expect(strstr(play_error_sent(&play), "older than 9") != NULL, "%s", play_error_sent(&play));
    play_cleanup(&play);
}

Test(subscription, an_expired_certificate_is_forgotten_but_not_whose_it_was, .timeout = 20)
{
    struct play play;
    play_init(&play);
    play_settle_first(&play);
    subscription_ended(&play.sub, "gone", play.now);
    play.is_refusing_to_open = true;
    play_pass(&play, 3590 * 1000);
    cr_expect_eq(play.num_expired, 0);
    play_pass(&play, 20 * 1000);
    cr_expect_eq(play.num_expired, 1);
    cr_expect_null(play.sub.issued.part);
    play_pass(&play, 1000);
    cr_expect_eq(play.num_expired, 1, "once");
    play.is_refusing_to_open = false;
    play_pass(&play, 60000);
    cr_assert_not_null(play.sent->certificate_request);
    PLAY_RESPOND(&play, .nonce = "n", .version = 6, .destination = "a", .certificate_for = OTHER,
                 .seconds = 3600);
    cr_expect(strstr(play_error_sent(&play), "but this sidecar is " PLAY_ID) != NULL, "%s",
              play_error_sent(&play));
    play_cleanup(&play);
}
