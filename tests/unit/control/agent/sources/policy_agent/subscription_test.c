// SPDX-License-Identifier: Apache-2.0
//
// The subscription with a played policy agent, a played proxy and played clocks.
#include "control/agent/sources/policy_agent/subscription.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "certs/ca/mint.h"

#define ID    "spiffe://demo.example/ns/shop/sa/web"
#define OTHER "spiffe://demo.example/ns/shop/sa/other"
#define START INT64_C(1800000000)

struct play {
    struct subscription sub;
    struct now now;
    struct mint_ca root;
    unsigned num_opened;
    unsigned num_closed;
    unsigned num_sent;
    Tabard__V1__SubscribeRequest *sent; // the last
    unsigned num_offers;
    const char *offer_error; // NULL: the offer is taken
    size_t num_destinations; // of the last offer
    bool lacks_identity;     // but for what the stream brings
    bool has_issued;         // as above
    unsigned num_accepted;
    unsigned num_expired;
    char failed[1200];
    uint32_t random;
    bool is_refusing_to_open;
};

static bool on_open(void *ctx, struct err *err)
{
    struct play *play = ctx;
    play->num_opened++;
    return !play->is_refusing_to_open || err_set(err, "no connection");
}

static void on_close(void *ctx)
{
    ((struct play *)ctx)->num_closed++;
}

static bool on_send(void *ctx, const Tabard__V1__SubscribeRequest *request, struct err *err)
{
    struct play *play = ctx;
    (void)err;
    uint8_t packed[8192];
    size_t len = tabard__v1__subscribe_request__pack(request, packed);
    if (play->sent != NULL) {
        tabard__v1__subscribe_request__free_unpacked(play->sent, NULL);
    }
    play->sent = tabard__v1__subscribe_request__unpack(NULL, len, packed);
    play->num_sent++;
    return true;
}

static void on_fill_node(void *ctx, Tabard__V1__Node *out)
{
    (void)ctx;
    out->id = (char *)"node";
}

static bool on_has_identity(void *ctx)
{
    return !((struct play *)ctx)->lacks_identity;
}

static bool on_offer(void *ctx, const struct slots *slots, struct err *err)
{
    struct play *play = ctx;
    play->num_offers++;
    cr_assert_eq(slots->parts[SNAPSHOT_RULES], slots->parts[SNAPSHOT_BUNDLES]);
    const Tabard__V1__State *state =
        (const Tabard__V1__State *)slots->parts[SNAPSHOT_RULES]->message;
    play->num_destinations = state->n_destinations;
    play->has_issued = slots->parts[SNAPSHOT_IDENTITY] != NULL;
    return play->offer_error == NULL || err_set_at(err, "policies[0]", "%s", play->offer_error);
}

static void on_accepted(void *ctx, bool is_new_state)
{
    (void)is_new_state;
    ((struct play *)ctx)->num_accepted++;
}

static void on_text(void *ctx, const char *text)
{
    struct play *play = ctx;
    snprintf(play->failed, sizeof play->failed, "%s", text);
}

static void on_expired(void *ctx)
{
    ((struct play *)ctx)->num_expired++;
}

static uint32_t on_random(void *ctx)
{
    return ((struct play *)ctx)->random;
}

static void play_init(struct play *play)
{
    *play = (struct play){.now = {.ms = 1000, .unix_ms = START * 1000}};
    cr_assert(
        mint_root_init(&play->root, MINT_KEY_P256, "demo.example", START, START + 864000, NULL));
    subscription_init(&play->sub, &(struct subscription_hooks){.ctx = play,
                                                               .open = on_open,
                                                               .close = on_close,
                                                               .send = on_send,
                                                               .fill_node = on_fill_node,
                                                               .has_identity = on_has_identity,
                                                               .offer = on_offer,
                                                               .accepted = on_accepted,
                                                               .refused = on_text,
                                                               .failed = on_text,
                                                               .expired = on_expired,
                                                               .random = on_random});
    subscription_configure(&play->sub, "", false, true);
}

static void play_cleanup(struct play *play)
{
    subscription_cleanup(&play->sub);
    mint_ca_cleanup(&play->root);
    if (play->sent != NULL) {
        tabard__v1__subscribe_request__free_unpacked(play->sent, NULL);
    }
}

static void pass(struct play *play, uint64_t ms)
{
    play->now.ms += ms;
    play->now.unix_ms = START * 1000 + (int64_t)play->now.ms;
    subscription_tick(&play->sub, play->now);
}

