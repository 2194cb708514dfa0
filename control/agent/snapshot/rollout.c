// SPDX-License-Identifier: Apache-2.0
#include "control/agent/snapshot/rollout.h"

#include <stdio.h>
#include <string.h>

#include "base/backoff.h"

void rollout_init(struct rollout *rollout, struct keyring *keyring,
                  const struct rollout_hooks *hooks)
{
    *rollout = (struct rollout){.hooks = *hooks, .keyring = keyring};
}

static void item_clear(struct rollout_item *item)
{
    assembly_cleanup(&item->what);
    *item = (struct rollout_item){0};
}

static void item_move(struct rollout_item *to, struct rollout_item *from)
{
    item_clear(to);
    *to = *from;
    *from = (struct rollout_item){0};
}

void rollout_cleanup(struct rollout *rollout)
{
    item_clear(&rollout->in_force);
    item_clear(&rollout->sent);
    item_clear(&rollout->waiting);
    item_clear(&rollout->aside);
}

static bool is_same(const struct rollout_item *item, const struct assembly *assembly)
{
    return item->is_set &&
           memcmp(item->what.digest, assembly->digest, sizeof assembly->digest) == 0;
}

static uint64_t kept_generation(const struct rollout *rollout)
{
    return rollout->in_force.is_set ? rollout->in_force.what.snapshot->generation : 0;
}

// Notes and logs why an update changes nothing. The same words are logged once in a row, so that
// tries which fail alike don't fill the log.
static void refuse(struct rollout *rollout, const char *text, struct now now)
{
    if (strcmp(text, rollout->last_error) != 0) {
        char quoted[2048];
        log_error("msg=\"update refused\" kept_generation=%llu error=%s",
                  (unsigned long long)kept_generation(rollout),
                  log_quote(quoted, sizeof quoted, text));
    }
    snprintf(rollout->last_error, sizeof rollout->last_error, "%s", text);
    rollout->last_error_unix_ms = now.unix_ms;
    rollout->is_error_of_source = false;
}

static void forget_error(struct rollout *rollout)
{
    rollout->last_error[0] = '\0';
    rollout->last_error_unix_ms = 0;
    rollout->is_error_of_source = false;
    rollout->retry_at_ms = 0;
    rollout->failures_in_a_row = 0;
}

// Sets when to try again. The proxy mostly refuses again what it has refused, until a port, say,
// becomes free.
static void back_off(struct rollout *rollout, struct now now)
{
    static const struct backoff waits = {.first_ms = ROLLOUT_RETRY_MS_MIN,
                                         .min_ms = 2 * ROLLOUT_RETRY_MS_MIN,
                                         .max_ms = ROLLOUT_RETRY_MS_MAX,
                                         .jitter = BACKOFF_EXACT};
    rollout->retry_at_ms = now.ms + backoff_ms(&waits, ++rollout->failures_in_a_row, 0);
}

static bool has_ticket(const struct assembly *what)
{
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        if (what->tickets[i] != 0) {
            return true;
        }
    }
    return false;
}

// Takes an answered ticket out of an item: each ticket gets one answer.
static void take_ticket(struct rollout_item *item, size_t source, uint64_t ticket)
{
    if (item->what.tickets[source] == ticket) {
        item->what.tickets[source] = 0;
    }
}

// Answers every source whose try is in the item. A refused try that is in the newer item too is
// answered with that item: something else in the refused one may be to blame.
static void settle(struct rollout *rollout, const struct rollout_item *item, const char *error)
{
    const struct rollout_item *newer = item != &rollout->waiting ? &rollout->waiting : NULL;
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        uint64_t ticket = item->what.tickets[i];
        bool is_tried_on = error[0] != '\0' && newer != NULL && newer->what.tickets[i] == ticket;
        if (ticket != 0 && !is_tried_on) {
            take_ticket(&rollout->in_force, i, ticket);
            take_ticket(&rollout->sent, i, ticket);
            take_ticket(&rollout->waiting, i, ticket);
            if (rollout->hooks.settled != NULL) {
                rollout->hooks.settled(rollout->hooks.ctx, i, ticket, error);
            }
        }
    }
}

