// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/subscription/subscription_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log.h"
#include "base/must.h"
#include "control/agent/sources/subscription/pa_response.h"

void subscription_init(struct subscription *sub, const struct subscription_hooks *hooks)
{
    *sub = (struct subscription){.hooks = *hooks, .config = {.spiffe_id = ""}};
}

static void forget_early(struct subscription *sub)
{
    part_unref(sub->early);
    sub->early = NULL;
}

static void try_clear(struct subscription_try *next)
{
    part_unref(next->state);
    pa_certificate_clear(&next->issued);
    free(next->nonce);
    free(next->certificate_error);
    *next = (struct subscription_try){0};
}

void subscription_cleanup(struct subscription *sub)
{
    part_unref(sub->state);
    pa_certificate_clear(&sub->issued);
    try_clear(&sub->next);
    forget_early(sub);
    pa_csr_forget(&sub->csr);
    *sub = (struct subscription){.hooks = sub->hooks, .config = {.spiffe_id = ""}};
}

void subscription_configure(struct subscription *sub, const struct subscription_config *config)
{
    bool is_other_key = sub->config.key != config->key;
    sub->config = *config;
    if (is_other_key) {
        pa_csr_hurry(&sub->csr);
    }
}

void subscription_restore(struct subscription *sub, Tabard__V1__State *state, uint64_t version,
                          int64_t confirmed_unix_s)
{
    sub->state = part_new(&state->base, NULL);
    sub->version = version;
    sub->confirmed_unix_s = confirmed_unix_s;
}

bool subscription_is_busy(const struct subscription *sub)
{
    return sub->next.is_set;
}

// Notes when the policy agent last stood behind the state, at the end of a stream.
static void note_confirmed(struct subscription *sub, struct now now)
{
    if (sub->has_accepted) {
        sub->confirmed_unix_s = now_unix_s(now) - sub->silent_s;
    }
    sub->silent_s = 0;
}

void subscription_ended(struct subscription *sub, const char *why, struct now now)
{
    // The waits are random from 0 on: many sidecars that lost their policy agent together must not
    // come back together.
    static const struct backoff waits = {.first_ms = SUBSCRIPTION_FIRST_MS_MAX,
                                         .min_ms = SUBSCRIPTION_BACKOFF_MS_MIN,
                                         .max_ms = SUBSCRIPTION_BACKOFF_MS_MAX,
                                         .jitter = BACKOFF_FROM_ZERO};
    bool has_lasted =
        sub->is_open && sub->has_accepted && now.ms - sub->opened_ms >= SUBSCRIPTION_LASTED_MS;
    note_confirmed(sub, now);
    sub->is_open = sub->has_response = sub->has_accepted = sub->has_base = false;
    sub->answer_by_ms = sub->leave_by_ms = sub->empty_by_ms = 0;
    pa_csr_start_anew(&sub->csr);
    forget_early(sub);
    // What is on its way into force goes on, but nobody is left to be answered.
    free(sub->next.nonce);
    sub->next.nonce = NULL;
    sub->num_failures++;
    sub->failures_in_a_row++;
    if (!has_lasted && sub->failures_in_a_row < 2) {
        sub->failures_in_a_row = 2;
    }
    sub->retry_at_ms =
        now.ms + backoff_ms(&waits, sub->failures_in_a_row, sub->hooks.random(sub->hooks.ctx));
    sub->hooks.failed(sub->hooks.ctx, why);
}

void subscription_give_up(struct subscription *sub, const char *why, struct now now)
{
    sub->hooks.close(sub->hooks.ctx);
    subscription_ended(sub, why, now);
}

void subscription_start(struct subscription *sub, struct now now)
{
    subscription_stop(sub, now);
    sub->is_started = true;
    sub->failures_in_a_row = 0;
    sub->csr.num_refused = 0;
    subscription_connect(sub, now);
}