struct say {
    const char *nonce;
    uint64_t version;
    const char *destination; // of a state
    const char *put;         // of a delta
    const char *removed;
    const char *certificate_for;
    int64_t seconds;
    bool is_of_another_key;
    const char *certificate_error;
};

// Answers the last certificate_request that was sent.
static ProtobufCBinaryData issue(struct play *play, const struct say *what)
{
    static EVP_PKEY *key;
    static Tabard__V1__CertificateRequest *request;
    if (play->sent->certificate_request != NULL) {
        request = play->sent->certificate_request;
        const uint8_t *der = request->csr.data;
        X509_REQ *csr = d2i_X509_REQ(NULL, &der, (long)request->csr.len);
        cr_assert_not_null(csr);
        EVP_PKEY_free(key);
        key = X509_REQ_get_pubkey(csr);
        X509_REQ_free(csr);
    }
    EVP_PKEY *other = mint_key_new(MINT_KEY_P256, NULL);
    struct mint_leaf leaf = {.spiffe_id = what->certificate_for,
                             .not_before = now_unix_s(play->now) - 60,
                             .not_after = now_unix_s(play->now) + what->seconds};
    struct err err = {{0}, {0}};
    X509 *cert = mint_leaf_new(&play->root, what->is_of_another_key ? other : key, &leaf, &err);
    cr_assert_not_null(cert, "%s", err.text);
    ProtobufCBinaryData der = {0};
    cr_assert(mint_cert_der(&der.data, &der.len, cert));
    X509_free(cert);
    EVP_PKEY_free(other);
    return der;
}

static void respond(struct play *play, const struct say *what)
{
    Tabard__V1__SubscribeResponse response = TABARD__V1__SUBSCRIBE_RESPONSE__INIT;
    Tabard__V1__State state = TABARD__V1__STATE__INIT;
    Tabard__V1__DestinationDelta delta = TABARD__V1__DESTINATION_DELTA__INIT;
    Tabard__V1__Destination destination = TABARD__V1__DESTINATION__INIT;
    Tabard__V1__Destination *destinations[] = {&destination};
    Tabard__V1__IssuedCertificate certificate = TABARD__V1__ISSUED_CERTIFICATE__INIT;
    ProtobufCBinaryData leaf = {0};
    char *removed[] = {(char *)what->removed};
    uint8_t packed[16384];
    response.nonce = (char *)what->nonce;
    response.version = what->version;
    if (what->destination != NULL) {
        destination.name = (char *)what->destination;
        state.destinations = destinations;
        state.n_destinations = 1;
        response.state = &state;
    }
    if (what->put != NULL || what->removed != NULL) {
        destination.name = (char *)what->put;
        delta.n_set = what->put != NULL;
        delta.set = destinations;
        delta.n_removed = what->removed != NULL;
        delta.removed = removed;
        response.destinations = &delta;
    }
    if (what->certificate_for != NULL) {
        leaf = issue(play, what);
        certificate.n_chain = 1;
        certificate.chain = &leaf;
        response.certificate = &certificate;
    }
    if (what->certificate_error != NULL) {
        response.certificate_error = (char *)what->certificate_error;
    }
    size_t len = tabard__v1__subscribe_response__pack(&response, packed);
    subscription_response(&play->sub, packed, len, play->now);
    free(leaf.data);
}

#define RESPOND(play, ...) respond((play), &(struct say){__VA_ARGS__})

// A first state in force, with a certificate for an hour.
static void settle_first(struct play *play)
{
    subscription_start(&play->sub, play->now);
    RESPOND(play, .nonce = "first", .version = 5, .destination = "a", .certificate_for = ID,
            .seconds = 3600);
    cr_assert(subscription_is_busy(&play->sub), "%s", play->failed);
    subscription_settled(&play->sub, "", play->now);
    cr_assert_eq(play->sub.version, 5);
}

