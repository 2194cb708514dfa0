// SPDX-License-Identifier: Apache-2.0
//
// Tokens that wait, with a reviewer that the test plays.
#include "control/policyd/review/reviews.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "tests/unit/support/loop.h"

#define QUESTIONS_MAX 4000

// What the reviewer has been asked, in order.
struct question {
    char token[64];
    account_on_answer *on_answer; // NULL: answered or forgotten
    void *asker;
};

struct play {
    uv_loop_t loop;
    struct reviews *reviews;
    struct question questions[QUESTIONS_MAX];
    unsigned num_questions;
    unsigned num_forgotten;
};

// What one asker has heard.
struct heard {
    struct reviews_item *review;
    unsigned num;
    struct account_answer last;
};

static struct play play;

static void *on_ask(void *ctx, const char *token, account_on_answer *on_answer, void *asker)
{
    struct play *played = ctx;
    cr_assert_lt(played->num_questions, QUESTIONS_MAX);
    struct question *question = &played->questions[played->num_questions++];
    snprintf(question->token, sizeof question->token, "%s", token);
    question->on_answer = on_answer;
    question->asker = asker;
    return question;
}

static void on_forget(void *ctx, void *forgotten)
{
    struct question *question = forgotten;
    ((struct play *)ctx)->num_forgotten++;
    question->on_answer = NULL;
}

static void set_up(void)
{
    const struct reviewer reviewer = {.ctx = &play, .ask = on_ask, .forget = on_forget};
    uv_loop_init(&play.loop);
    play.reviews = reviews_new(&play.loop, &reviewer);
}

static void tear_down(void)
{
    reviews_close(play.reviews);
    loop_end(&play.loop);
}

TestSuite(reviews, .init = set_up, .fini = tear_down, .timeout = 60);

static void on_answer(void *ctx, const struct account_answer *answer)
{
    struct heard *heard = ctx;
    heard->review = NULL;
    heard->num++;
    heard->last = *answer;
}

static struct h2_peer peer_at(const char *address)
{
    struct h2_peer peer = {.is_unix = false};
    cr_assert(ip_parse(&peer.addr.ip, address, NULL));
    return peer;
}

static void ask(struct heard *heard, const char *token, const char *address, bool is_known)
{
    const struct h2_peer peer = peer_at(address);
    struct account_answer answer;
    heard->review = reviews_ask(play.reviews, token, &peer, is_known, &answer, on_answer, heard);
    if (heard->review == NULL) {
        on_answer(heard, &answer);
    }
}

static void say(unsigned number, enum account_result result)
{
    struct question *question = &play.questions[number];
    struct account_answer answer = {.result = result, .words = "so it is"};
    account_on_answer *told = question->on_answer;
    cr_assert_not_null(told);
    question->on_answer = NULL;
    told(question->asker, &answer);
}

Test(reviews, what_has_not_the_form_of_a_token_is_asked_nobody)
{
    static const char *const rows[] = {"",       "a",     "a.b",    "a.b.c.d", ".b.c",
                                       "a..c",   "a.b.",  "a.b.c ", "a.b.c\n", "a b.c.d",
                                       "a.b.c=", "\"a.b", "a.b/.c"};
    struct heard heard = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ask(&heard, rows[i], "10.0.0.1", false);
        cr_expect_eq(heard.last.result, ACCOUNT_MALFORMED, "%s", rows[i]);
    }
    char *large = malloc(REVIEWS_TOKEN_LEN_MAX + 2);
    memset(large, 'a', REVIEWS_TOKEN_LEN_MAX + 1);
    large[REVIEWS_TOKEN_LEN_MAX + 1] = '\0';
    large[1] = large[3] = '.';
    ask(&heard, large, "10.0.0.1", false);
    cr_expect_eq(heard.last.result, ACCOUNT_MALFORMED);
    cr_expect_eq(play.num_questions, 0);
    large[REVIEWS_TOKEN_LEN_MAX] = '\0';
    ask(&heard, large, "10.0.0.1", false);
    cr_expect_eq(play.num_questions, 1);
    free(large);
}

