// SPDX-License-Identifier: Apache-2.0
//
// What a subscription asks, and what it proves itself by.
#include <criterion/criterion.h>
#include <openssl/x509.h>
#include <string.h>

#include "certs/key.h"
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

// Brings a state that makes the certificate in force useless, by a CRL, say.
static void revoke(struct play *play)
{
    play_settle_first(play);
    play->useless = play->sub.issued.part;
    play->token = "anew";
    PLAY_RESPOND(play, .nonce = "n2", .version = 6, .destination = "b");
}

Test(subscription_ask, a_state_waits_for_the_certificate_that_it_needs_and_comes_with_it,
     .timeout = 20)
{
    struct play play;
    play_init(&play);
    revoke(&play);
    cr_expect_str_eq(play.sent->result->nonce, "n2");
    cr_expect_not_null(strstr(play_error_sent(&play), "waits for a new certificate"), "%s",
                       play_error_sent(&play));
    cr_expect_not_null(strstr(play_error_sent(&play), "revoked"), "%s", play_error_sent(&play));
    cr_expect_eq(play.sub.version, 5, "what was in force stays");
    unsigned num_sent = play.num_sent;
    play_pass(&play, 1000);
    cr_assert_eq(play.num_sent, num_sent + 1, "it asks on the same stream");
    cr_assert_not_null(play.sent->certificate_request);
    cr_expect_str_eq(play.sent->certificate_request->spiffe_id, PLAY_ID);
    cr_expect_str_eq(play.sent->certificate_request->service_account_token, "anew");
    play_pass(&play, PA_CSR_ANSWER_MS_MAX - 1);
    cr_expect_eq(play.num_sent, num_sent + 1, "once");
    PLAY_RESPOND(&play, .nonce = "n3", .certificate_for = PLAY_ID, .seconds = 3600);
    cr_expect_eq(play.num_offers, 3);
    cr_expect_eq(play.num_destinations, 1);
    cr_expect_eq(play.sub.version, 5, "not before both are in force");
    subscription_settled(&play.sub, "", play.now);
    cr_expect_str_eq(play.sent->result->nonce, "n3");
    cr_expect_str_eq(play_error_sent(&play), "");
    cr_expect_eq(play.sub.version, 6);
    cr_expect_neq(play.sub.issued.part, play.useless);
    cr_expect_str_eq(subscription_state(&play.sub)->destinations[0]->name, "b");
    num_sent = play.num_sent;
    play_pass(&play, 1000 * 1000);
    cr_expect_eq(play.num_sent, num_sent, "the new one is renewed at half of its life");
    cr_expect_eq(play.num_opened, 1);
    cr_expect_eq(play.num_tokens_held, 0);
    play_cleanup(&play);
}

Test(subscription_ask, a_policy_agent_that_sends_the_state_again_makes_nobody_ask_more_often,
     .timeout = 20)
{
    struct play play;
    play_init(&play);
    revoke(&play);
    play_pass(&play, 1000);
    unsigned num_sent = play.num_sent;
    for (unsigned i = 0; i < 20; i++) {
        PLAY_RESPOND(&play, .nonce = "again", .version = 7 + i, .destination = "b");
        cr_assert_eq(play.num_sent, ++num_sent, "row %u: the result alone", i);
        play_pass(&play, 500);
        cr_assert_eq(play.num_sent, num_sent, "row %u", i);
    }
    cr_expect_eq(play.sub.version, 5);
    play_cleanup(&play);
}

