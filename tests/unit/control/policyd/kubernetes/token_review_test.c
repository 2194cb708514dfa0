// SPDX-License-Identifier: Apache-2.0
//
// Tokens that an API server is asked about, which answers what no real one could be made to say.
#include "control/policyd/kubernetes/token_review.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "tests/unit/control/kube/api/fake_api.h"
#include "tests/unit/support/loop.h"
#include "tests/unit/support/temp.h"

#define WAIT_MS 20000

static struct {
    uv_loop_t loop;
    struct fake_api api;
    struct kube_client *client;
    struct token_review *review;
    struct reviewer reviewer;
    unsigned num_answers;
    struct account_answer last;
} stage;

static void set_up(void)
{
    struct err err = {{0}, {0}};
    signal(SIGPIPE, SIG_IGN);
    log_init("test", LOG_LEVEL_ERROR + 1);
    temp_set_up();
    uv_loop_init(&stage.loop);
    fake_api_start(&stage.api, &stage.loop, temp_folder);
    stage.client = kube_client_new(&stage.loop, &stage.api.config, &err);
    cr_assert_not_null(stage.client, "%s", err.text);
    stage.review = token_review_new(&stage.loop, stage.client);
    stage.reviewer = token_review_reviewer(stage.review);
}

static void tear_down(void)
{
    token_review_free(stage.review);
    kube_client_close(stage.client);
    fake_api_stop(&stage.api);
    loop_end(&stage.loop);
    temp_tear_down();
}

TestSuite(token_review, .init = set_up, .fini = tear_down, .timeout = 60);

static void on_answer(void *ctx, const struct account_answer *answer)
{
    (void)ctx;
    stage.num_answers++;
    stage.last = *answer;
}

static void ask(const char *token)
{
    stage.num_answers = 0;
    cr_assert_not_null(stage.reviewer.ask(stage.reviewer.ctx, token, on_answer, NULL));
}

#define GOOD                                                                                       \
    "{\"kind\":\"TokenReview\",\"apiVersion\":\"authentication.k8s.io/v1\",\"status\":"            \
    "{\"authenticated\":true,\"audiences\":[\"tabard.dev\"],\"user\":{"                            \
    "\"username\":\"system:serviceaccount:shop:web\",\"groups\":[\"system:serviceaccounts\","      \
    "\"system:serviceaccounts:shop\"],\"extra\":{"                                                 \
    "\"authentication.kubernetes.io/pod-name\":[\"web-1\"],"                                       \
    "\"authentication.kubernetes.io/pod-uid\":[\"u-1\"]}}}}"

static const char *status_now, *body_now;

static void answer_now(struct fake_call *call)
{
    fake_answer(call, status_now, body_now);
}

Test(token_review, asks_for_our_audience_and_believes_the_answer)
{
    stage.api.on_call = answer_now;
    status_now = "201";
    body_now = GOOD;
    ask("head.pay-load_.sig");
    cr_expect_eq(stage.num_answers, 0, "not inside the question");
    cr_assert(run_until(&stage, stage.num_answers == 1, WAIT_MS));
    cr_expect_eq(stage.last.result, ACCOUNT_OK, "%s", stage.last.words);
    cr_expect_str_eq(stage.last.pod.name, "web-1");
    const struct fake_call *call = stage.api.calls[0];
    cr_expect_str_eq(call->method, "POST");
    cr_expect_str_eq(call->path, "/apis/authentication.k8s.io/v1/tokenreviews");
    cr_expect_str_eq(call->body,
                     "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\","
                     "\"spec\":{\"audiences\":[\"tabard.dev\"],\"token\":\"head.pay-load_.sig\"}}");
}

Test(token_review, an_api_server_that_can_t_say_refuses_nobody_and_admits_nobody)
{
    static const struct {
        const char *status, *body;
    } rows[] = {
        {"403", "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"no\",\"code\":403}"},
        {"401", "{\"kind\":\"Status\",\"reason\":\"Unauthorized\",\"code\":401}"},
        {"404", "not found"},
        {"429", "too many"},
        {"500", "{\"kind\":\"Status\",\"message\":\"etcdserver: request timed out\"}"},
        {"500", GOOD}, // whatever it says
        {"403", GOOD},
        {"301", GOOD},
        {"200", "<html>"},
        {"200", ""},
        {"201", "{\"kind\":\"TokenReview\""},
        {"201", "{}"},
        {"201", "[1,2]"},
    };
    stage.api.on_call = answer_now;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        status_now = rows[i].status;
        body_now = rows[i].body;
        ask("a.b.c");
        cr_assert(run_until(&stage, stage.num_answers == 1, WAIT_MS));
        cr_expect_eq(stage.last.result, ACCOUNT_UNAVAILABLE, "%zu: %s", i,
                     account_result_text(stage.last.result));
        cr_expect_str_eq(stage.last.words, "the API server can't say now: come again");
        cr_expect_str_eq(stage.last.pod.ns, "");
    }
}

static void cut_now(struct fake_call *call)
{
    fake_begin(call, "201");
    fake_send(call, "{\"kind\":\"TokenReview\",");
    fake_cut(call);
}

static void flood(struct fake_call *call)
{
    static char piece[4096];
    memset(piece, ' ', sizeof piece - 1);
    fake_begin(call, "201");
    for (unsigned i = 0; i <= TOKEN_REVIEW_BYTES_MAX / (sizeof piece - 1); i++) {
        fake_send(call, piece);
    }
    fake_send(call, GOOD);
    fake_end(call);
}

static void say_nothing(struct fake_call *call)
{
    (void)call;
}

Test(token_review, an_answer_that_is_cut_endless_or_late_admits_nobody)
{
    void (*const rows[])(struct fake_call * call) = {cut_now, flood, say_nothing};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        stage.api.on_call = rows[i];
        ask("a.b.c");
        cr_assert(run_until(&stage, stage.num_answers == 1, TOKEN_REVIEW_MS + 2000), "%zu", i);
        cr_expect_eq(stage.last.result, ACCOUNT_UNAVAILABLE, "%zu", i);
    }
}

Test(token_review, a_forgotten_question_has_no_answer)
{
    stage.api.on_call = answer_now;
    status_now = "201";
    body_now = GOOD;
    void *question = stage.reviewer.ask(stage.reviewer.ctx, "a.b.c", on_answer, NULL);
    stage.reviewer.forget(stage.reviewer.ctx, question);
    stage.api.on_call = say_nothing;
    question = stage.reviewer.ask(stage.reviewer.ctx, "a.b.d", on_answer, NULL);
    cr_assert(run_until(&stage, stage.api.num_calls == 1, WAIT_MS));
    stage.reviewer.forget(stage.reviewer.ctx, question);
    cr_expect_not(run_until(&stage, stage.num_answers > 0, 200));
}