Test(reviews, an_answer_goes_to_whoever_asked_and_a_forgotten_one_to_nobody)
{
    struct heard one = {0}, two = {0}, three = {0};
    ask(&one, "a.b.one", "10.0.0.1", false);
    ask(&two, "a.b.two", "10.0.0.1", false);
    ask(&three, "a.b.three", "10.0.0.1", true);
    cr_assert_eq(play.num_questions, 3);
    cr_expect_str_eq(play.questions[1].token, "a.b.two");
    cr_expect_eq(reviews_stats(play.reviews)->num_running, 3);
    reviews_forget(three.review);
    say(1, ACCOUNT_OK);
    say(0, ACCOUNT_POD_GONE);
    cr_expect_eq(two.last.result, ACCOUNT_OK);
    cr_expect_eq(one.last.result, ACCOUNT_POD_GONE);
    cr_expect_str_eq(one.last.words, "so it is");
    cr_expect_eq(play.num_forgotten, 1);
    cr_expect_eq(three.num, 0);
    cr_expect_eq(reviews_stats(play.reviews)->num_running, 0);
}

Test(reviews, a_refusal_is_remembered_for_a_while_and_nothing_else_is)
{
    struct heard heard = {0};
    ask(&heard, "a.b.bad", "10.0.0.1", false);
    say(0, ACCOUNT_EXPIRED);
    ask(&heard, "a.b.bad", "10.0.0.2", false);
    ask(&heard, "a.b.bad", "10.0.0.3", true);
    cr_expect_eq(play.num_questions, 1);
    cr_expect_eq(heard.num, 3);
    cr_expect_eq(heard.last.result, ACCOUNT_EXPIRED);
    cr_expect_eq(reviews_stats(play.reviews)->num_remembered, 2);
    static const enum account_result others[] = {ACCOUNT_OK, ACCOUNT_UNAVAILABLE};
    for (unsigned i = 0; i < 2; i++) {
        ask(&heard, "a.b.good", "10.0.0.1", false);
        cr_assert_eq(play.num_questions, 2 + i, "asked again");
        say(1 + i, others[i]);
    }
    cr_expect_not(run_until(&play, false, REVIEWS_REFUSED_MS + 100));
    ask(&heard, "a.b.bad", "10.0.0.1", false);
    cr_expect_eq(play.num_questions, 4, "time may make it good");
}

Test(reviews, strangers_leave_room_for_known_peers_who_go_first)
{
    static struct heard strangers[REVIEWS_RUNNING_MAX], known[REVIEWS_RUNNING_MAX];
    char token[32];
    for (unsigned i = 0; i < REVIEWS_RUNNING_MAX; i++) {
        snprintf(token, sizeof token, "a.b.s%u", i);
        ask(&strangers[i], token, "10.0.0.1", false);
    }
    cr_expect_eq(play.num_questions, REVIEWS_STRANGERS_MAX);
    for (unsigned i = 0; i < REVIEWS_RUNNING_MAX; i++) {
        snprintf(token, sizeof token, "a.b.k%u", i);
        ask(&known[i], token, "10.0.0.1", true);
    }
    cr_expect_eq(play.num_questions, REVIEWS_RUNNING_MAX);
    say(0, ACCOUNT_OK);
    cr_assert_eq(play.num_questions, REVIEWS_RUNNING_MAX + 1);
    cr_expect_str_eq(play.questions[REVIEWS_RUNNING_MAX].token, "a.b.k8",
                     "a known peer, although strangers came before");
}