Test(subscription_ask, who_gets_no_new_certificate_keeps_what_was_in_force_and_asks_ever_later,
     .timeout = 20)
{
    struct play play;
    play_init(&play);
    revoke(&play);
    play_pass(&play, 1000);
    cr_assert_not_null(play.sent->certificate_request);
    PLAY_RESPOND(&play, .nonce = "n3", .certificate_error = "there is no such pod");
    for (size_t i = 0; i < PLAY_WAITS; i++) {
        play_wait_to_ask(&play, i);
        PLAY_RESPOND(&play, .nonce = "more", .certificate_error = "there is no such pod");
        cr_expect_eq(play.sub.version, 5, "row %zu", i);
        cr_expect_eq(play.sub.issued.part, play.useless, "row %zu", i);
    }
    cr_expect_eq(play.num_offers, 2, "nothing is tried without it");
    play_cleanup(&play);
}

// The kind of the key that the last request asks a certificate for.
static const char *key_asked_for(const struct play *play, char *buf)
{
    const ProtobufCBinaryData *der = &play->sent->certificate_request->csr;
    const uint8_t *at = der->data;
    X509_REQ *csr = d2i_X509_REQ(NULL, &at, (long)der->len);
    EVP_PKEY *key = X509_REQ_get_pubkey(csr);
    key_text(key, buf);
    EVP_PKEY_free(key);
    X509_REQ_free(csr);
    return buf;
}

Test(subscription_ask, another_kind_of_key_is_asked_for_without_waiting_for_the_renewal,
     .timeout = 20)
{
    char text[KEY_TEXT_MAX];
    struct play play;
    play_init(&play);
    play_settle_first(&play);
    unsigned num_sent = play.num_sent;
    play_pass(&play, 2000);
    subscription_configure(&play.sub, &play.sub.config);
    play_pass(&play, 2000);
    cr_assert_eq(play.num_sent, num_sent, "nothing has changed");
    struct subscription_config config = play.sub.config;
    config.key = TABARD__V1__MESH_CONFIG__POLICY_AGENT_ACCESS__KEY__ML_DSA_44;
    subscription_configure(&play.sub, &config);
    play_pass(&play, 2000);
    cr_assert_eq(play.num_sent, num_sent + 1);
    cr_assert_not_null(play.sent->certificate_request);
    cr_expect_str_eq(key_asked_for(&play, text), "ML-DSA-44");
    PLAY_RESPOND(&play, .nonce = "n3", .certificate_for = PLAY_ID, .seconds = 3600);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_str_eq(play_error_sent(&play), "");
    num_sent = play.num_sent;
    play_pass(&play, 1000 * 1000);
    cr_expect_eq(play.num_sent, num_sent, "the new one is renewed at half of its life");
    play_cleanup(&play);
}

// A slip that the policy agent takes back: the certificate is good again.
Test(subscription_ask, a_newer_state_that_the_certificate_is_good_for_needs_no_other, .timeout = 20)
{
    struct play play;
    play_init(&play);
    revoke(&play);
    play.useless = NULL;
    PLAY_RESPOND(&play, .nonce = "n3", .version = 7, .destination = "c");
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.sub.version, 7);
    play_pass(&play, 1000);
    cr_assert_not_null(play.sent->certificate_request, "it was to be renewed all the same");
    PLAY_RESPOND(&play, .nonce = "n4", .certificate_for = PLAY_ID, .seconds = 3600);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.sub.version, 7, "the state that waited is forgotten");
    cr_expect_str_eq(subscription_state(&play.sub)->destinations[0]->name, "c");
    play_cleanup(&play);
}

Test(subscription_ask, a_stream_that_follows_one_with_a_useless_certificate_begins_with_a_request,
     .timeout = 20)
{
    struct play play;
    play_init(&play);
    revoke(&play);
    subscription_ended(&play.sub, "the certificate is revoked", play.now);
    play_pass(&play, SUBSCRIPTION_BACKOFF_MS_MAX);
    cr_assert_eq(play.num_opened, 2);
    cr_assert_not_null(play.sent->certificate_request);
    cr_expect_eq(play.sent->version_in_force, 5);
    PLAY_RESPOND(&play, .nonce = "n1", .version = 6, .destination = "b", .certificate_for = PLAY_ID,
                 .seconds = 3600);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.sub.version, 6);
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
