// SPDX-License-Identifier: Apache-2.0
//
// One sidecar's stream, request by request.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "certs/ca/ca_store.h"
#include "certs/ca/csr.h"
#include "control/policyd/stream/session.h"
#include "tests/unit/control/policyd/stream/policyd_rig.h"

static struct policyd_rig rig;
static struct sidecar sidecar;

static void start(void)
{
    temp_set_up();
    policyd_rig_start(&rig, POLICYD_FLEET);
}

static void stop(void)
{
    if (sidecar.call != NULL) {
        sidecar_vanish(&sidecar);
    }
    sidecar_cleanup(&sidecar);
    policyd_rig_stop(&rig);
    temp_tear_down();
}

TestSuite(session, .init = start, .fini = stop, .timeout = 60);

static void make_csr(uint8_t **out_csr, size_t *out_len)
{
    EVP_PKEY *key = NULL;
    struct err err = {0};
    cr_assert(csr_new(&key, out_csr, out_len, MINT_KEY_P256, "", &err), "%s", err.text);
    EVP_PKEY_free(key);
}

Test(session, the_first_request_is_answered_with_a_state)
{
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, SHOP, "10.0.0.5", NULL, 0);
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_expect_str_neq(response->nonce, "");
    cr_expect_eq(response->version, rig.service.version.last);
    cr_assert_not_null(response->state);
    cr_expect_eq(response->state->n_trust_bundles, 1);
    cr_assert_eq(response->state->n_policies, 1);
    cr_expect_str_eq(response->state->policies[0]->name, "web-may");
    cr_expect_null(response->certificate, "none was asked for");
    cr_expect_str_eq(policyd_rig_owner(&rig, "10.0.0.5"), SHOP);
    const struct service_stats *stats = &rig.service.stats;
    cr_expect_eq(stats->num_streams, 1);
    cr_expect_eq(stats->num_started, 1);
    cr_expect_eq(stats->admitted[ADMIT_OK], 1);
    cr_expect_eq(stats->num_states, 1);
    cr_expect_eq(stats->num_deltas, 0);
    cr_expect_eq(stats->num_bytes,
                 tabard__v1__subscribe_response__get_packed_size(sidecar.response));
}

Test(session, one_response_is_under_way_at_a_time)
{
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, SHOP, "10.0.0.5", NULL, 0);
    uint64_t version = sidecar_take(&sidecar)->version;
    policyd_rig_set_fleet(&rig, POLICYD_FLEET POLICYD_POLICY("ops-may", OPS));
    cr_expect(sidecar_is_quiet(&sidecar), "the first one was not answered yet");
    sidecar_answer(&sidecar, "");
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_assert_not_null(response->state);
    cr_expect_eq(response->state->n_policies, 2);
    cr_expect_gt(response->version, version);
    sidecar_answer(&sidecar, "");
    cr_expect(sidecar_is_quiet(&sidecar), "nothing has changed since");
    cr_expect_eq(rig.service.stats.num_acks, 2);
    cr_expect_eq(rig.service.stats.num_nacks, 0);
}

Test(session, an_address_that_comes_is_a_delta_and_after_a_refusal_a_state)
{
    struct sidecar shop = {0}, other = {0};
    sidecar_join(&sidecar, &rig, WEB, NULL);
    sidecar_join(&shop, &rig, SHOP, "10.0.0.5");
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_expect_null(response->state);
    cr_assert(response->destinations != NULL && response->destinations->n_set == 1);
    cr_expect_str_eq(response->destinations->set[0]->addresses[0], "10.0.0.5");
    sidecar_answer(&sidecar, "the proxy refuses it");
    cr_expect(sidecar_is_quiet(&sidecar), "what was refused is not sent again");
    cr_expect_eq(rig.service.stats.num_nacks, 1);
    sidecar_join(&other, &rig, SHOP, "10.0.0.6");
    response = sidecar_take(&sidecar);
    cr_expect_null(response->destinations);
    cr_assert_not_null(response->state);
    cr_expect_eq(response->state->n_destinations, 2, "one for each address");
    sidecar_vanish(&shop);
    sidecar_vanish(&other);
    sidecar_cleanup(&shop);
    sidecar_cleanup(&other);
}

