// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sources/policy_agent/pa_source.h"

#include <inttypes.h>
#include <openssl/mem.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/now.h"
#include "base/pb/pb_copy.h"
#include "control/agent/sources/policy_agent/pa_node.h"
#include "control/agent/sources/policy_agent/pa_stream.h"
#include "control/agent/sources/policy_agent/pa_token.h"
#include "control/agent/sources/policy_agent/store_writer.h"
#include "control/agent/sources/subscription/subscription.h"
#include "net/grpc/client.h"

#define FAILED_LOG_MS 60000 // a failure that goes on is logged again after this

struct pa_source {
    struct source_hooks hooks;
    uv_loop_t *loop; // borrowed
    uv_timer_t tick;
    unsigned handles_open;
    bool is_closing;
    struct pa_access *access; // owned; NULL until it was configured
    struct part *identity;    // counted; mesh.yaml's own; NULL: none
    struct pa_stream *stream; // owned; NULL: it could not be made
    struct subscription sub;
    struct part *learned; // counted; the state whose bundle proves the policy agent; NULL: none
    struct store_writer *writer; // owned
    char last_error[1024];
    char cause[512]; // what was refused first since something came into force last; empty: nothing
    struct log_limit failed_log;
    uint64_t silent_ms; // of the stream's other host, at the last tick
    struct pa_node node;
};

static struct now time_now(const struct pa_source *source)
{
    return now_read(uv_now(source->loop));
}

