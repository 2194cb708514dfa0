// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/control/agent/sources/subscription/play.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static char *on_token_read(void *ctx, struct err *err)
{
    struct play *play = ctx;
    play->num_tokens++;
    if (play->token == NULL) {
        err_set(err, "no token");
        return NULL;
    }
    play->num_tokens_held++;
    return strdup(play->token);
}

static void on_token_free(void *ctx, char *token)
{
    if (token != NULL) {
        ((struct play *)ctx)->num_tokens_held--;
    }
    free(token);
}

static bool on_has_identity(void *ctx)
{
    return !((struct play *)ctx)->lacks_identity;
}

static enum offer_result on_offer(void *ctx, const struct slots *slots, struct err *err)
{
    struct play *play = ctx;
    play->num_offers++;
    cr_assert_eq(slots->parts[SNAPSHOT_RULES], slots->parts[SNAPSHOT_BUNDLES]);
    const Tabard__V1__State *state =
        (const Tabard__V1__State *)slots->parts[SNAPSHOT_RULES]->message;
    play->num_destinations = state->n_destinations;
    play->has_issued = slots->parts[SNAPSHOT_IDENTITY] != NULL;
    if (play->useless != NULL && slots->parts[SNAPSHOT_IDENTITY] == play->useless) {
        err_set_at(err, "certificate.chain", "revoked");
        return OFFER_REFUSED_CERTIFICATE;
    }
    if (play->offer_error != NULL) {
        err_set_at(err, "policies[0]", "%s", play->offer_error);
        return OFFER_REFUSED;
    }
    return OFFER_TRIED;
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

void play_init(struct play *play)
{
    *play = (struct play){.now = {.ms = 1000, .unix_ms = PLAY_START * 1000}, .token = ""};
    cr_assert(mint_root_init(&play->root, MINT_KEY_P256, "demo.example", PLAY_START,
                             PLAY_START + 864000, NULL));
    subscription_init(&play->sub, &(struct subscription_hooks){.ctx = play,
                                                               .open = on_open,
                                                               .close = on_close,
                                                               .send = on_send,
                                                               .fill_node = on_fill_node,
                                                               .token_read = on_token_read,
                                                               .token_free = on_token_free,
                                                               .has_identity = on_has_identity,
                                                               .offer = on_offer,
                                                               .accepted = on_accepted,
                                                               .refused = on_text,
                                                               .failed = on_text,
                                                               .expired = on_expired,
                                                               .random = on_random});
    subscription_configure(
        &play->sub, &(struct subscription_config){.spiffe_id = "", .shows_certificate = true});
}

void play_cleanup(struct play *play)
{
    subscription_cleanup(&play->sub);
    mint_ca_cleanup(&play->root);
    if (play->sent != NULL) {
        tabard__v1__subscribe_request__free_unpacked(play->sent, NULL);
    }
}

void play_pass(struct play *play, uint64_t ms)
{
    play->now.ms += ms;
    play->now.unix_ms = PLAY_START * 1000 + (int64_t)play->now.ms;
    subscription_tick(&play->sub, play->now);
}

void play_wait_to_ask(struct play *play, size_t num_refused)
{
    static const uint64_t waits_ms[PLAY_WAITS] = {0, 2500, 5000, 10000, 20000, 30000, 30000};
    uint64_t wait_ms = waits_ms[num_refused];
    unsigned num_sent = play->num_sent;
    if (wait_ms > 0) {
        play_pass(play, wait_ms - 1);
        cr_expect_eq(play->num_sent, num_sent, "wait %zu: too early", num_refused);
    }
    play_pass(play, 1);
    cr_assert_eq(play->num_sent, num_sent + 1, "wait %zu", num_refused);
}

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

void play_respond(struct play *play, const struct say *what)
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

void play_settle_first(struct play *play)
{
    subscription_start(&play->sub, play->now);
    PLAY_RESPOND(play, .nonce = "first", .version = 5, .destination = "a",
                 .certificate_for = PLAY_ID, .seconds = 3600);
    cr_assert(subscription_is_busy(&play->sub), "%s", play->failed);
    subscription_settled(&play->sub, "", play->now);
    cr_assert_eq(play->sub.version, 5);
}

const char *play_error_sent(const struct play *play)
{
    cr_assert_not_null(play->sent->result);
    return play->sent->result->error;
}