Test(session, a_first_request_says_who_asks)
{
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    sidecar_open(&sidecar, &rig);
    sidecar_send(&sidecar, &request);
    sidecar_expect_end(&sidecar, GRPC_INVALID_ARGUMENT, "node, with an id", SERVICE_END_MALFORMED);
}

Test(session, a_first_request_has_no_result)
{
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    Tabard__V1__Node node = TABARD__V1__NODE__INIT;
    Tabard__V1__Result result = TABARD__V1__RESULT__INIT;
    node.id = (char *)"a-node";
    request.node = &node;
    request.result = &result;
    sidecar_open(&sidecar, &rig);
    sidecar_send(&sidecar, &request);
    sidecar_expect_end(&sidecar, GRPC_INVALID_ARGUMENT, "a result before any response",
                       SERVICE_END_MALFORMED);
}

Test(session, a_second_node_ends_the_stream)
{
    sidecar_join(&sidecar, &rig, WEB, NULL);
    sidecar_ask(&sidecar, WEB, NULL, NULL, 0);
    sidecar_expect_end(&sidecar, GRPC_INVALID_ARGUMENT, "first request only",
                       SERVICE_END_MALFORMED);
}

Test(session, a_request_without_anything_in_it_ends_the_stream)
{
    sidecar_join(&sidecar, &rig, WEB, NULL);
    sidecar_send_bytes(&sidecar, "", 0);
    sidecar_expect_end(&sidecar, GRPC_INVALID_ARGUMENT, "neither a result", SERVICE_END_MALFORMED);
}

Test(session, bytes_that_are_no_request_end_the_stream)
{
    sidecar_join(&sidecar, &rig, WEB, NULL);
    sidecar_send_bytes(&sidecar, "\xff\xff", 2);
    sidecar_expect_end(&sidecar, GRPC_INVALID_ARGUMENT, "not a SubscribeRequest",
                       SERVICE_END_MALFORMED);
}

Test(session, a_result_with_another_nonce_ends_the_stream)
{
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, WEB, NULL, NULL, 0);
    sidecar_take(&sidecar);
    sidecar.response->nonce[0]++;
    sidecar_answer(&sidecar, "");
    sidecar_expect_end(&sidecar, GRPC_INVALID_ARGUMENT, "isn't waiting", SERVICE_END_MALFORMED);
    cr_expect_eq(rig.service.stats.num_acks, 0);
}

Test(session, a_response_is_answered_once)
{
    sidecar_join(&sidecar, &rig, WEB, NULL);
    sidecar_answer(&sidecar, "");
    sidecar_expect_end(&sidecar, GRPC_INVALID_ARGUMENT, "isn't waiting", SERVICE_END_MALFORMED);
    cr_expect_eq(rig.service.stats.num_acks, 1);
}

Test(session, an_identity_that_the_user_is_not_granted_is_refused)
{
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, UNGRANTED, NULL, NULL, 0);
    sidecar_expect_end(&sidecar, GRPC_PERMISSION_DENIED, "not_named: ", SERVICE_END_NOT_ADMITTED);
    cr_expect_eq(rig.service.stats.admitted[ADMIT_OK], 0);
    cr_expect_eq(rig.service.stats.admitted[ADMIT_NOT_NAMED], 1);
    cr_expect_eq(rig.service.stats.num_states, 0);
}

Test(session, an_address_that_the_fleet_does_not_give_is_refused)
{
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, SHOP, "10.0.1.5", NULL, 0);
    sidecar_expect_end(&sidecar, GRPC_PERMISSION_DENIED, "none of the 1 addresses",
                       SERVICE_END_ADDRESS);
    cr_expect_str_eq(policyd_rig_owner(&rig, "10.0.1.5"), "");
}

Test(session, a_signing_request_of_the_first_request_is_answered_beside_the_state)
{
    uint8_t *csr = NULL;
    size_t len = 0;
    make_csr(&csr, &len);
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, WEB, NULL, csr, len);
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_expect_not_null(response->state);
    cr_assert_not_null(response->certificate, "%s", response->certificate_error);
    cr_expect_eq(response->certificate->n_chain, 1);
    cr_expect_eq(issuer_stats(rig.service.issuer)->num_issued, 1);
    free(csr);
}