static void on_message(void *ctx, const uint8_t *bytes, size_t len)
{
    struct pa_source *source = ctx;
    subscription_response(&source->sub, bytes, len, time_now(source));
    if (subscription_is_busy(&source->sub)) {
        grpc_call_pause(pa_stream_call(source->stream));
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

// Shows the stream the state that is held, if it was not shown it yet.
static void learn(struct pa_source *source)
{
    struct err err = {{0}, {0}};
    char quoted[2048];
    if (source->learned == source->sub.state) {
        return;
    }
    part_unref(source->learned);
    source->learned = source->sub.state != NULL ? part_ref(source->sub.state) : NULL;
    if (!pa_stream_learn(source->stream, subscription_state(&source->sub), &err)) {
        log_warn("msg=\"the state's bundle can't prove the policy agent\" error=%s",
                 log_quote(quoted, sizeof quoted, err.text));
    }
}

static bool on_open(void *ctx, struct err *err)
{
    struct pa_source *source = ctx;
    learn(source);
    const struct part *part =
        source->sub.issued.part != NULL ? source->sub.issued.part : source->identity;
    bool ok =
        pa_stream_open(source->stream, part_identity(part), part != NULL ? part->key : NULL, err);
    if (ok && subscription_is_busy(&source->sub)) {
        grpc_call_pause(pa_stream_call(source->stream));
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
    size_t len = 0;
    uint8_t *packed = pb_copy_packed(&request->base, &len);
    bool ok = grpc_call_send(pa_stream_call(source->stream), packed, len, err);
    OPENSSL_cleanse(packed, len); // the tokens
    free(packed);
    return ok;
}

static void on_fill_node(void *ctx, Tabard__V1__Node *out)
{
    struct pa_source *source = ctx;
    pa_node_fill(&source->node, source->access, source->sub.issued.part != NULL, out);
}

static char *on_token_read(void *ctx, struct err *err)
{
    const char *path = ((const struct pa_source *)ctx)->access->account_token_path;
    return path != NULL ? pa_token_read(path, err) : must_strdup("");
}

static void on_token_free(void *ctx, char *token)
{
    (void)ctx;
    pa_token_free(token);
}

// Renames the field of Snapshot that an error blames to the field of the response that filled it.
static void name_as_sent(struct err *err)
{
    static const char prefix[] = "identity.";
    char rest[sizeof err->where];
    if (strcmp(err->where, "identity.key_id") == 0) {
        snprintf(err->where, sizeof err->where, "certificate.chain[0]");
    } else if (strncmp(err->where, prefix, sizeof prefix - 1) == 0) {
        snprintf(rest, sizeof rest, "%s", err->where + sizeof prefix - 1);
        snprintf(err->where, sizeof err->where, "certificate.%s", rest);
    }
}

static bool on_has_identity(void *ctx)
{
    return ((const struct pa_source *)ctx)->identity != NULL;
}

static enum offer_result on_offer(void *ctx, const struct slots *slots, struct err *err)
{
    struct pa_source *source = ctx;
    enum offer_result result = source->hooks.offer(source->hooks.ctx, slots, err);
    if (result != OFFER_TRIED && slots->parts[SNAPSHOT_IDENTITY] != NULL) {
        name_as_sent(err);
    }
    return result;
}

// Puts what is held on the board.
static void put_held(struct pa_source *source)
{
    struct slots slots;
    subscription_held(&source->sub, &slots);
    source->hooks.put(source->hooks.ctx, &slots);
    slots_cleanup(&slots);
}

static void store(struct pa_source *source)
{
    const struct pa_access *access = source->access;
    const struct stored_state what = {.state = subscription_state(&source->sub),
                                      .version = source->sub.version,
                                      .unix_s = source->sub.confirmed_unix_s};
    store_writer_put(source->writer, access->state_folder, access->owner, &what);
}

static void on_accepted(void *ctx, bool is_new_state)
{
    struct pa_source *source = ctx;
    source->last_error[0] = source->cause[0] = '\0';
    log_info("msg=\"policy agent's state in force\" version=%" PRIu64 " new_state=%s",
             source->sub.version, is_new_state ? "yes" : "no");
    if (is_new_state) {
        store(source);
    }
}

static void note_cause(struct pa_source *source, const char *text)
{
    if (source->cause[0] == '\0') {
        snprintf(source->cause, sizeof source->cause, "%s", text);
    }
}

static void on_refused(void *ctx, const char *text)
{
    struct pa_source *source = ctx;
    note_cause(source, text);
    snprintf(source->last_error, sizeof source->last_error, "%s", text);
    source->hooks.refused(source->hooks.ctx, text);
}

// What fails after a refusal may be its consequence, so the cause is told beside it.
static void on_failed(void *ctx, const char *why)
{
    struct pa_source *source = ctx;
    char text[sizeof source->last_error];
    uint64_t passed_over = 0;
    snprintf(text, sizeof text, "%.480s%s%s", why,
             source->cause[0] == '\0' ? "" : "; before that: ", source->cause);
    if (strcmp(text, source->last_error) != 0) {
        source->failed_log = (struct log_limit){0};
    }
    if (log_allowed(&source->failed_log, uv_now(source->loop), FAILED_LOG_MS, &passed_over)) {
        char address[256];
        char quoted[2048];
        log_warn("msg=\"no stream to the policy agent\" address=%s kept_version=%" PRIu64
                 " token=%s error=%s",
                 log_quote(address, sizeof address, source->access->config->address),
                 source->sub.version, source->access->is_token_missing ? "missing" : "-",
                 log_quote(quoted, sizeof quoted, text));
    }
    snprintf(source->last_error, sizeof source->last_error, "%s", text);
}

static void on_expired(void *ctx)
{
    log_error("msg=\"the issued certificate has expired\"");
    put_held(ctx);
}

static uint32_t on_random(void *ctx)
{
    (void)ctx;
    uint32_t number = 0;
    RAND_bytes((uint8_t *)&number, sizeof number);
    return number;
}

static void look_at_silence(struct pa_source *source)
{
    const struct grpc_call *call = source->stream != NULL ? pa_stream_call(source->stream) : NULL;
    source->silent_ms = call != NULL ? grpc_call_silent_ms(call) : 0;
    bool is_silent = source->silent_ms > TRANSPORT_SILENT_MS;
    subscription_silent(&source->sub, is_silent ? (int64_t)(source->silent_ms / 1000) : 0);
}

static void on_tick(uv_timer_t *timer)
{
    struct pa_source *source = timer->data;
    look_at_silence(source);
    subscription_tick(&source->sub, time_now(source));
}

void pa_source_settled(struct pa_source *source, const char *error)
{
    subscription_settled(&source->sub, error, time_now(source));
    if (error[0] != '\0') {
        note_cause(source, error);
        snprintf(source->last_error, sizeof source->last_error, "%s", error);
    }
    struct grpc_call *call = source->stream != NULL ? pa_stream_call(source->stream) : NULL;
    if (call != NULL && !subscription_is_busy(&source->sub)) {
        grpc_call_resume(call);
    }
}

static void release(struct pa_source *source)
{
    if (--source->handles_open == 0) {
        subscription_cleanup(&source->sub);
        pa_access_free(source->access);
        part_unref(source->identity);
        part_unref(source->learned);
        free(source);
    }
}

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

struct pa_source *pa_source_new(uv_loop_t *loop, const struct source_hooks *hooks)
{
    struct pa_source *source = must_alloc(1, sizeof *source);
    source->hooks = *hooks;
    source->loop = loop;
    source->writer = store_writer_new(loop);
    subscription_init(&source->sub, &(struct subscription_hooks){.ctx = source,
                                                                 .open = on_open,
                                                                 .close = on_close,
                                                                 .send = on_send,
                                                                 .fill_node = on_fill_node,
                                                                 .token_read = on_token_read,
                                                                 .token_free = on_token_free,
                                                                 .has_identity = on_has_identity,
                                                                 .offer = on_offer,
                                                                 .accepted = on_accepted,
                                                                 .refused = on_refused,
                                                                 .failed = on_failed,
                                                                 .expired = on_expired,
                                                                 .random = on_random});
    uv_timer_init(loop, &source->tick);
    source->tick.data = source;
    source->handles_open = 1;
    uv_timer_start(&source->tick, on_tick, PA_SOURCE_TICK_MS, PA_SOURCE_TICK_MS);
    return source;
}

static void restore(struct pa_source *source)
{
    const struct pa_access *access = source->access;
    struct stored_state stored = {0};
    struct err err = {{0}, {0}};
    char quoted[2048];
    bool is_missing = false;
    if (store_read(&stored, access->state_folder, access->owner, access->config->accept_older,
                   &is_missing, &err)) {
        log_info("msg=\"stored state read\" version=%" PRIu64 " age_seconds=%" PRId64,
                 stored.version, now_date_s() - stored.unix_s);
        subscription_restore(&source->sub, stored.state, stored.version, stored.unix_s);
        put_held(source);
    } else if (!is_missing) {
        log_error("msg=\"stored state refused\" error=%s",
                  log_quote(quoted, sizeof quoted, err.text));
    }
}

static void connect_anew(struct pa_source *source)
{
    struct err err = {{0}, {0}};
    const struct pa_stream_hooks hooks = {
        .ctx = source, .on_message = on_message, .on_leaving = on_leaving, .on_end = on_end};
    part_unref(source->learned);
    source->learned = NULL;
    source->stream = pa_stream_new(source->loop, source->access, &hooks, &err);
    if (source->stream == NULL) {
        on_failed(source, err.text);
        return;
    }
    subscription_start(&source->sub, time_now(source));
}

void pa_source_configure(struct pa_source *source, struct pa_access *access, struct part *identity)
{
    struct pa_access *before = source->access;
    bool is_same =
        before != NULL && memcmp(before->digest, access->digest, sizeof access->digest) == 0;
    if (before != NULL && !is_same) {
        subscription_stop(&source->sub, time_now(source));
        pa_stream_free(source->stream);
        source->stream = NULL;
    }
    source->access = access;
    subscription_configure(
        &source->sub, &(struct subscription_config){.spiffe_id = access->config->spiffe_id,
                                                    .accepts_older = access->config->accept_older,
                                                    .shows_certificate = access->unix_path == NULL,
                                                    .keeps_identity = access->config->keep_identity,
                                                    .key = access->config->key});
    pa_access_free(before);
    part_unref(source->identity);
    source->identity = identity != NULL ? part_ref(identity) : NULL;
    if (before == NULL) {
        restore(source);
    }
    if (!is_same) {
        connect_anew(source);
    }
}

void pa_source_facts(const struct pa_source *source, struct source_facts *out)
{
    *out =
        (struct source_facts){.address = source->access->config->address,
                              .is_connected = source->sub.has_accepted && source->sub.silent_s == 0,
                              .version = source->sub.version,
                              .state_age_s = subscription_age_s(&source->sub, time_now(source)),
                              .silent_s = source->silent_ms / 1000,
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
            store(source); // with the time until which a policy agent stood behind it
        }
        pa_stream_free(source->stream);
        source->stream = NULL;
    }
    store_writer_close(source->writer);
    source->writer = NULL;
    uv_close((uv_handle_t *)&source->tick, on_closed);
}

static void *on_kind_start(uv_loop_t *loop, const struct source_hooks *hooks)
{
    return pa_source_new(loop, hooks);
}

static void on_kind_configure(void *source, void *access, struct part *identity)
{
    pa_source_configure(source, access, identity);
}

static void on_kind_settled(void *source, const char *error)
{
    pa_source_settled(source, error);
}

static void on_kind_facts(const void *source, struct source_facts *out)
{
    pa_source_facts(source, out);
}

static void on_kind_close(void *source)
{
    pa_source_close(source);
}

const struct source_kind pa_kind = {
    .field = &pa_field,
    .start = on_kind_start,
    .configure = on_kind_configure,
    .settled = on_kind_settled,
    .facts = on_kind_facts,
    .close = on_kind_close,
};
