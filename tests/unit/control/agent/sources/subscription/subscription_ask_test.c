// SPDX-License-Identifier: Apache-2.0
//
// What a subscription asks, and what it proves itself by.
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/control/agent/sources/subscription/play.h"

Test(subscription_ask, reads_the_token_anew_for_each_stream_and_each_signing_request, .timeout = 20)
{
    struct play play;
    play_init(&play);
    play.token = NULL;
    subscription_start(&play.sub, play.now);
    cr_expect_eq(play.num_opened, 0, "nothing is asked without it");
    cr_expect_str_eq(play.failed, "no token");
    play.token = "one";
    play_pass(&play, SUBSCRIPTION_BACKOFF_MS_MAX);
    cr_assert_eq(play.num_sent, 1);
    cr_expect_str_eq(play.sent->node->service_account_token, "one");
    cr_expect_str_eq(play.sent->certificate_request->service_account_token, "one");
    PLAY_RESPOND(&play, .nonce = "n", .version = 1, .destination = "a", .certificate_for = PLAY_ID,
                 .seconds = 3600);
    subscription_settled(&play.sub, "", play.now);
    unsigned num_sent = play.num_sent;
    play.token = NULL;
    play.failed[0] = '\0';
    play_pass(&play, UINT64_C(3600000) * 56 / 100);
    cr_expect_eq(play.num_sent, num_sent);
    cr_expect_eq(play.num_closed, 0, "the stream goes on");
    cr_expect_str_eq(play.failed, "no token");
    play.token = "two";
    play_pass(&play, PA_CSR_WAIT_MS_MAX);
    cr_assert_eq(play.num_sent, num_sent + 1);
    cr_expect_str_eq(play.sent->certificate_request->service_account_token, "two");
    cr_expect_eq(play.num_tokens_held, 0);
    play_cleanup(&play);
}

Test(subscription_ask, asks_for_no_certificate_where_the_sidecar_keeps_its_own, .timeout = 20)
{
    struct play play;
    play_init(&play);
    subscription_configure(&play.sub, &(struct subscription_config){.spiffe_id = "",
                                                                    .shows_certificate = true,
                                                                    .keeps_identity = true});
    subscription_start(&play.sub, play.now);
    cr_assert_eq(play.num_sent, 1);
    cr_expect_null(play.sent->certificate_request);
    PLAY_RESPOND(&play, .nonce = "n", .version = 1, .destination = "a");
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.num_accepted, 1, "%s", play.failed);
    play_pass(&play, 7200000);
    cr_expect_eq(play.num_sent, 2, "the result, and nothing more");
    PLAY_RESPOND(&play, .nonce = "m", .certificate_error = "none for you");
    cr_expect_not_null(strstr(play.sent->result->error, "certificate"), "%s",
                       play.sent->result->error);
    play_cleanup(&play);
}