void subscription_stop(struct subscription *sub, struct now now)
{
    if (sub->is_open) {
        sub->hooks.close(sub->hooks.ctx);
        note_confirmed(sub, now);
    }
    free(sub->next.nonce);
    sub->next.nonce = NULL;
    pa_csr_start_anew(&sub->csr);
    forget_early(sub);
    sub->answer_by_ms = sub->leave_by_ms = sub->empty_by_ms = 0;
    sub->is_open = sub->has_response = sub->has_accepted = sub->has_base = false;
    sub->is_started = false;
}

// Answers the response that is tried: exactly once, in order. false: the stream is gone.
static bool answer(struct subscription *sub, const char *error, struct now now)
{
    if (sub->next.nonce == NULL) {
        return false;
    }
    Tabard__V1__Result result = TABARD__V1__RESULT__INIT;
    Tabard__V1__SubscribeRequest request = TABARD__V1__SUBSCRIBE_REQUEST__INIT;
    result.nonce = sub->next.nonce;
    result.error = (char *)error;
    request.result = &result;
    return subscription_send(sub, &request, now);
}

static void refuse(struct subscription *sub, const char *error, struct now now)
{
    sub->num_nacks++;
    bool had_rules = sub->next.state != NULL || sub->next.version != 0;
    if (sub->csr.key != NULL && (sub->next.issued.part != NULL || sub->next.certificate_error)) {
        pa_csr_refused(&sub->csr, now, sub->hooks.random(sub->hooks.ctx));
    }
    answer(sub, error, now);
    if (had_rules) {
        sub->has_base = false;
    }
    if (sub->is_open && sub->state == NULL && sub->early == NULL && sub->empty_by_ms == 0) {
        sub->empty_by_ms = now.ms + SUBSCRIPTION_EMPTY_MS_MAX;
    }
    try_clear(&sub->next);
}

static void accept(struct subscription *sub, struct now now)
{
    bool is_new_state = sub->next.state != NULL;
    bool is_of_stream = sub->next.nonce != NULL;
    bool has_news = is_new_state || sub->next.issued.part != NULL;
    if (is_new_state) {
        part_unref(sub->state);
        sub->state = sub->next.state;
        sub->version = sub->next.version;
        sub->next.state = NULL;
        sub->has_base = is_of_stream;
        sub->confirmed_unix_s = now_unix_s(now);
    }
    if (sub->next.issued.part != NULL) {
        pa_certificate_clear(&sub->issued);
        sub->issued = sub->next.issued;
        sub->next.issued = (struct pa_certificate){0};
        sub->issued_ends = now_end_at(sub->issued.not_after, now);
        pa_csr_granted(&sub->csr, &sub->issued, is_of_stream, now,
                       sub->hooks.random(sub->hooks.ctx));
    }
    if (is_of_stream) {
        sub->has_accepted = sub->has_accepted || is_new_state;
        sub->failures_in_a_row = 0;
        sub->empty_by_ms = 0;
    }
    if (sub->next.certificate_error != NULL && is_of_stream) {
        char text[1024];
        snprintf(text, sizeof text, "the policy agent issues no certificate: %s",
                 sub->next.certificate_error);
        pa_csr_refused(&sub->csr, now, sub->hooks.random(sub->hooks.ctx));
        sub->hooks.refused(sub->hooks.ctx, text);
    }
    answer(sub, "", now);
    try_clear(&sub->next);
    if (has_news) {
        sub->hooks.accepted(sub->hooks.ctx, is_new_state);
    }
}

// Fills the slots of a state and of a certificate; each may be NULL.
static void fill_slots(struct slots *out, struct part *state, struct part *certificate)
{
    *out = (struct slots){{NULL}};
    if (state != NULL) {
        slots_fill(out, SNAPSHOT_BUNDLES, state);
        slots_fill(out, SNAPSHOT_RULES, state);
    }
    if (certificate != NULL) {
        slots_fill(out, SNAPSHOT_IDENTITY, certificate);
    }
}