Test(session, a_later_signing_request_is_answered_alone)
{
    uint8_t *csr = NULL;
    size_t len = 0;
    make_csr(&csr, &len);
    sidecar_join(&sidecar, &rig, WEB, NULL);
    sidecar_sign(&sidecar, csr, len, WEB);
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_expect(response->state == NULL && response->destinations == NULL);
    cr_expect_not_null(response->certificate, "%s", response->certificate_error);
    free(csr);
}

Test(session, a_signing_request_that_cannot_be_granted_is_answered_in_words)
{
    uint8_t *csr = NULL;
    size_t len = 0;
    make_csr(&csr, &len);
    sidecar_join(&sidecar, &rig, WEB, NULL);
    sidecar_sign(&sidecar, csr, len, SHOP);
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_expect_null(response->certificate);
    cr_expect_str_eq(response->certificate_error, "this stream was admitted as " WEB);
    sidecar_answer(&sidecar, "");
    sidecar_sign(&sidecar, (const uint8_t *)"x", 1, "");
    response = sidecar_take(&sidecar);
    cr_expect_null(response->certificate);
    cr_expect_str_neq(response->certificate_error, "");
    cr_expect_eq(issuer_stats(rig.service.issuer)->num_issued, 0);
    free(csr);
}

Test(session, a_stream_has_a_burst_of_signing_requests_and_then_words)
{
    uint8_t *csr = NULL;
    size_t len = 0;
    make_csr(&csr, &len);
    sidecar_join(&sidecar, &rig, WEB, NULL);
    for (int i = 0; i < SERVICE_CSR_BURST; i++) {
        sidecar_sign(&sidecar, csr, len, "");
        cr_expect_not_null(sidecar_take(&sidecar)->certificate);
        sidecar_answer(&sidecar, "");
    }
    sidecar_sign(&sidecar, csr, len, "");
    cr_expect(strstr(sidecar_take(&sidecar)->certificate_error, "too many") != NULL);
    cr_expect_eq(rig.service.stats.num_csr_limited, 1);
    free(csr);
}

// Begins a stream that has nothing but a join token.
static const Tabard__V1__SubscribeResponse *join_by_token(const char *token)
{
    uint8_t *csr = NULL;
    size_t len = 0;
    make_csr(&csr, &len);
    sidecar.token = token;
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, UNGRANTED, NULL, csr, len);
    free(csr);
    return sidecar_take(&sidecar);
}

static void make_token(char out[TOKEN_TEXT_MAX])
{
    struct err err = {0};
    cr_assert(token_make(out, temp_folder, UNGRANTED, time(NULL) + 600, &err), "%s", err.text);
}

Test(session, streams_that_take_certificates_and_accept_none_use_up_their_token)
{
    char token[TOKEN_TEXT_MAX];
    make_token(token);
    for (int i = 0; i < TOKEN_CERTIFICATES_MAX; i++) {
        cr_assert_not_null(join_by_token(token)->certificate, "%d", i);
        sidecar_vanish(&sidecar);
        sidecar_cleanup(&sidecar);
    }
    sidecar.token = token;
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, UNGRANTED, NULL, NULL, 0);
    sidecar_expect_end(&sidecar, GRPC_UNAUTHENTICATED, "was used before", SERVICE_END_NOT_ADMITTED);
    cr_expect_eq(issuer_stats(rig.service.issuer)->num_issued, TOKEN_CERTIFICATES_MAX);
}

// As when its hold grew old while the host slept, and another stream came with the token.
Test(session, a_stream_neither_spends_nor_gives_back_the_hold_of_another)
{
    char token[TOKEN_TEXT_MAX], command[600];
    make_token(token);
    cr_assert_not_null(join_by_token(token)->certificate);
    snprintf(command, sizeof command,
             "cd %s/tokens/held && for f in *; do mv $f ${f%%-*}-0123456789abcdef; done",
             temp_folder);
    cr_assert_eq(system(command), 0);
    sidecar_answer(&sidecar, "");
    sidecar_expect_end(&sidecar, GRPC_UNAVAILABLE, "has just admitted a sidecar",
                       SERVICE_END_NOT_ADMITTED);
    snprintf(command, sizeof command, "test -e %s/tokens/held/*-0123456789abcdef", temp_folder);
    cr_expect_eq(system(command), 0);
}

