// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/token_review.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/bytes.h"
#include "base/log.h"
#include "base/must.h"
#include "control/kube/api/kube_request.h"
#include "control/policyd/kubernetes/token_answer.h"

#define PATH   "/apis/authentication.k8s.io/v1/tokenreviews"
#define LOG_MS 10000 // between two lines about an API server that can't say

struct token_review {
    uv_loop_t *loop;            // borrowed
    struct kube_client *client; // borrowed
    struct log_limit failed_log;
    unsigned num_open;
};

struct question {
    struct token_review *review;
    struct kube_request *request; // borrowed until its answer
    account_on_answer *on_answer;
    void *asker;
};

static void log_failure(struct token_review *review, const char *words)
{
    uint64_t passed_over = 0;
    char quoted[1024];
    if (log_allowed(&review->failed_log, uv_now(review->loop), LOG_MS, &passed_over)) {
        log_error("msg=\"tokens of service accounts can't be reviewed\" passed_over=%" PRIu64
                  " error=%s",
                  passed_over, log_quote(quoted, sizeof quoted, words));
    }
}

static void on_answer(void *ctx, const struct kube_answer *answer)
{
    struct question *question = ctx;
    struct token_review *review = question->review;
    struct account_answer said = {.result = ACCOUNT_UNAVAILABLE};
    if (answer->error != NULL) {
        snprintf(said.words, sizeof said.words, "%s", answer->error);
    } else {
        token_answer_read(&said, answer->body);
    }
    if (said.result == ACCOUNT_UNAVAILABLE) {
        log_failure(review, said.words);
        // The sidecar hears no more than it has to know.
        snprintf(said.words, sizeof said.words, "the API server can't say now: come again");
    }
    review->num_open--;
    question->on_answer(question->asker, &said);
    free(question);
}

static void *on_ask(void *ctx, const char *token, account_on_answer *on_said, void *asker)
{
    struct token_review *review = ctx;
    struct question *question = must_alloc(1, sizeof *question);
    struct bytes text = {0};
    // Its characters need no escapes (reviews.h), and no JSON library keeps copies of it.
    bytes_push_format(&text,
                      "{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\","
                      "\"spec\":{\"audiences\":[\"" ACCOUNT_AUDIENCE "\"],\"token\":\"%s\"}}",
                      token);
    const struct kube_request_options options = {.method = "POST",
                                                 .path = PATH,
                                                 .text = (const char *)text.at,
                                                 .timeout_ms = TOKEN_REVIEW_MS,
                                                 .bytes_max = TOKEN_REVIEW_BYTES_MAX};
    *question = (struct question){.review = review, .on_answer = on_said, .asker = asker};
    review->num_open++;
    question->request = kube_request(review->client, &options, on_answer, question);
    bytes_wipe(&text);
    return question;
}

static void on_forget(void *ctx, void *forgotten)
{
    struct token_review *review = ctx;
    struct question *question = forgotten;
    kube_request_cancel(question->request);
    review->num_open--;
    free(question);
}

struct token_review *token_review_new(uv_loop_t *loop, struct kube_client *client)
{
    struct token_review *review = must_alloc(1, sizeof *review);
    review->loop = loop;
    review->client = client;
    return review;
}

void token_review_free(struct token_review *review)
{
    invariant(review == NULL || review->num_open == 0);
    free(review);
}

struct reviewer token_review_reviewer(struct token_review *review)
{
    return (struct reviewer){.ctx = review, .ask = on_ask, .forget = on_forget};
}