Test(reviews, sources_take_turns_and_one_that_floods_holds_up_himself)
{
    static struct heard flood[300], good;
    char token[32];
    for (unsigned i = 0; i < 300; i++) {
        snprintf(token, sizeof token, "a.b.f%u", i);
        ask(&flood[i], token, "10.0.0.1", false);
    }
    const struct reviews_stats *stats = reviews_stats(play.reviews);
    cr_expect_eq(stats->num_crowded, 300 - REVIEWS_STRANGERS_MAX - REVIEWS_OF_SOURCE_MAX);
    cr_expect_eq(flood[REVIEWS_STRANGERS_MAX].last.result, ACCOUNT_UNAVAILABLE, "the oldest goes");
    ask(&good, "a.b.good", "10.0.0.2", false);
    say(0, ACCOUNT_REFUSED);
    say(1, ACCOUNT_REFUSED);
    cr_expect_str_eq(play.questions[REVIEWS_STRANGERS_MAX + 1].token, "a.b.good",
                     "after one of the other source's, and not after all of them");
    // The rest of its burst; then no more than its rate, however fast the answers come.
    for (unsigned i = 2; i < play.num_questions; i++) {
        say(i, ACCOUNT_REFUSED);
    }
    cr_expect_leq(play.num_questions, REVIEWS_OF_SOURCE_BURST + 1 + 2);
    cr_expect_geq(play.num_questions, REVIEWS_OF_SOURCE_BURST + 1);
    // Another address of the /64 is the same source; another one is not.
    struct heard six = {0}, other = {0};
    unsigned before = play.num_questions;
    for (unsigned i = 0; i < REVIEWS_OF_SOURCE_BURST; i++) {
        snprintf(token, sizeof token, "a.b.v%u", i);
        ask(&six, token, i % 2 == 0 ? "fd00::1" : "fd00::2", false);
        if (play.questions[play.num_questions - 1].on_answer != NULL) {
            say(play.num_questions - 1, ACCOUNT_REFUSED);
        }
    }
    cr_expect_eq(play.num_questions, before + REVIEWS_OF_SOURCE_BURST);
    ask(&six, "a.b.more", "fd00::3", false);
    cr_expect_eq(play.num_questions, before + REVIEWS_OF_SOURCE_BURST);
    ask(&other, "a.b.other", "fd00:0:0:1::1", false);
    cr_expect_eq(play.num_questions, before + REVIEWS_OF_SOURCE_BURST + 1);
}

// A pod that was taken over has a good certificate.
Test(reviews, a_known_peer_that_floods_holds_up_no_other)
{
    static struct heard flood[400], good;
    char token[32];
    for (unsigned i = 0; i < 400; i++) {
        snprintf(token, sizeof token, "a.b.f%u", i);
        ask(&flood[i], token, "10.0.0.1", true);
    }
    cr_expect_eq(reviews_stats(play.reviews)->num_crowded,
                 400 - REVIEWS_RUNNING_MAX - REVIEWS_OF_SOURCE_MAX);
    ask(&good, "a.b.good", "10.0.0.2", true);
    say(0, ACCOUNT_REFUSED);
    say(1, ACCOUNT_REFUSED);
    cr_expect_str_eq(play.questions[REVIEWS_RUNNING_MAX + 1].token, "a.b.good");
    for (unsigned i = 2; i < play.num_questions; i++) {
        say(i, ACCOUNT_REFUSED);
    }
    cr_expect_leq(play.num_questions, REVIEWS_OF_KNOWN_BURST + 1 + 4);
}

Test(reviews, a_reviewer_that_says_nothing_is_not_waited_for_without_end)
{
    struct heard running = {0}, waiting[REVIEWS_STRANGERS_MAX + 1] = {{0}};
    char token[32];
    ask(&running, "a.b.running", "10.0.0.1", true);
    for (unsigned i = 0; i <= REVIEWS_STRANGERS_MAX; i++) {
        snprintf(token, sizeof token, "a.b.w%u", i);
        ask(&waiting[i], token, "10.0.0.1", false);
    }
    cr_expect(run_until(&play, waiting[REVIEWS_STRANGERS_MAX].num == 1, REVIEWS_WAIT_MS + 2000));
    cr_expect_eq(running.last.result, ACCOUNT_UNAVAILABLE);
    cr_expect_eq(waiting[REVIEWS_STRANGERS_MAX].last.result, ACCOUNT_UNAVAILABLE);
    cr_expect_eq(play.num_forgotten, REVIEWS_STRANGERS_MAX + 1);
    cr_expect_eq(reviews_stats(play.reviews)->num_late, REVIEWS_STRANGERS_MAX + 2);
    cr_expect_eq(reviews_stats(play.reviews)->num_running, 0);
    cr_expect_eq(reviews_stats(play.reviews)->num_waiting, 0);
}