static const char *error_sent(const struct play *play)
{
    cr_assert_not_null(play->sent->result);
    return play->sent->result->error;
}

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
    RESPOND(&play, .nonce = "n1", .version = 5, .destination = "a", .certificate_for = ID,
            .seconds = 3600);
    cr_expect(play.has_issued);
    cr_expect_eq(play.num_sent, 1, "nothing is in force yet");
    cr_expect_eq(play.sub.version, 0);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.num_sent, 2);
    cr_expect_str_eq(play.sent->result->nonce, "n1");
    cr_expect_str_eq(error_sent(&play), "");
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
    RESPOND(&play, .nonce = "n1", .version = 5, .destination = "a", .certificate_error = "later");
    cr_expect_eq(play.num_offers, 0);
    cr_expect_str_eq(play.sent->result->nonce, "n1");
    cr_expect_not_null(strstr(error_sent(&play), "the state waits for it"), "%s",
                       error_sent(&play));
    cr_expect_eq(play.sub.version, 0);
    pass(&play, 2000);
    subscription_tick(&play.sub, play.now);
    cr_assert_not_null(play.sent->certificate_request, "it asks again");
    // However long that takes, the stream stays.
    pass(&play, SUBSCRIPTION_EMPTY_MS_MAX - 3000);
    RESPOND(&play, .nonce = "n2", .certificate_for = ID, .seconds = 3600);
    cr_expect_eq(play.num_offers, 1);
    cr_expect(play.has_issued);
    cr_expect_eq(play.num_destinations, 1);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_str_eq(error_sent(&play), "");
    cr_expect_eq(play.sub.version, 5);
    cr_expect_str_eq(subscription_state(&play.sub)->destinations[0]->name, "a");
    pass(&play, SUBSCRIPTION_EMPTY_MS_MAX);
    subscription_tick(&play.sub, play.now);
    cr_expect(play.sub.is_open);
    play_cleanup(&play);
}

Test(subscription, refuses_what_the_proxy_refuses_and_keeps_the_old, .timeout = 20)
{
    struct play play;
    play_init(&play);
    settle_first(&play);
    RESPOND(&play, .nonce = "n2", .version = 6, .destination = "b");
    subscription_settled(&play.sub, "port 1 is taken", play.now);
    cr_expect_str_eq(play.sent->result->nonce, "n2");
    cr_expect_str_eq(error_sent(&play), "port 1 is taken");
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
        {"certificate", {.certificate_for = ID, .seconds = 9}, "no certificate_request", NULL},
        {"no certificate", {.certificate_error = "no"}, "no certificate_request", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct play play;
        play_init(&play);
        settle_first(&play);
        struct say say = rows[i].say;
        say.nonce = "n2";
        play.offer_error = rows[i].offer_error;
        respond(&play, &say);
        cr_expect_not(subscription_is_busy(&play.sub), "%s", rows[i].name);
        cr_expect(strstr(error_sent(&play), rows[i].words) != NULL, "%s: \"%s\" lacks \"%s\"",
                  rows[i].name, error_sent(&play), rows[i].words);
        cr_expect_eq(play.sub.version, 5, "%s", rows[i].name);
        cr_expect(play.sub.is_open, "%s", rows[i].name);
        play_cleanup(&play);
    }
}

Test(subscription, takes_an_older_version_where_the_operator_says_so, .timeout = 20)
{
    struct play play;
    play_init(&play);
    settle_first(&play);
    subscription_configure(&play.sub, "", true, true);
    RESPOND(&play, .nonce = "n2", .version = 4, .destination = "b");
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.sub.version, 4);
    play_cleanup(&play);
}

Test(subscription, merges_deltas_into_the_state_until_one_is_refused, .timeout = 20)
{
    struct play play;
    play_init(&play);
    settle_first(&play);
    RESPOND(&play, .nonce = "n2", .version = 6, .put = "b");
    cr_expect_eq(play.num_destinations, 2);
    subscription_settled(&play.sub, "", play.now);
    RESPOND(&play, .nonce = "n3", .version = 7, .removed = "a");
    cr_expect_eq(play.num_destinations, 1);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_str_eq(subscription_state(&play.sub)->destinations[0]->name, "b");
    RESPOND(&play, .nonce = "n4", .version = 8, .put = "b", .removed = "unknown");
    cr_expect_eq(play.num_destinations, 1, "the same name takes the place");
    subscription_settled(&play.sub, "no", play.now);
    RESPOND(&play, .nonce = "n5", .version = 9, .put = "c");
    cr_expect(strstr(error_sent(&play), "send the state") != NULL, "%s", error_sent(&play));
    RESPOND(&play, .nonce = "n6", .version = 9, .destination = "c");
    subscription_settled(&play.sub, "", play.now);
    RESPOND(&play, .nonce = "n7", .version = 10, .put = "d");
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
        {"wanted", ID, {.certificate_for = ID}, ""},
        {"another identity", ID, {.certificate_for = OTHER}, "but this sidecar is " ID},
        {"another key", "", {.certificate_for = ID, .is_of_another_key = true}, "another key"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct play play;
        play_init(&play);
        subscription_configure(&play.sub, rows[i].wanted, false, true);
        subscription_start(&play.sub, play.now);
        cr_expect_str_eq(play.sent->certificate_request->spiffe_id, rows[i].wanted);
        struct say say = rows[i].say;
        say.nonce = "n1";
        say.version = 1;
        say.destination = "a";
        say.seconds = 3600;
        respond(&play, &say);
        if (rows[i].words[0] == '\0') {
            cr_expect(subscription_is_busy(&play.sub), "%s: %s", rows[i].name, play.failed);
        } else {
            cr_expect(strstr(error_sent(&play), rows[i].words) != NULL, "%s: %s", rows[i].name,
                      error_sent(&play));
            cr_expect_null(play.sub.issued.part);
            pass(&play, 0);
            cr_expect_not_null(play.sent->certificate_request, "%s: asked again", rows[i].name);
        }
        play_cleanup(&play);
    }
}

