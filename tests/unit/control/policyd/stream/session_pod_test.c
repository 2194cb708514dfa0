// SPDX-License-Identifier: Apache-2.0
//
// Streams of pods, which prove themselves by the token of a service account. The test plays the
// API server, by its answers, and the source that knows the pods.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/csr.h"
#include "control/policyd/stream/session.h"
#include "tests/unit/control/policyd/stream/policyd_rig.h"

#define POD_WEB  "spiffe://demo.example/ns/shop/sa/web"
#define POD_BANK "spiffe://demo.example/ns/bank/sa/web"

static const char fleet_text[] =
    "workloads:\n"
    "- {spiffe_id: '" POD_WEB "', by_service_account: true, ports: [8080]}\n"
    "- {spiffe_id: '" POD_BANK "', by_service_account: true}\n";

// The pods that are there.
struct known {
    const char *uid; // NULL: none
    const char *key;
};

static struct policyd_rig rig;
static struct sidecar sidecar;
static struct known known[2];
static char asked[64]; // the token that was asked about last
static unsigned num_asked, num_forgotten;
static account_on_answer *told;
static void *asker;
static uint8_t *csr;
static size_t csr_len;

static void *on_ask(void *ctx, const char *token, account_on_answer *on_answer, void *who)
{
    (void)ctx;
    snprintf(asked, sizeof asked, "%s", token);
    num_asked++;
    told = on_answer;
    asker = who;
    return &told;
}

static void on_forget(void *ctx, void *question)
{
    (void)ctx;
    (void)question;
    num_forgotten++;
}

static const char *on_key(void *ctx, const struct account_pod *pod)
{
    (void)ctx;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (known[i].uid != NULL && strcmp(known[i].uid, pod->uid) == 0) {
            return known[i].key;
        }
    }
    return NULL;
}

static void start(void)
{
    static const struct reviewer reviewer = {.ask = on_ask, .forget = on_forget};
    static const struct pods pods = {.key = on_key};
    struct err err = {0};
    EVP_PKEY *key = NULL;
    temp_set_up();
    policyd_rig_start(&rig, fleet_text);
    service_set_cluster(&rig.service, reviews_new(&rig.loop, &reviewer), &pods);
    known[0] = (struct known){.uid = "u1", .key = POD_WEB};
    cr_assert(csr_new(&key, &csr, &csr_len, MINT_KEY_P256, "", &err), "%s", err.text);
    EVP_PKEY_free(key);
}

static void stop(void)
{
    if (sidecar.call != NULL) {
        sidecar_vanish(&sidecar);
    }
    sidecar_cleanup(&sidecar);
    policyd_rig_stop(&rig);
    temp_tear_down();
    free(csr);
}

TestSuite(session_pod, .init = start, .fini = stop, .timeout = 60);

static void present(const char *token)
{
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    Tabard__V1__Node node = TABARD__V1__NODE__INIT;
    Tabard__V1__CertificateRequest signing = TABARD__V1__CERTIFICATE_REQUEST__INIT;
    char *addresses[] = {(char *)"192.0.2.1"};
    node.id = (char *)"shop/web-1";
    node.addresses = addresses; // of which nothing is believed
    node.n_addresses = 1;
    node.service_account_token = (char *)token;
    signing.csr = (ProtobufCBinaryData){.len = csr_len, .data = csr};
    request.node = &node;
    request.certificate_request = &signing;
    sidecar_open(&sidecar, &rig);
    sidecar_send(&sidecar, &request);
}

static void renew(const char *token)
{
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    Tabard__V1__CertificateRequest signing = TABARD__V1__CERTIFICATE_REQUEST__INIT;
    signing.csr = (ProtobufCBinaryData){.len = csr_len, .data = csr};
    signing.service_account_token = (char *)token;
    request.certificate_request = &signing;
    sidecar_send(&sidecar, &request);
}

static struct account_answer pod_of(const char *ns, const char *uid)
{
    struct account_answer answer = {.result = ACCOUNT_OK,
                                    .pod = {.account = "web", .name = "web-1"}};
    snprintf(answer.pod.ns, sizeof answer.pod.ns, "%s", ns);
    snprintf(answer.pod.uid, sizeof answer.pod.uid, "%s", uid);
    return answer;
}