// Says whether an item is tried again when it was refused.
static bool is_kept(const struct rollout_item *item)
{
    return item->is_held || !has_ticket(&item->what);
}

// Ends an item in favour of a newer one. If that is a try, which may be refused, what is kept is
// set aside until then.
static void pass_over(struct rollout *rollout, struct rollout_item *item,
                      const struct rollout_item *newer)
{
    if (item->is_set && is_kept(item) && !is_kept(newer) && !rollout->aside.is_set) {
        memset(item->what.tickets, 0, sizeof item->what.tickets);
        item_move(&rollout->aside, item);
    }
    item_clear(item);
}

// Ends a try that was refused. If nothing newer waits, what it took the place of comes back.
static void give_up(struct rollout *rollout, struct rollout_item *item)
{
    item_clear(item);
    if (!rollout->waiting.is_set) {
        item_move(&rollout->waiting, &rollout->aside);
    }
}

// Sends to a new proxy what the old one had in force.
static void resend(struct rollout *rollout, struct now now)
{
    struct err err = {{0}, {0}};
    if (!rollout->hooks.send(rollout->hooks.ctx, rollout->in_force.what.snapshot, &err)) {
        refuse(rollout, err.text, now);
        back_off(rollout, now);
        return;
    }
    rollout->is_resent = true;
    rollout->resent_ms = now.ms;
}

// Answers the tickets of the item that waits. What is kept is tried again later.
static void refuse_waiting(struct rollout *rollout, const char *text, struct now now)
{
    bool is_over = !is_kept(&rollout->waiting);
    refuse(rollout, text, now);
    settle(rollout, &rollout->waiting, text);
    if (is_over) {
        give_up(rollout, &rollout->waiting);
    }
    if (rollout->waiting.is_set) {
        back_off(rollout, now);
    }
}

static void send_waiting(struct rollout *rollout, struct now now)
{
    struct assembly *what = &rollout->waiting.what;
    struct err err = {{0}, {0}};
    if (!rollout->hooks.claim(rollout->hooks.ctx, what, &err) ||
        !keyring_offer(rollout->keyring, what->key, what->fallback_key, &err)) {
        refuse_waiting(rollout, err.text, now);
        return;
    }
    what->snapshot->generation = ++rollout->generation_last;
    rollout->waiting.sent_ms = now.ms;
    if (!rollout->hooks.send(rollout->hooks.ctx, what->snapshot, &err)) {
        keyring_withdraw(rollout->keyring);
        refuse_waiting(rollout, err.text, now);
        return;
    }
    item_move(&rollout->sent, &rollout->waiting);
}

// Sends what is to be sent next; one snapshot is on its way at a time. What is known to be good
// goes first.
static void advance(struct rollout *rollout, struct now now)
{
    if (!rollout->has_proxy || rollout->is_draining || rollout->sent.is_set || rollout->is_resent ||
        now.ms < rollout->retry_at_ms) {
        return;
    }
    bool is_newer_first = rollout->is_resend_refused && rollout->waiting.is_set;
    if (rollout->in_force.is_set && !rollout->is_applied && !is_newer_first) {
        resend(rollout, now);
    } else if (rollout->waiting.is_set) {
        send_waiting(rollout, now);
    }
}

// An update that is offered again takes over the tickets of the new offer, and who says the same.
static void pass_on(struct assembly *to, const struct assembly *from)
{
    for (size_t i = 0; i < SOURCES_MAX; i++) {
        if (from->tickets[i] != 0) {
            to->tickets[i] = from->tickets[i];
        }
    }
    to->enforcement_by = from->enforcement_by;
    to->key_exchange_by = from->key_exchange_by;
}