Test(subscription, an_identity_that_was_granted_stays, .timeout = 20)
{
    struct play play;
    play_init(&play);
    settle_first(&play);
    pass(&play, 1700 * 1000);
    cr_assert_not_null(play.sent->certificate_request);
    RESPOND(&play, .nonce = "n2", .certificate_for = OTHER, .seconds = 3600);
    cr_expect(strstr(error_sent(&play), OTHER) != NULL, "%s", error_sent(&play));
    cr_expect_str_eq(play.sub.issued.spiffe_id, ID);
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
        settle_first(&play);
        unsigned num_sent = play.num_sent;
        pass(&play, rows[i].early_s * 1000);
        cr_expect_eq(play.num_sent, num_sent, "%u: too early", rows[i].random);
        // The machine slept, or the clock was set: the monotonic clock has hardly moved.
        play.now.ms += 2000;
        play.now.unix_ms = (START + (int64_t)rows[i].due_s) * 1000;
        subscription_tick(&play.sub, play.now);
        cr_expect_eq(play.num_sent, num_sent + 1, "%u: due", rows[i].random);
        RESPOND(&play, .nonce = "n2", .certificate_for = ID, .seconds = 3600);
        cr_expect_eq(play.num_offers, 2);
        subscription_settled(&play.sub, "", play.now);
        cr_expect_str_eq(error_sent(&play), "");
        cr_expect_eq(play.sub.issued.not_after, now_unix_s(play.now) + 3600);
        play_cleanup(&play);
    }
}

Test(subscription, asks_again_later_and_later_when_no_certificate_is_issued, .timeout = 20)
{
    struct play play;
    play_init(&play);
    subscription_start(&play.sub, play.now);
    RESPOND(&play, .nonce = "n1", .version = 1, .destination = "a", .certificate_error = "not you");
    subscription_settled(&play.sub, "", play.now); // with a certificate from files
    cr_expect_str_eq(error_sent(&play), "", "the refusal of a certificate is understood");
    cr_expect(strstr(play.failed, "not you") != NULL, "%s", play.failed);
    static const uint64_t waits_ms[] = {0, 2500, 5000, 10000, 20000, 30000, 30000};
    for (size_t i = 0; i < sizeof waits_ms / sizeof waits_ms[0]; i++) {
        unsigned num_sent = play.num_sent;
        if (waits_ms[i] > 0) {
            pass(&play, waits_ms[i] - 1);
            cr_expect_eq(play.num_sent, num_sent, "row %zu: too early", i);
        }
        pass(&play, 1);
        cr_assert_eq(play.num_sent, num_sent + 1, "row %zu", i);
        RESPOND(&play, .nonce = "more", .certificate_error = "not you");
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
        pass(&play, wait);
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
        RESPOND(&play, .nonce = "bad"); // a response, and refused
        subscription_ended(&play.sub, "OK", play.now);
        cr_expect_eq(play.sub.failures_in_a_row, i + 2);
        pass(&play, 0);
    }
    RESPOND(&play, .nonce = "n1", .version = 1, .destination = "a", .certificate_for = ID,
            .seconds = 3600);
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.sub.failures_in_a_row, 0);
    pass(&play, SUBSCRIPTION_LASTED_MS);
    play.random = SUBSCRIPTION_FIRST_MS_MAX;
    subscription_ended(&play.sub, "gone", play.now);
    cr_expect_eq(play.sub.retry_at_ms, play.now.ms + SUBSCRIPTION_FIRST_MS_MAX);
    pass(&play, SUBSCRIPTION_FIRST_MS_MAX);
    cr_expect_eq(play.sent->version_in_force, 1);
    cr_expect_null(play.sent->certificate_request, "the certificate lasts");
    subscription_ended(&play.sub, "gone", play.now);
    subscription_configure(&play.sub, "", false, false);
    pass(&play, SUBSCRIPTION_BACKOFF_MS_MAX);
    cr_assert_not_null(play.sent->certificate_request, "nothing else says who this is");
    cr_expect_str_eq(play.sent->certificate_request->spiffe_id, ID);
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
            settle_first(&play);
            subscription_leaving(&play.sub, play.now);
        } else {
            subscription_start(&play.sub, play.now);
        }
        if (rows[i].step == REFUSED) {
            RESPOND(&play, .nonce = "n", .version = 1, .destination = "a", .removed = "b");
        } else if (rows[i].step == NO_CERTIFICATE) {
            RESPOND(&play, .nonce = "n", .version = 1, .destination = "a");
            subscription_settled(&play.sub, "", play.now);
        }
        pass(&play, rows[i].wait_ms - 1);
        cr_expect_eq(play.num_closed, 0, "row %zu: too early: %s", i, play.failed);
        pass(&play, 1);
        cr_expect_eq(play.num_closed, 1, "row %zu", i);
        cr_expect(strstr(play.failed, rows[i].words) != NULL, "row %zu: %s", i, play.failed);
        play_cleanup(&play);
    }
}