static void say(const char *token, const struct account_answer *answer)
{
    cr_assert(run_until(&rig, told != NULL, POLICYD_WAIT_MS), "nobody was asked");
    cr_expect_str_eq(asked, token);
    account_on_answer *told_now = told;
    told = NULL;
    told_now(asker, answer);
}

static void say_result(const char *token, enum account_result result)
{
    const struct account_answer answer = {.result = result, .words = "so says the API server"};
    say(token, &answer);
}

static void say_pod(const char *token, const char *ns, const char *uid)
{
    const struct account_answer answer = pod_of(ns, uid);
    say(token, &answer);
}

static void join(void)
{
    present("a.b.one");
    say_pod("a.b.one", "shop", "u1");
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_assert(response->state != NULL && response->certificate != NULL);
    sidecar_answer(&sidecar, "");
}

Test(session_pod, a_good_token_gives_its_account_s_certificate_after_one_review)
{
    present("a.b.one");
    cr_assert(run_until(&rig, told != NULL, POLICYD_WAIT_MS));
    cr_expect(sidecar_is_quiet(&sidecar), "nothing is told before the review");
    say_pod("a.b.one", "shop", "u1");
    const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
    cr_expect_not_null(response->state);
    cr_expect_not_null(response->certificate);
    cr_expect_eq(num_asked, 1, "the signing request came with the token that was reviewed");
    cr_expect_eq(rig.service.stats.admitted[ADMIT_OK], 1);
    cr_expect_str_eq(policyd_rig_owner(&rig, "192.0.2.1"), "", "its own word for where it is");
}

Test(session_pod, a_sidecar_without_a_token_is_not_admitted_for_its_word)
{
    sidecar_open(&sidecar, &rig);
    sidecar_ask(&sidecar, POD_WEB, NULL, NULL, 0);
    sidecar_expect_end(&sidecar, GRPC_PERMISSION_DENIED, "not_named", SERVICE_END_NOT_ADMITTED);
    cr_expect_eq(num_asked, 0);
}

Test(session_pod, a_token_that_is_refused_says_why)
{
    present("a.b.one");
    say_result("a.b.one", ACCOUNT_EXPIRED);
    sidecar_expect_end(&sidecar, GRPC_UNAUTHENTICATED, "account_expired: so says the API server",
                       SERVICE_END_NOT_ADMITTED);
    cr_expect_eq(rig.service.stats.admitted[ADMIT_ACCOUNT_EXPIRED], 1);
}

Test(session_pod, a_token_that_can_t_be_reviewed_now_is_to_come_again)
{
    present("a.b.one");
    say_result("a.b.one", ACCOUNT_UNAVAILABLE);
    sidecar_expect_end(&sidecar, GRPC_UNAVAILABLE, "unreviewed", SERVICE_END_NOT_ADMITTED);
}

Test(session_pod, an_identity_that_the_token_does_not_prove_is_not_given)
{
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    Tabard__V1__Node node = TABARD__V1__NODE__INIT;
    Tabard__V1__CertificateRequest signing = TABARD__V1__CERTIFICATE_REQUEST__INIT;
    node.id = (char *)"n";
    node.service_account_token = (char *)"a.b.one";
    signing.csr = (ProtobufCBinaryData){.len = csr_len, .data = csr};
    signing.spiffe_id = (char *)POD_BANK;
    request.node = &node;
    request.certificate_request = &signing;
    sidecar_open(&sidecar, &rig);
    sidecar_send(&sidecar, &request);
    say_pod("a.b.one", "shop", "u1");
    sidecar_expect_end(&sidecar, GRPC_PERMISSION_DENIED, "account_of_another",
                       SERVICE_END_NOT_ADMITTED);
}

Test(session_pod, a_pod_that_the_watch_has_not_brought_yet_is_waited_for)
{
    known[0].uid = NULL;
    present("a.b.one");
    say_pod("a.b.one", "shop", "u1");
    cr_expect(sidecar_is_quiet(&sidecar));
    known[0] = (struct known){.uid = "u1", .key = POD_WEB};
    cr_expect_not_null(sidecar_take(&sidecar)->certificate);
}

Test(session_pod, a_pod_that_is_not_there_is_refused_after_a_while)
{
    present("a.b.one");
    say_pod("a.b.one", "shop", "another uid");
    sidecar_expect_end(&sidecar, GRPC_UNAUTHENTICATED, "pod_gone: there is no such pod",
                       SERVICE_END_NOT_ADMITTED);
    cr_expect_eq(rig.service.stats.admitted[ADMIT_POD_GONE], 1);
}

