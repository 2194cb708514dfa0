// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/review/reviews.h"

#include <openssl/mem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/siphash.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bucket.h"
#include "base/data/list.h"
#include "base/log.h"
#include "base/must.h"

#define TICK_MS 50
#define SOURCES 1024 // places that sources share by a hash that nobody can foresee

// Whoever takes turns with others of the same standing.
struct standing {
    struct list round;      // of source: whose turn it is
    struct source *sources; // owned, SOURCES
    uint32_t num_waiting;
    uint32_t num_running;
};

struct source {
    struct standing *standing;
    struct list in_round; // while something waits
    struct list waiting;  // of review.link, oldest first
    uint32_t num;
    struct bucket bucket;
};

struct refusal {
    uint8_t hash[SHA256_DIGEST_LENGTH];
    uint64_t until_ms; // 0: nothing is here
    struct account_answer answer;
};

struct reviews_item {
    struct list link;     // in its source's waiting; nowhere while it runs
    struct list all_link; // in the reviews' all
    struct reviews *reviews;
    struct source *source;
    char *token;    // owned; NULL: the reviewer has it
    void *question; // the reviewer's; NULL: it waits
    account_on_answer *on_answer;
    void *asker;
    uint64_t since_ms;
    uint8_t hash[SHA256_DIGEST_LENGTH];
};

struct reviews {
    struct reviewer reviewer;
    uv_timer_t tick;
    struct list all; // oldest first
    struct standing known;
    struct standing strangers;
    struct bucket bucket; // the strangers'
    struct refusal *refusals;
    uint64_t source_key[2];
    uint8_t salt[SHA256_DIGEST_LENGTH];
    struct reviews_stats stats;
};

static void on_tick(uv_timer_t *timer);
static void run(struct reviews *reviews);

static void init_standing(struct standing *standing, double burst, double per_second)
{
    list_init(&standing->round);
    standing->sources = must_alloc(SOURCES, sizeof *standing->sources);
    for (size_t i = 0; i < SOURCES; i++) {
        standing->sources[i].standing = standing;
        list_init(&standing->sources[i].waiting);
        standing->sources[i].bucket = bucket_full(burst, per_second);
    }
}

struct reviews *reviews_new(uv_loop_t *loop, const struct reviewer *reviewer)
{
    struct reviews *reviews = must_alloc(1, sizeof *reviews);
    reviews->reviewer = *reviewer;
    list_init(&reviews->all);
    init_standing(&reviews->known, REVIEWS_OF_KNOWN_BURST, REVIEWS_OF_KNOWN_PER_S);
    init_standing(&reviews->strangers, REVIEWS_OF_SOURCE_BURST, REVIEWS_OF_SOURCE_PER_S);
    reviews->bucket = bucket_full(REVIEWS_BURST, REVIEWS_PER_SECOND);
    reviews->refusals = must_alloc(REVIEWS_REFUSALS_MAX, sizeof *reviews->refusals);
    RAND_bytes((uint8_t *)reviews->source_key, sizeof reviews->source_key);
    RAND_bytes(reviews->salt, sizeof reviews->salt);
    uv_timer_init(loop, &reviews->tick);
    reviews->tick.data = reviews;
    return reviews;
}

const struct reviews_stats *reviews_stats(const struct reviews *reviews)
{
    return &reviews->stats;
}

static void wipe_token(struct reviews_item *review)
{
    if (review->token != NULL) {
        OPENSSL_cleanse(review->token, strlen(review->token));
        free(review->token);
        review->token = NULL;
    }
}

// Takes a review that waits out of its queue.
static void leave_queue(struct reviews_item *review)
{
    struct reviews *reviews = review->reviews;
    struct source *source = review->source;
    list_remove(&review->link);
    reviews->stats.num_waiting--;
    source->standing->num_waiting--;
    if (--source->num == 0) {
        list_remove(&source->in_round);
    }
}

static void free_review(struct reviews_item *review)
{
    struct reviews *reviews = review->reviews;
    if (review->question == NULL) {
        leave_queue(review);
    } else {
        reviews->stats.num_running--;
        review->source->standing->num_running--;
    }
    list_remove(&review->all_link);
    wipe_token(review);
    free(review);
    if (list_is_empty(&reviews->all)) {
        uv_timer_stop(&reviews->tick);
    }
}

