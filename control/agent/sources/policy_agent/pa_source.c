// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_source.h"

#include <inttypes.h>
#include <openssl/mem.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/now.h"
#include "base/version.h"
#include "control/agent/snapshot/assemble_policy.h"
#include "control/agent/sources/policy_agent/pa_stream.h"
#include "control/agent/sources/policy_agent/store_writer.h"
#include "control/agent/sources/policy_agent/subscription.h"

#define FAILED_LOG_MS 60000 // the same words are said again after this

struct pa_source {
    struct pa_source_hooks hooks;
    uv_loop_t *loop; // borrowed
    uv_timer_t tick;
    uv_timer_t settle; // takes an outcome outside of whatever callback found it
    unsigned handles_open;
    bool is_closing;
    struct assembled local;   // owned; its access names the policy agent
    struct pa_stream *stream; // owned; NULL: it could not be made
    struct subscription sub;
    struct store_writer *writer; // owned
    uint64_t ticket;             // of the newest update
    uint64_t ticket_of_try;      // the first update that holds what is tried
    bool is_settled;             // an outcome waits to be taken
    bool is_taking_outcome;
    bool is_local_tried; // a local change is tried together with a response
    char outcome[1024];
    char last_error[1024];
    struct log_limit failed_log;
    char addresses[PA_ACCESS_ADDRESSES_MAX][ADDR_TEXT_MAX];
    char *address_list[PA_ACCESS_ADDRESSES_MAX];
};

static struct now time_now(const struct pa_source *source)
{
    return (struct now){.ms = uv_now(source->loop), .unix_ms = now_unix_ms()};
}

static void on_message(void *ctx, const uint8_t *bytes, size_t len)
{
    struct pa_source *source = ctx;
    subscription_response(&source->sub, bytes, len, time_now(source));
    if (subscription_is_busy(&source->sub)) {
        pa_stream_pause(source->stream);
    }
}

static void on_end(void *ctx, const char *why)
{
    struct pa_source *source = ctx;
    subscription_ended(&source->sub, why, time_now(source));
}

static void on_leaving(void *ctx)
{
    struct pa_source *source = ctx;
    subscription_leaving(&source->sub, time_now(source));
}

static bool on_open(void *ctx, struct err *err)
{
    struct pa_source *source = ctx;
    const struct pa_certificate *issued = &source->sub.issued;
    bool has_issued = issued->identity != NULL;
    bool ok = pa_stream_open(source->stream,
                             has_issued ? issued->identity : source->local.snapshot->identity,
                             has_issued ? issued->key : source->local.key, err);
    if (ok && subscription_is_busy(&source->sub)) {
        pa_stream_pause(source->stream);
    }
    return ok;
}

static void on_close(void *ctx)
{
    struct pa_source *source = ctx;
    pa_stream_close(source->stream);
}

static bool on_send(void *ctx, const Tabard__V1__SubscribeRequest *request, struct err *err)
{
    struct pa_source *source = ctx;
    size_t len = tabard__v1__subscribe_request__get_packed_size(request);
    uint8_t *packed = malloc(len > 0 ? len : 1);
    if (packed == NULL) {
        return err_set(err, "out of memory");
    }
    tabard__v1__subscribe_request__pack(request, packed);
    bool ok = pa_stream_send(source->stream, packed, len, err);
    OPENSSL_cleanse(packed, len); // the join token
    free(packed);
    return ok;
}

static size_t host_addresses(struct pa_source *source)
{
    uv_interface_address_t *interfaces = NULL;
    int num_interfaces = 0;
    size_t num = 0;
    if (uv_interface_addresses(&interfaces, &num_interfaces) != 0) {
        return 0;
    }
    for (int i = 0; i < num_interfaces && num < PA_ACCESS_ADDRESSES_MAX; i++) {
        struct addr addr;
        const struct sockaddr *sa = (const struct sockaddr *)&interfaces[i].address;
        bool is_link_local = sa->sa_family == AF_INET6 &&
                             IN6_IS_ADDR_LINKLOCAL(&interfaces[i].address.address6.sin6_addr);
        if (!interfaces[i].is_internal && !is_link_local && addr_from_sockaddr(&addr, sa)) {
            ip_text(&addr.ip, source->addresses[num]);
            source->address_list[num] = source->addresses[num];
            num++;
        }
    }
    uv_free_interface_addresses(interfaces, num_interfaces);
    return num;
}

static void on_fill_node(void *ctx, Tabard__V1__Node *out)
{
    static char *capabilities[] = {(char *)"destination_deltas"};
    struct pa_source *source = ctx;
    const struct pa_access *access = source->local.access;
    out->id = access->node_id;
    out->version = (char *)TABARD_VERSION;
    out->n_capabilities = 1;
    out->capabilities = capabilities;
    out->n_addresses = access->config->n_addresses;
    out->addresses = access->config->addresses;
    if (out->n_addresses == 0) {
        out->n_addresses = host_addresses(source);
        out->addresses = source->address_list;
    }
    // It is for who has no certificate yet, and is used up; a Unix socket shows no certificate.
    bool shows_issued = access->unix_path == NULL && source->sub.issued.identity != NULL;
    if (access->join_token != NULL && !shows_issued) {
        out->join_token = access->join_token;
    }
}