void subscription_held(const struct subscription *sub, struct slots *out)
{
    fill_slots(out, sub->state, sub->issued.part);
}

Tabard__V1__State *subscription_state(const struct subscription *sub)
{
    return sub->state != NULL ? (Tabard__V1__State *)sub->state->message : NULL;
}

// Keeps a state until a certificate comes with which it can come into force. Its response is
// refused.
static void keep_early(struct subscription *sub)
{
    forget_early(sub);
    sub->early = part_ref(sub->next.state);
    sub->early_version = sub->next.version;
    sub->empty_by_ms = 0;
}

// Says whether another certificate than the issued one in force would make an offer good.
static bool awaits_next(const struct subscription *sub, enum offer_result result)
{
    return result == OFFER_REFUSED_CERTIFICATE && sub->next.state != NULL &&
           sub->next.issued.part == NULL && sub->issued.part != NULL;
}

static bool offer(struct subscription *sub, struct err *err)
{
    struct slots slots;
    struct subscription_try *next = &sub->next;
    if (next->state == NULL && sub->early != NULL) {
        next->state = sub->early;
        next->version = sub->early_version;
        sub->early = NULL;
    }
    if (next->state == NULL && sub->state == NULL) {
        return err_set(err, "there is no state yet: it has to come with the certificate or before");
    }
    if (next->state != NULL && next->issued.part == NULL && sub->issued.part == NULL &&
        !sub->hooks.has_identity(sub->hooks.ctx)) {
        keep_early(sub);
        return err_set(err, "there is no certificate for this sidecar yet: the state waits for it");
    }
    forget_early(sub); // a newer state has come, or the one that waited goes now
    fill_slots(&slots, next->state != NULL ? next->state : sub->state,
               next->issued.part != NULL ? next->issued.part : sub->issued.part);
    enum offer_result result = sub->hooks.offer(sub->hooks.ctx, &slots, err);
    slots_cleanup(&slots);
    if (awaits_next(sub, result)) {
        keep_early(sub);
        pa_csr_hurry(&sub->csr);
        err_prefix(err, "the state waits for a new certificate of this sidecar");
    }
    return result == OFFER_TRIED;
}

// Takes the response apart into what is to be tried. false sets err.
static bool prepare(struct subscription *sub, Tabard__V1__SubscribeResponse *response,
                    struct err *err)
{
    struct pa_expectation expected = {.version_in_force = sub->version,
                                      .accepts_older = sub->config.accepts_older,
                                      .has_base = sub->has_base,
                                      .has_request = sub->csr.key != NULL};
    struct subscription_try *next = &sub->next;
    if (response->state != NULL || response->destinations != NULL) {
        next->version = response->version;
    }
    if (!pa_response_check(response, &expected, err)) {
        return false;
    }
    if (next->version != 0) {
        Tabard__V1__State *state = pa_response_apply(response, subscription_state(sub), err);
        if (state == NULL) {
            return false;
        }
        next->state = part_new(&state->base, NULL);
    }
    if (response->certificate_error[0] != '\0') {
        next->certificate_error = must_strdup(response->certificate_error);
        return true;
    }
    return response->certificate == NULL ||
           pa_certificate_take(&next->issued, response->certificate, sub->csr.key,
                               subscription_expected_id(sub), err);
}