Test(session_pod, a_pod_whose_workload_has_another_identity_is_refused)
{
    known[0].key = POD_BANK;
    present("a.b.one");
    say_pod("a.b.one", "shop", "u1");
    sidecar_expect_end(&sidecar, GRPC_PERMISSION_DENIED, "ambiguous", SERVICE_END_NOT_ADMITTED);
}

Test(session_pod, the_stream_of_a_pod_that_goes_ends)
{
    join();
    known[0].uid = NULL;
    service_check_pods(&rig.service);
    sidecar_expect_end(&sidecar, GRPC_UNAUTHENTICATED, "the pod is gone", SERVICE_END_POD_GONE);
}

Test(session_pod, each_signing_request_brings_the_token_again)
{
    static const struct {
        const char *token;
        const char *words;
    } rows[] = {{"", "needs the pod's token"}, {"junk", "account_malformed"}};
    join();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        renew(rows[i].token);
        const Tabard__V1__SubscribeResponse *response = sidecar_take(&sidecar);
        cr_expect_null(response->certificate);
        cr_expect_not_null(strstr(response->certificate_error, rows[i].words), "%s",
                           response->certificate_error);
        sidecar_answer(&sidecar, "");
    }
    cr_expect_eq(num_asked, 1);
    cr_expect_eq(rig.service.stats.num_csr_unproved, 2);
    renew("a.b.two"); // the third of the burst; the first came with the stream
    cr_expect_not_null(strstr(sidecar_take(&sidecar)->certificate_error, "too many"));
}

Test(session_pod, a_good_token_renews_the_certificate)
{
    join();
    renew("a.b.two");
    say_pod("a.b.two", "shop", "u1");
    cr_expect_not_null(sidecar_take(&sidecar)->certificate);
    cr_expect_eq(num_asked, 2);
}

Test(session_pod, another_pod_s_token_renews_nothing)
{
    known[1] = (struct known){.uid = "u2", .key = POD_WEB};
    join();
    renew("a.b.two");
    say_pod("a.b.two", "shop", "u2");
    const char *words = sidecar_take(&sidecar)->certificate_error;
    cr_expect_not_null(strstr(words, "and this stream of"), "%s", words);
    sidecar_answer(&sidecar, "");
    renew("a.b.three");
    say_pod("a.b.three", "bank", "u1");
    words = sidecar_take(&sidecar)->certificate_error;
    cr_expect_not_null(strstr(words, "this stream was admitted as " POD_WEB), "%s", words);
}

Test(session_pod, an_api_server_that_is_away_ends_no_stream)
{
    join();
    renew("a.b.two");
    say_result("a.b.two", ACCOUNT_UNAVAILABLE);
    const char *words = sidecar_take(&sidecar)->certificate_error;
    cr_expect_not_null(strstr(words, "unreviewed"), "%s", words);
    sidecar_answer(&sidecar, "");
    cr_expect(sidecar_is_quiet(&sidecar));
    cr_expect_not_null(sidecar.call);
}

Test(session_pod, a_pod_that_is_gone_is_not_renewed)
{
    join();
    renew("a.b.two");
    say_result("a.b.two", ACCOUNT_POD_GONE);
    sidecar_expect_end(&sidecar, GRPC_UNAUTHENTICATED, "pod_gone", SERVICE_END_POD_GONE);
}

Test(session_pod, a_stream_that_ends_while_its_token_is_reviewed_leaves_nothing)
{
    present("a.b.one");
    cr_assert(run_until(&rig, told != NULL, POLICYD_WAIT_MS));
    sidecar_vanish(&sidecar);
    cr_expect_eq(num_forgotten, 1);
    sidecar_cleanup(&sidecar);
    told = NULL;
    present("a.b.one");
    say_pod("a.b.one", "shop", "u1");
    sidecar_take(&sidecar);
    sidecar_answer(&sidecar, "");
    renew("a.b.two");
    cr_assert(run_until(&rig, told != NULL, POLICYD_WAIT_MS));
    sidecar_vanish(&sidecar);
    cr_expect_eq(num_forgotten, 2);
}