static bool on_offer(void *ctx, const struct subscription_offer *offer, struct err *err)
{
    struct pa_source *source = ctx;
    struct assembled assembled = {0};
    struct assemble_policy from = {.local = &source->local,
                                   .state = offer->state,
                                   .issued = offer->issued,
                                   .issued_key = offer->issued_key};
    if (!assemble_policy(&assembled, &from, time(NULL), err)) {
        return false;
    }
    // What a local change alone brings needs no answer, and is tried until it goes.
    if (subscription_is_busy(&source->sub)) {
        assembled.ticket = ++source->ticket;
        source->ticket_of_try = source->ticket_of_try != 0 ? source->ticket_of_try : source->ticket;
    }
    source->hooks.on_update(source->hooks.ctx, &assembled);
    assembled_cleanup(&assembled);
    return true;
}

static void store(struct pa_source *source)
{
    const struct pa_access *access = source->local.access;
    const struct stored what = {.state = source->sub.state,
                                .version = source->sub.version,
                                .unix_s = source->sub.confirmed_unix_s};
    store_writer_put(source->writer, access->state_folder, access->owner, &what);
}

static void on_accepted(void *ctx, bool is_new_state)
{
    struct pa_source *source = ctx;
    source->ticket_of_try = 0;
    source->last_error[0] = '\0';
    log_info("msg=\"policy agent's state in force\" version=%" PRIu64 " new_state=%s",
             source->sub.version, is_new_state ? "yes" : "no");
    if (is_new_state) {
        store(source);
    }
}

static void on_refused(void *ctx, const char *text)
{
    struct pa_source *source = ctx;
    source->ticket_of_try = 0;
    snprintf(source->last_error, sizeof source->last_error, "%s", text);
    // What the proxy refused is known already.
    if (!source->is_taking_outcome) {
        source->hooks.on_refused(source->hooks.ctx, text);
    }
}

static void on_failed(void *ctx, const char *text)
{
    struct pa_source *source = ctx;
    uint64_t passed_over = 0;
    if (strcmp(text, source->last_error) != 0) {
        source->failed_log = (struct log_limit){0};
    }
    if (log_allowed(&source->failed_log, uv_now(source->loop), FAILED_LOG_MS, &passed_over)) {
        char address[256];
        char quoted[2048];
        log_warn("msg=\"no stream to the policy agent\" address=%s kept_version=%" PRIu64
                 " token=%s error=%s",
                 log_quote(address, sizeof address, source->local.access->config->address),
                 source->sub.version, source->local.access->is_token_missing ? "missing" : "-",
                 log_quote(quoted, sizeof quoted, text));
    }
    snprintf(source->last_error, sizeof source->last_error, "%s", text);
}

// Puts what is held beside a new local part.
static void offer_again(struct pa_source *source)
{
    struct err err = {{0}, {0}};
    char text[1024];
    bool has_identity =
        source->sub.issued.identity != NULL || source->local.snapshot->identity != NULL;
    bool has_something = source->sub.state != NULL && has_identity;
    if ((has_something || subscription_is_busy(&source->sub)) &&
        !subscription_offer_again(&source->sub, &err)) {
        source->hooks.on_refused(source->hooks.ctx, err_text(&err, text, sizeof text));
    }
}

static void on_expired(void *ctx)
{
    log_error("msg=\"the issued certificate has expired\"");
    offer_again(ctx);
}

static uint32_t on_random(void *ctx)
{
    (void)ctx;
    uint32_t number = 0;
    RAND_bytes((uint8_t *)&number, sizeof number);
    return number;
}

static void on_tick(uv_timer_t *timer)
{
    struct pa_source *source = timer->data;
    subscription_tick(&source->sub, time_now(source));
}

static void on_settle(uv_timer_t *timer)
{
    struct pa_source *source = timer->data;
    if (!source->is_settled) {
        return;
    }
    source->is_settled = false;
    source->is_taking_outcome = true;
    subscription_settled(&source->sub, source->outcome, time_now(source));
    source->is_taking_outcome = false;
    if (source->is_local_tried && !subscription_is_busy(&source->sub)) {
        // Whatever became of the response, the local change stands.
        source->is_local_tried = false;
        offer_again(source);
    }
    if (source->stream != NULL && !subscription_is_busy(&source->sub)) {
        pa_stream_resume(source->stream);
    }
}