void reviews_forget(struct reviews_item *review)
{
    if (review == NULL) {
        return;
    }
    struct reviews *reviews = review->reviews;
    if (review->question != NULL) {
        reviews->reviewer.forget(reviews->reviewer.ctx, review->question);
    }
    free_review(review);
}

static void say(struct account_answer *out, enum account_result result, const char *words)
{
    *out = (struct account_answer){.result = result};
    snprintf(out->words, sizeof out->words, "%s", words);
}

// Answers a review by itself, and frees it.
static void answer(struct reviews_item *review, enum account_result result, const char *words)
{
    struct account_answer said;
    account_on_answer *on_answer = review->on_answer;
    void *asker = review->asker;
    say(&said, result, words);
    review->reviews->stats.num[result]++;
    reviews_forget(review);
    on_answer(asker, &said);
}

static struct refusal *refusal_of(struct reviews *reviews, const uint8_t *hash)
{
    uint32_t at = 0;
    memcpy(&at, hash, sizeof at);
    return &reviews->refusals[at % REVIEWS_REFUSALS_MAX];
}

static void remember(struct reviews *reviews, const uint8_t *hash,
                     const struct account_answer *refused)
{
    struct refusal *refusal = refusal_of(reviews, hash);
    memcpy(refusal->hash, hash, sizeof refusal->hash);
    refusal->until_ms = uv_now(reviews->tick.loop) + REVIEWS_REFUSED_MS;
    refusal->answer = *refused;
}

static void on_reviewed(void *ctx, const struct account_answer *said)
{
    struct reviews_item *review = ctx;
    struct reviews *reviews = review->reviews;
    account_on_answer *on_answer = review->on_answer;
    void *asker = review->asker;
    reviews->stats.num[said->result]++;
    if (said->result != ACCOUNT_OK && said->result != ACCOUNT_UNAVAILABLE) {
        remember(reviews, review->hash, said);
    }
    free_review(review);
    run(reviews);
    on_answer(asker, said);
}

static void start(struct reviews_item *review)
{
    struct reviews *reviews = review->reviews;
    leave_queue(review);
    reviews->stats.num_running++;
    reviews->stats.num_asked++;
    review->source->standing->num_running++;
    review->question =
        reviews->reviewer.ask(reviews->reviewer.ctx, review->token, on_reviewed, review);
    invariant(review->question != NULL);
    wipe_token(review);
}

// Returns the review whose turn it is, and takes what it costs; NULL: nobody's. bucket, of all of
// the standing, may be NULL.
static struct reviews_item *next_of(struct standing *standing, struct bucket *bucket, uint64_t now)
{
    struct list *round = &standing->round;
    for (struct list *link = round->next; link != round; link = link->next) {
        struct source *source = LIST_OF(link, struct source, in_round);
        if (!bucket_take(&source->bucket, now)) {
            continue;
        }
        if (bucket != NULL && !bucket_take(bucket, now)) {
            source->bucket.drops += 1;
            return NULL;
        }
        list_remove(&source->in_round);
        list_push(round, &source->in_round);
        return LIST_OF(source->waiting.next, struct reviews_item, link);
    }
    return NULL;
}

static void run(struct reviews *reviews)
{
    uint64_t now = uv_now(reviews->tick.loop);
    while (reviews->stats.num_running < REVIEWS_RUNNING_MAX) {
        struct reviews_item *next = next_of(&reviews->known, NULL, now);
        if (next == NULL && reviews->strangers.num_running < REVIEWS_STRANGERS_MAX) {
            next = next_of(&reviews->strangers, &reviews->bucket, now);
        }
        if (next == NULL) {
            return;
        }
        start(next);
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct reviews *reviews = timer->data;
    uint64_t now = uv_now(timer->loop);
    while (!list_is_empty(&reviews->all)) {
        struct reviews_item *oldest = LIST_OF(reviews->all.next, struct reviews_item, all_link);
        if (now - oldest->since_ms < REVIEWS_WAIT_MS) {
            break;
        }
        reviews->stats.num_late++;
        answer(oldest, ACCOUNT_UNAVAILABLE, "the API server was not heard in time: come again");
    }
    run(reviews);
}

// Says whether a text has the form of a JSON Web Token in its compact form (RFC 7515, section 3.1):
// three parts of base64url.
static bool is_token(const char *token)
{
    unsigned num_dots = 0;
    size_t part = 0, len = 0;
    for (; token[len] != '\0'; len++) {
        char c = token[len];
        if (len == REVIEWS_TOKEN_LEN_MAX) {
            return false;
        }
        if (c == '.') {
            num_dots++;
            if (part == 0) {
                return false;
            }
            part = 0;
        } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '-' || c == '_') {
            part++;
        } else {
            return false;
        }
    }
    return num_dots == 2 && part > 0;
}