void subscription_response(struct subscription *sub, const uint8_t *bytes, size_t len,
                           struct now now)
{
    struct err err = {{0}, {0}};
    char text[1024];
    if (!sub->is_open) {
        return;
    }
    invariant(!sub->next.is_set);
    sub->has_response = true;
    sub->answer_by_ms = 0;
    Tabard__V1__SubscribeResponse *response = pa_response_parse(bytes, len, &err);
    if (response == NULL) {
        sub->num_nacks++;
        snprintf(text, sizeof text, "a response that can't be answered: ");
        size_t at = strlen(text);
        err_text(&err, text + at, sizeof text - at);
        subscription_give_up(sub, text, now);
        return;
    }
    sub->next = (struct subscription_try){.is_set = true, .nonce = must_strdup(response->nonce)};
    bool ok = prepare(sub, response, &err);
    bool has_news = sub->next.state != NULL || sub->next.issued.part != NULL;
    tabard__v1__subscribe_response__free_unpacked(response, NULL);
    if (ok && !has_news) {
        accept(sub, now); // nothing but the refusal of a certificate is in it
    } else if (!ok || !offer(sub, &err)) {
        refuse(sub, err_text(&err, text, sizeof text), now);
        sub->hooks.refused(sub->hooks.ctx, text);
    }
}

void subscription_settled(struct subscription *sub, const char *error, struct now now)
{
    if (!sub->next.is_set) {
        return;
    }
    if (error[0] == '\0') {
        accept(sub, now);
    } else {
        refuse(sub, error, now);
    }
}

void subscription_silent(struct subscription *sub, int64_t silent_s)
{
    sub->silent_s = sub->is_open ? silent_s : 0;
}

void subscription_leaving(struct subscription *sub, struct now now)
{
    if (sub->is_open && sub->leave_by_ms == 0) {
        sub->leave_by_ms = now.ms + SUBSCRIPTION_LEAVING_MS_MAX;
    }
}

static bool is_over(uint64_t deadline_ms, struct now now)
{
    return deadline_ms != 0 && now.ms >= deadline_ms;
}

// Forgets a certificate that has expired, so that one from files can take its place.
static void expire(struct subscription *sub, struct now now)
{
    if (sub->issued.part == NULL || now_end_left_ms(sub->issued_ends, now) > 0 ||
        sub->next.is_set) {
        return;
    }
    char *spiffe_id = sub->issued.spiffe_id;
    sub->issued.spiffe_id = NULL;
    pa_certificate_clear(&sub->issued);
    sub->issued.spiffe_id = spiffe_id;
    sub->hooks.expired(sub->hooks.ctx);
}

// Says what has not come in time; NULL: nothing is late.
static const char *overdue(const struct subscription *sub, struct now now)
{
    if (is_over(sub->leave_by_ms, now)) {
        return "the server said that it goes, and stayed";
    }
    if (is_over(sub->empty_by_ms, now)) {
        return "nothing usable came after a refusal";
    }
    // While a response is on its way into force, the stream is not read: an answer may wait there.
    if (sub->next.is_set) {
        return NULL;
    }
    if (is_over(sub->answer_by_ms, now)) {
        return "no response to the first request";
    }
    return is_over(sub->csr.answer_by_ms, now) ? "no answer to a certificate_request" : NULL;
}

void subscription_tick(struct subscription *sub, struct now now)
{
    if (!sub->is_started) {
        return;
    }
    expire(sub, now);
    if (!sub->is_open) {
        if (now.ms >= sub->retry_at_ms) {
            subscription_connect(sub, now);
        }
        return;
    }
    const char *why = overdue(sub, now);
    if (why != NULL) {
        subscription_give_up(sub, why, now);
        return;
    }
    if (sub->has_response && !sub->next.is_set && sub->csr.key == NULL &&
        now.ms >= sub->csr.ask_at_ms && !sub->config.keeps_identity &&
        pa_csr_is_due(&sub->csr, &sub->issued, now)) {
        subscription_renew(sub, now);
    }
}

int64_t subscription_age_s(const struct subscription *sub, struct now now)
{
    if (sub->state != NULL && sub->has_accepted) {
        return sub->silent_s;
    }
    bool is_fresh = sub->state == NULL || now_unix_s(now) < sub->confirmed_unix_s;
    return is_fresh ? 0 : now_unix_s(now) - sub->confirmed_unix_s;
}