void pa_source_settled(struct pa_source *source, uint64_t ticket, const char *error)
{
    bool is_of_try = source->ticket_of_try != 0 && ticket >= source->ticket_of_try;
    // Of a refused update only the newest decides: another may be on its way with the same state.
    if (!is_of_try || source->is_closing || (error[0] != '\0' && ticket != source->ticket)) {
        return;
    }
    source->is_settled = true;
    snprintf(source->outcome, sizeof source->outcome, "%s", error);
    uv_timer_start(&source->settle, on_settle, 0, 0);
}

static void release(struct pa_source *source)
{
    if (--source->handles_open == 0) {
        subscription_cleanup(&source->sub);
        assembled_cleanup(&source->local);
        free(source);
    }
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

struct pa_source *pa_source_new(uv_loop_t *loop, const struct pa_source_hooks *hooks)
{
    struct pa_source *source = calloc(1, sizeof *source);
    struct store_writer *writer = store_writer_new(loop);
    if (source == NULL || writer == NULL) {
        free(source);
        store_writer_close(writer);
        return NULL;
    }
    source->hooks = *hooks;
    source->loop = loop;
    source->writer = writer;
    subscription_init(&source->sub, &(struct subscription_hooks){.ctx = source,
                                                                 .open = on_open,
                                                                 .close = on_close,
                                                                 .send = on_send,
                                                                 .fill_node = on_fill_node,
                                                                 .offer = on_offer,
                                                                 .accepted = on_accepted,
                                                                 .refused = on_refused,
                                                                 .failed = on_failed,
                                                                 .expired = on_expired,
                                                                 .random = on_random});
    uv_timer_init(loop, &source->tick);
    uv_timer_init(loop, &source->settle);
    source->tick.data = source->settle.data = source;
    source->handles_open = 2;
    uv_timer_start(&source->tick, on_tick, PA_SOURCE_TICK_MS, PA_SOURCE_TICK_MS);
    return source;
}

static void restore(struct pa_source *source)
{
    const struct pa_access *access = source->local.access;
    struct stored stored = {0};
    struct err err = {{0}, {0}};
    char quoted[2048];
    bool is_missing = false;
    if (store_read(&stored, access->state_folder, access->owner, access->config->accept_older,
                   &is_missing, &err)) {
        log_info("msg=\"stored state read\" version=%" PRIu64 " age_seconds=%" PRId64,
                 stored.version, (int64_t)time(NULL) - stored.unix_s);
        subscription_restore(&source->sub, stored.state, stored.version, stored.unix_s);
    } else if (!is_missing) {
        log_error("msg=\"stored state refused\" error=%s",
                  log_quote(quoted, sizeof quoted, err.text));
    }
}

void pa_source_configure(struct pa_source *source, struct assembled *local)
{
    struct err err = {{0}, {0}};
    bool is_first = source->local.access == NULL;
    bool is_same = !is_first && memcmp(source->local.access->digest, local->access->digest,
                                       sizeof local->access->digest) == 0;
    if (!is_first && !is_same) {
        subscription_stop(&source->sub, time_now(source));
        pa_stream_free(source->stream);
        source->stream = NULL;
    }
    assembled_cleanup(&source->local);
    source->local = *local;
    *local = (struct assembled){0};
    const struct pa_access *access = source->local.access;
    subscription_configure(&source->sub, access->config->spiffe_id, access->config->accept_older,
                           access->unix_path == NULL);
    if (is_first) {
        restore(source);
    }
    source->is_local_tried = subscription_is_busy(&source->sub);
    offer_again(source);
    if (is_same) {
        return;
    }
    source->stream = pa_stream_new(
        source->loop, source->local.access,
        &(struct pa_stream_hooks){
            .ctx = source, .on_message = on_message, .on_leaving = on_leaving, .on_end = on_end},
        &err);
    if (source->stream == NULL) {
        source->hooks.on_refused(source->hooks.ctx, err.text);
        return;
    }
    subscription_start(&source->sub, time_now(source));
}

void pa_source_facts(const struct pa_source *source, struct report_policy *out)
{
    *out = (struct report_policy){.address = source->local.access->config->address,
                                  .is_connected = source->sub.has_accepted,
                                  .version = source->sub.version,
                                  .state_age_s = subscription_age_s(&source->sub, time_now(source)),
                                  .num_failures = source->sub.num_failures,
                                  .num_nacks = source->sub.num_nacks,
                                  .num_store_failures = store_writer_num_failures(source->writer),
                                  .last_error = source->last_error};
}

void pa_source_close(struct pa_source *source)
{
    if (source == NULL || source->is_closing) {
        return;
    }
    source->is_closing = true;
    if (source->stream != NULL) {
        subscription_stop(&source->sub, time_now(source));
        if (source->sub.state != NULL) {
            store(source); // with the time until which it was good
        }
        pa_stream_free(source->stream);
        source->stream = NULL;
    }
    store_writer_close(source->writer);
    source->writer = NULL;
    uv_close((uv_handle_t *)&source->tick, on_closed);
    uv_close((uv_handle_t *)&source->settle, on_closed);
}