// Returns when an update's certificate ends. That of one which is in force already is as old as it
// was: a change of policy makes no life longer.
static struct now_end end_of(const struct rollout *rollout, const struct assembly *assembly,
                             struct now now)
{
    const struct rollout_item *in_force = &rollout->in_force;
    bool is_same_trust =
        in_force->is_set && memcmp(in_force->what.trust_digest, assembly->trust_digest,
                                   sizeof assembly->trust_digest) == 0;
    return is_same_trust ? in_force->ends : now_end_at(assembly->not_after, now);
}

void rollout_offer(struct rollout *rollout, struct assembly *assembly, struct now now)
{
    bool had_error = rollout->last_error[0] != '\0';
    bool is_held = !has_ticket(assembly);
    if (is_held) {
        item_clear(&rollout->aside);
    }
    rollout->retry_at_ms = 0;
    rollout->failures_in_a_row = 0;
    if (rollout->is_error_of_source) {
        forget_error(rollout);
    }
    if (is_same(&rollout->waiting, assembly)) {
        // The same again: it is tried at once.
        pass_on(&rollout->waiting.what, assembly);
        rollout->waiting.is_held = rollout->waiting.is_held || is_held;
        assembly_cleanup(assembly);
    } else if (!rollout->sent.is_set && is_same(&rollout->in_force, assembly)) {
        pass_on(&rollout->in_force.what, assembly);
        assembly_cleanup(assembly);
        if (rollout->is_applied) {
            settle(rollout, &rollout->in_force, "");
        }
        item_clear(&rollout->waiting);
        item_clear(&rollout->aside);
        if (had_error) {
            log_info("msg=\"what is in force stands again\" generation=%llu",
                     (unsigned long long)kept_generation(rollout));
        }
        forget_error(rollout);
    } else if (!rollout->waiting.is_set && is_same(&rollout->sent, assembly)) {
        pass_on(&rollout->sent.what, assembly);
        rollout->sent.is_held = rollout->sent.is_held || is_held;
        assembly_cleanup(assembly);
    } else {
        struct rollout_item next = {.is_set = true,
                                    .is_held = is_held,
                                    .ends = end_of(rollout, assembly, now),
                                    .what = *assembly};
        pass_over(rollout, &rollout->waiting, &next);
        rollout->waiting = next;
        *assembly = (struct assembly){0};
    }
    advance(rollout, now);
}

void rollout_source_failed(struct rollout *rollout, const char *text, struct now now)
{
    rollout->num_source_errors++;
    refuse(rollout, text, now);
    rollout->is_error_of_source = true;
}

void rollout_proxy_up(struct rollout *rollout, struct now now)
{
    rollout->has_proxy = true;
    rollout->is_applied = false;
    rollout->is_resent = false;
    rollout->is_resend_refused = false;
    advance(rollout, now);
}

void rollout_proxy_down(struct rollout *rollout, struct now now)
{
    rollout->has_proxy = false;
    rollout->is_applied = false;
    rollout->is_resent = false;
    if (!rollout->sent.is_set) {
        return;
    }
    // This snapshot may be what kills the proxy. Where something else can be in force instead, it
    // gets ROLLOUT_DEATHS_MAX tries.
    keyring_withdraw(rollout->keyring);
    rollout->sent.num_deaths++;
    bool has_remedy = rollout->in_force.is_set || has_ticket(&rollout->sent.what);
    if (rollout->waiting.is_set) {
        pass_over(rollout, &rollout->sent, &rollout->waiting);
    } else if (has_remedy && rollout->sent.num_deaths >= ROLLOUT_DEATHS_MAX) {
        static const char why[] = "the proxy died while it applied this update, twice";
        rollout->num_rejected++;
        settle(rollout, &rollout->sent, why);
        if (rollout->sent.is_held && !rollout->in_force.is_set) {
            item_move(&rollout->waiting, &rollout->sent);
        } else {
            give_up(rollout, &rollout->sent);
        }
        refuse(rollout, why, now);
    } else {
        item_move(&rollout->waiting, &rollout->sent);
    }
}