Test(session, a_signing_request_before_the_last_one_was_answered_ends_the_stream)
{
    uint8_t *csr = NULL;
    size_t len = 0;
    make_csr(&csr, &len);
    sidecar_join(&sidecar, &rig, WEB, NULL);
    sidecar_sign(&sidecar, csr, len, "");
    sidecar_sign(&sidecar, csr, len, "");
    sidecar_expect_end(&sidecar, GRPC_RESOURCE_EXHAUSTED, "before the last one was answered",
                       SERVICE_END_CSR_FLOOD);
    free(csr);
}

Test(session, the_state_does_not_wait_for_a_locked_ca_for_ever)
{
    struct ca_store store = {0};
    struct err err = {0};
    uint8_t *csr = NULL;
    size_t len = 0;
    make_csr(&csr, &len);
    cr_assert(ca_store_open(&store, rig.ca_dir, &err), "%s", err.text);
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, WEB, NULL, csr, len);
    cr_expect(sidecar_is_quiet(&sidecar), "it waits for the certificate");
    cr_expect(run_until(&rig, sidecar.num_responses > 0, SERVICE_ISSUE_MS + 5000));
    cr_expect_not_null(sidecar_take(&sidecar)->state);
    cr_expect_null(sidecar.response->certificate);
    ca_store_close(&store);
    sidecar_answer(&sidecar, "");
    cr_expect_not_null(sidecar_take(&sidecar)->certificate, "and that comes when it is there");
    free(csr);
}

Test(session, a_state_that_was_refused_comes_once_more_with_the_certificate)
{
    uint8_t *csr = NULL;
    size_t len = 0;
    make_csr(&csr, &len);
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, WEB, NULL, (const uint8_t *)"x", 1);
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_expect_not_null(response->state);
    cr_expect_str_neq(response->certificate_error, "");
    sidecar_answer(&sidecar, "there is no certificate yet");
    sidecar_sign(&sidecar, csr, len, WEB);
    response = sidecar_take(&sidecar);
    cr_expect_not_null(response->certificate, "%s", response->certificate_error);
    cr_expect_not_null(response->state);
    free(csr);
}

Test(session, a_sidecar_that_asks_again_later_as_it_was_told_is_never_ended)
{
    uint8_t *csr = NULL;
    size_t len = 0;
    make_csr(&csr, &len);
    sidecar_join(&sidecar, &rig, WEB, NULL);
    struct session *session = LIST_OF(rig.service.sessions.next, struct session, link);
    for (int i = 0; i < 2 * SERVICE_CSR_REFUSED_MAX; i++) {
        session->csrs.drops = 0;
        session->limited_ms = i == 0 ? 0 : uv_now(&rig.loop) - SERVICE_CSR_PATIENCE_MS;
        sidecar_sign(&sidecar, csr, len, "");
        const char *error = sidecar_take(&sidecar)->certificate_error;
        cr_assert(strstr(error, "ask again later") != NULL, "%s", error);
        sidecar_answer(&sidecar, "");
    }
    cr_expect_eq(session->num_csrs_refused, 0);
    free(csr);
}

Test(session, a_sidecar_that_asks_again_at_once_however_often_it_is_told_not_to_is_ended)
{
    uint8_t *csr = NULL;
    size_t len = 0;
    make_csr(&csr, &len);
    sidecar_join(&sidecar, &rig, WEB, NULL);
    struct session *session = LIST_OF(rig.service.sessions.next, struct session, link);
    for (int i = 0; i <= SERVICE_CSR_REFUSED_MAX; i++) {
        session->csrs.drops = 0;
        sidecar_sign(&sidecar, csr, len, "");
        sidecar_take(&sidecar);
        sidecar_answer(&sidecar, "");
    }
    session->csrs.drops = 0;
    sidecar_sign(&sidecar, csr, len, "");
    sidecar_expect_end(&sidecar, GRPC_RESOURCE_EXHAUSTED, "had to be refused",
                       SERVICE_END_CSR_FLOOD);
    free(csr);
}

Test(session, a_stream_without_a_first_request_ends)
{
    sidecar_open(&sidecar, &rig);
    cr_expect(run_until(&rig, sidecar.call == NULL, SERVICE_FIRST_REQUEST_MS + 5000));
    sidecar_expect_end(&sidecar, GRPC_DEADLINE_EXCEEDED, "no first request", SERVICE_END_SILENT);
}