Test(subscription, what_was_on_its_way_when_the_stream_ended_may_come_into_force, .timeout = 20)
{
    struct play play;
    play_init(&play);
    settle_first(&play);
    RESPOND(&play, .nonce = "n2", .version = 6, .destination = "b");
    subscription_ended(&play.sub, "gone", play.now);
    unsigned num_sent = play.num_sent;
    subscription_settled(&play.sub, "", play.now);
    cr_expect_eq(play.num_sent, num_sent, "there is nobody to be told");
    cr_expect_eq(play.sub.version, 6);
    pass(&play, 0);
    cr_expect_eq(play.sent->version_in_force, 6);
    RESPOND(&play, .nonce = "n1", .version = 7, .put = "c");
    cr_expect(strstr(error_sent(&play), "send the state") != NULL, "each stream has its own base");
    play_cleanup(&play);
}

Test(subscription, says_for_how_long_nobody_has_stood_behind_the_state, .timeout = 20)
{
    struct play play;
    play_init(&play);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 0);
    settle_first(&play);
    pass(&play, 50000);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 0);
    subscription_ended(&play.sub, "gone", play.now);
    play.is_refusing_to_open = true;
    pass(&play, 9000);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 9);
    play_cleanup(&play);
}

Test(subscription, a_restored_state_is_a_floor_for_versions, .timeout = 20)
{
    struct play play;
    play_init(&play);
    Tabard__V1__State *state = malloc(sizeof *state);
    cr_assert_not_null(state);
    tabard__v1__state__init(state);
    subscription_restore(&play.sub, state, 9, START - 100);
    cr_expect_eq(subscription_age_s(&play.sub, play.now), 100);
    subscription_start(&play.sub, play.now);
    cr_expect_eq(play.sent->version_in_force, 9);
    RESPOND(&play, .nonce = "n", .version = 8, .destination = "a", .certificate_for = ID,
            .seconds = 3600);
    cr_expect(strstr(error_sent(&play), "older than 9") != NULL, "%s", error_sent(&play));
    play_cleanup(&play);
}

Test(subscription, an_expired_certificate_is_forgotten_but_not_whose_it_was, .timeout = 20)
{
    struct play play;
    play_init(&play);
    settle_first(&play);
    subscription_ended(&play.sub, "gone", play.now);
    play.is_refusing_to_open = true;
    pass(&play, 3590 * 1000);
    cr_expect_eq(play.num_expired, 0);
    pass(&play, 20 * 1000);
    cr_expect_eq(play.num_expired, 1);
    cr_expect_null(play.sub.issued.part);
    pass(&play, 1000);
    cr_expect_eq(play.num_expired, 1, "once");
    play.is_refusing_to_open = false;
    pass(&play, 60000);
    cr_assert_not_null(play.sent->certificate_request);
    RESPOND(&play, .nonce = "n", .version = 6, .destination = "a", .certificate_for = OTHER,
            .seconds = 3600);
    cr_expect(strstr(error_sent(&play), "but this sidecar is " ID) != NULL, "%s",
              error_sent(&play));
    play_cleanup(&play);
}