static void applied(struct rollout *rollout, struct now now)
{
    rollout->is_applied = true;
    rollout->applied_unix_ms = now.unix_ms;
    char quoted[SPIFFE_ID_LEN_MAX + 3];
    log_info("msg=\"snapshot in force\" generation=%llu id=%s",
             (unsigned long long)kept_generation(rollout),
             log_quote(quoted, sizeof quoted, rollout->in_force.what.spiffe_id));
    assembly_warn(&rollout->in_force.what);
    settle(rollout, &rollout->in_force, "");
}

static void answer_resent(struct rollout *rollout, const char *error, struct now now)
{
    rollout->is_resent = false;
    if (error[0] == '\0') {
        applied(rollout, now);
        if (rollout->is_resend_refused) {
            forget_error(rollout);
        }
        return;
    }
    rollout->num_rejected++;
    refuse(rollout, error, now);
    back_off(rollout, now);
    rollout->is_resend_refused = true; // a newer one may be the remedy
}

static void refuse_sent(struct rollout *rollout, const char *error, struct now now)
{
    bool has_newer = rollout->waiting.is_set;
    bool is_over = !is_kept(&rollout->sent);
    rollout->num_rejected++;
    keyring_withdraw(rollout->keyring);
    refuse(rollout, error, now);
    rollout->is_resend_refused = false;
    settle(rollout, &rollout->sent, error);
    if (is_over) {
        give_up(rollout, &rollout->sent);
    } else if (has_newer) {
        pass_over(rollout, &rollout->sent, &rollout->waiting);
    } else {
        item_move(&rollout->waiting, &rollout->sent);
    }
    if (!has_newer && rollout->waiting.is_set) {
        back_off(rollout, now);
    }
}

bool rollout_answer(struct rollout *rollout, uint64_t generation, const char *error, struct now now)
{
    if (rollout->is_resent && generation == kept_generation(rollout)) {
        answer_resent(rollout, error, now);
        advance(rollout, now);
        return true;
    }
    if (!rollout->sent.is_set || generation != rollout->sent.what.snapshot->generation) {
        return false;
    }
    if (error[0] == '\0') {
        keyring_settle(rollout->keyring, now.ms);
        if (!is_kept(&rollout->sent)) {
            item_clear(&rollout->aside); // the try held all that it took the place of
        }
        item_move(&rollout->in_force, &rollout->sent);
        applied(rollout, now);
        if (!rollout->is_error_of_source) {
            forget_error(rollout);
        }
        rollout->has_expired = false;
        rollout->expiry_warned = (struct log_limit){0};
        rollout->crl_warned = (struct log_limit){0};
    } else {
        refuse_sent(rollout, error, now);
    }
    advance(rollout, now);
    return true;
}

void rollout_drain(struct rollout *rollout)
{
    rollout->is_draining = true;
}

bool rollout_tick(struct rollout *rollout, struct now now)
{
    keyring_expire(rollout->keyring, now.ms);
    if (rollout->in_force.is_set) {
        // The end of a certificate is a new fact, whenever the last warning was.
        bool has_expired = now_end_left_ms(rollout->in_force.ends, now) == 0;
        if (has_expired && !rollout->has_expired) {
            rollout->expiry_warned = (struct log_limit){0};
        }
        rollout->has_expired = has_expired;
        rollout_warn_of_ends(rollout, now);
    }
    if ((rollout->sent.is_set && now.ms - rollout->sent.sent_ms > ROLLOUT_ANSWER_MS_MAX) ||
        (rollout->is_resent && now.ms - rollout->resent_ms > ROLLOUT_ANSWER_MS_MAX)) {
        return false;
    }
    advance(rollout, now);
    return true;
}