static void hash_token(const struct reviews *reviews, uint8_t *out, const char *token)
{
    SHA256_CTX sha;
    SHA256_Init(&sha);
    SHA256_Update(&sha, reviews->salt, sizeof reviews->salt);
    SHA256_Update(&sha, token, strlen(token));
    SHA256_Final(out, &sha);
    OPENSSL_cleanse(&sha, sizeof sha);
}

static struct source *source_of(struct reviews *reviews, const struct h2_peer *peer, bool is_known)
{
    struct standing *standing = is_known ? &reviews->known : &reviews->strangers;
    uint8_t text[H2_SOURCE_BYTES];
    h2_peer_source(peer, text);
    return &standing->sources[SIPHASH_24(reviews->source_key, text, sizeof text) % SOURCES];
}

// Answers the oldest of the source from which most wait, in favour of one that comes.
static void make_room(struct reviews *reviews, struct source *source)
{
    struct list *round = &source->standing->round;
    if (source->num < REVIEWS_OF_SOURCE_MAX) {
        if (source->standing->num_waiting < REVIEWS_WAITING_MAX) {
            return;
        }
        for (struct list *link = round->next; link != round; link = link->next) {
            struct source *other = LIST_OF(link, struct source, in_round);
            source = other->num > source->num ? other : source;
        }
    }
    reviews->stats.num_crowded++;
    answer(LIST_OF(source->waiting.next, struct reviews_item, link), ACCOUNT_UNAVAILABLE,
           "too many tokens wait to be reviewed: come again");
}

static void enqueue(struct reviews_item *review)
{
    struct source *source = review->source;
    review->reviews->stats.num_waiting++;
    source->standing->num_waiting++;
    list_push(&source->waiting, &review->link);
    if (source->num++ == 0) {
        list_push(&source->standing->round, &source->in_round);
    }
}

struct reviews_item *reviews_ask(struct reviews *reviews, const char *token,
                                 const struct h2_peer *peer, bool is_known,
                                 struct account_answer *out_answer, account_on_answer *on_answer,
                                 void *asker)
{
    uint64_t now = uv_now(reviews->tick.loop);
    uint8_t hash[SHA256_DIGEST_LENGTH];
    if (!is_token(token)) {
        say(out_answer, ACCOUNT_MALFORMED, "that is no token of a service account");
        reviews->stats.num[ACCOUNT_MALFORMED]++;
        return NULL;
    }
    hash_token(reviews, hash, token);
    const struct refusal *refusal = refusal_of(reviews, hash);
    if (now < refusal->until_ms && memcmp(refusal->hash, hash, sizeof hash) == 0) {
        *out_answer = refusal->answer;
        reviews->stats.num[refusal->answer.result]++;
        reviews->stats.num_remembered++;
        return NULL;
    }
    struct source *source = source_of(reviews, peer, is_known);
    make_room(reviews, source);
    struct reviews_item *review = must_alloc(1, sizeof *review);
    *review = (struct reviews_item){.reviews = reviews,
                                    .source = source,
                                    .token = must_strdup(token),
                                    .on_answer = on_answer,
                                    .asker = asker,
                                    .since_ms = now};
    memcpy(review->hash, hash, sizeof hash);
    list_push(&reviews->all, &review->all_link);
    enqueue(review);
    if (!uv_is_active((uv_handle_t *)&reviews->tick)) {
        uv_timer_start(&reviews->tick, on_tick, TICK_MS, TICK_MS);
    }
    run(reviews);
    return review;
}

static void on_closed(uv_handle_t *handle)
{
    struct reviews *reviews = handle->data;
    free(reviews->known.sources);
    free(reviews->strangers.sources);
    free(reviews->refusals);
    free(reviews);
}

void reviews_close(struct reviews *reviews)
{
    if (reviews == NULL) {
        return;
    }
    while (!list_is_empty(&reviews->all)) {
        reviews_forget(LIST_OF(reviews->all.next, struct reviews_item, all_link));
    }
    uv_close((uv_handle_t *)&reviews->tick, on_closed);
}
