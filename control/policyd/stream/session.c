// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/session.h"

#include <inttypes.h>
#include <openssl/mem.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log.h"
#include "base/must.h"
#include "proto/policy_agent_fields.h"

#define NONCE_MAX 24

void session_finish(struct session *session, enum service_end end, enum grpc_code code,
                    const char *text)
{
    char quoted[1024], node[SESSION_NODE_MAX * 4 + 3];
    if (session->is_over) {
        return;
    }
    session->is_over = true;
    session->loses_claim = end == SERVICE_END_ADDRESS || end == SERVICE_END_NO_LONGER_GRANTED ||
                           end == SERVICE_END_REVOKED;
    session->service->stats.ends[end]++;
    log_warn("msg=\"stream ended\" stream=%" PRIu64 " reason=%s id=%s node=%s error=%s",
             session->number, service_end_text(end), session->id == NULL ? "-" : session->id,
             log_quote(node, sizeof node, session->node), log_quote(quoted, sizeof quoted, text));
    grpc_call_finish(session->call, code, text);
}

// The sidecar has answered, or is gone: its push waits for it no longer.
static void leave_push(struct session *session)
{
    struct push *push = session->push;
    session->push = NULL;
    if (push == NULL || --push->num_waiting > 0 || push->is_open) {
        return;
    }
    struct service_stats *stats = &session->service->stats;
    uint64_t took_ns = uv_hrtime() - push->began_ns;
    push->began_ns = 0;
    stats->num_pushes++;
    stats->push_ns_last = took_ns;
    stats->push_ns_sum += took_ns;
    stats->push_ns_max = took_ns > stats->push_ns_max ? took_ns : stats->push_ns_max;
}

// Returns the version to send, drawn anew if there is none yet or the world has changed since the
// last draw, so that newer content always has a higher version.
static uint64_t version_now(const struct session *session)
{
    struct service *service = session->service;
    struct err err = {{0}, {0}};
    if (service->version.last == 0 || service->drawn_at != service->world.num_changes) {
        service->drawn_at = service->world.num_changes;
        if (!version_draw(&service->version, service_now_us(), &err)) {
            log_error("msg=\"version not shared\" error=\"%s\"", err.text);
        }
    }
    uint64_t least = version_least(&service->version, session->held);
    return service->version.last > least ? service->version.last : least;
}

void session_compare(struct session *session)
{
    struct service *service = session->service;
    bool was_unequal = session->is_unequal;
    enum version_reach reach =
        version_reach(&service->version, session->held, &session->ticket, service_now_us());
    session->is_unequal = reach == VERSION_LATER;
    if (session->is_unequal && !was_unequal) {
        log_info("msg=\"sidecar holds what this replica may not have yet\" stream=%" PRIu64
                 " held=%" PRIu64 " complete=%" PRIu64,
                 session->number, session->held, service->version.complete);
    } else if (reach == VERSION_FOREIGN) {
        log_error("msg=\"sidecar holds a version that was never given here%s\" stream=%" PRIu64
                  " held=%" PRIu64 " last=%" PRIu64,
                  version_least(&service->version, session->held) > 0 ? "" : "; it will refuse",
                  session->number, session->held, service->version.last);
    }
}

static void join_push(struct session *session)
{
    invariant(session->push == NULL); // the result before has been taken
    session->push = session->service->push;
    if (session->push != NULL) {
        session->push->num_waiting++;
    }
}

void session_advance(struct session *session)
{
    struct service *service = session->service;
    struct bytes out = {0};
    struct err err = {{0}, {0}};
    char nonce[NONCE_MAX];
    bool is_state = false;
    // What it refused may have waited for the certificate.
    bool is_behind =
        !session->is_unequal &&
        (viewer_is_behind(&session->viewer) ||
         (session->viewer.wants_all && session->has_certificate) || session->is_due_again);
    if (session->id == NULL || session->is_over || session->is_waiting ||
        (session_signs(session) && !session->has_sent) ||
        (!is_behind && session->answer.len == 0) || !grpc_call_can_send(session->call)) {
        return;
    }
    const struct bytes *update =
        is_behind ? viewer_take_update(&service->world, &session->viewer, &is_state) : NULL;
    int nonce_len = snprintf(nonce, sizeof nonce, "%" PRIu64, ++session->nonce);
    pb_wire_put_field(&out, RESPONSE_NONCE, nonce, (size_t)nonce_len);
    pb_wire_put_number(&out, RESPONSE_VERSION, version_now(session));
    if (update != NULL) {
        bytes_push(&out, update->at, update->len);
    }
    bytes_push(&out, session->answer.at, session->answer.len);
    bool ok = grpc_call_send(session->call, out.at, out.len, &err);
    service->stats.num_states += is_behind && is_state;
    service->stats.num_deltas += is_behind && !is_state;
    service->stats.num_bytes += out.len;
    bytes_cleanup(&session->answer);
    bytes_cleanup(&out);
    session->brings_certificate = session->has_certificate;
    session->has_certificate = session->is_due_again = false;
    session->again_ms = 0;
    if (!ok) {
        session_finish(session, SERVICE_END_OURS, GRPC_INTERNAL, err.text);
        return;
    }
    session->is_waiting = session->has_sent = true;
    session->due_ms = uv_now(service->loop) + SERVICE_RESULT_MS;
    if (is_behind) {
        join_push(session);
    }
}

// Time alone may make good what was refused: a clock that was behind, say.
static const struct backoff again_waits = {.first_ms = SERVICE_AGAIN_MS_MIN,
                                           .min_ms = SERVICE_AGAIN_MS_MIN,
                                           .max_ms = SERVICE_AGAIN_MS_MAX,
                                           .jitter = BACKOFF_FROM_HALF};

static uint32_t random_number(void)
{
    uint32_t number = 0;
    RAND_bytes((uint8_t *)&number, sizeof number);
    return number;
}

static void take_result(struct session *session, const Tabard__V1__Result *result)
{
    struct service *service = session->service;
    char nonce[NONCE_MAX], quoted[1024];
    snprintf(nonce, sizeof nonce, "%" PRIu64, session->nonce);
    if (!session->is_waiting || strcmp(nonce, result->nonce) != 0) {
        session_finish(session, SERVICE_END_MALFORMED, GRPC_INVALID_ARGUMENT,
                       "a result for a response that isn't waiting for one");
        return;
    }
    session->is_waiting = false;
    session->due_ms = 0;
    leave_push(session);
    if (result->error[0] == '\0') {
        service->stats.num_acks++;
        session->num_nacks = 0;
        if (session->brings_certificate) {
            session_spend_token(session);
        }
        return;
    }
    // The sidecar keeps what it had before, so the next change is sent as a whole state.
    service->stats.num_nacks++;
    snprintf(session->nack, sizeof session->nack, "%s", result->error);
    session->viewer.wants_all = true;
    session->again_ms =
        uv_now(service->loop) + backoff_ms(&again_waits, ++session->num_nacks, random_number());
    log_warn("msg=\"refused by sidecar\" stream=%" PRIu64 " id=%s version=%" PRIu64 " error=%s",
             session->number, session->id, service->version.last,
             log_quote(quoted, sizeof quoted, result->error));
}

static void take_request(struct session *session, const Tabard__V1__SubscribeRequest *request)
{
    if (request->node != NULL) {
        session_finish(session, SERVICE_END_MALFORMED, GRPC_INVALID_ARGUMENT,
                       "node belongs in a stream's first request only");
    } else if (request->result == NULL && request->certificate_request == NULL) {
        session_finish(session, SERVICE_END_MALFORMED, GRPC_INVALID_ARGUMENT,
                       "neither a result nor a certificate_request");
    }
    if (!session->is_over && request->result != NULL) {
        take_result(session, request->result);
    }
    if (!session->is_over && request->certificate_request != NULL) {
        session_sign(session, request->certificate_request, false);
    }
    session_advance(session);
}

void session_free_request(Tabard__V1__SubscribeRequest *request)
{
    if (request == NULL) {
        return;
    }
    char *const tokens[] = {request->node != NULL ? request->node->service_account_token : NULL,
                            request->node != NULL ? request->node->join_token : NULL,
                            request->certificate_request != NULL
                                ? request->certificate_request->service_account_token
                                : NULL};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        if (tokens[i] != NULL && tokens[i][0] != '\0') { // "" may be protobuf-c's own
            OPENSSL_cleanse(tokens[i], strlen(tokens[i]));
        }
    }
    tabard__v1__subscribe_request__free_unpacked(request, NULL);
}

static void on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct session *session = grpc_call_ctx(call);
    if (session == NULL || session->is_over) {
        return;
    }
    Tabard__V1__SubscribeRequest *request = tabard__v1__subscribe_request__unpack(NULL, len, bytes);
    if (request == NULL) {
        session_finish(session, SERVICE_END_MALFORMED, GRPC_INVALID_ARGUMENT,
                       "not a SubscribeRequest");
        return;
    }
    if (session->id == NULL) {
        session_first(session, request);
        return;
    }
    take_request(session, request);
    session_free_request(request);
}

static void on_start(void *ctx, struct grpc_call *call)
{
    struct service *service = ctx;
    struct session *session = service_make_room(service) ? must_alloc(1, sizeof *session) : NULL;
    grpc_call_set_ctx(call, session);
    service->stats.num_started++;
    if (session == NULL) {
        service->stats.ends[SERVICE_END_LIMIT]++;
        grpc_call_finish(call, GRPC_RESOURCE_EXHAUSTED, "too many streams (streams_max)");
        return;
    }
    service->stats.num_streams++;
    session->service = service;
    session->call = call;
    session->number = ++service->num_sessions_made;
    session->csrs = bucket_full(SERVICE_CSR_BURST, SERVICE_CSR_PER_SECOND);
    session->due_ms = uv_now(service->loop) + SERVICE_FIRST_REQUEST_MS;
    list_push(&service->sessions, &session->link);
    list_push(&service->strangers, &session->stranger_link);
    // At once, so that the sidecar knows that it is heard.
    grpc_call_send_headers(call);
}

static void on_half_close(struct grpc_call *call)
{
    struct session *session = grpc_call_ctx(call);
    if (session != NULL && !session->is_over) {
        session->has_said_goodbye = session->is_over = true;
        grpc_call_finish(call, GRPC_OK, NULL);
    }
}

static void on_drained(struct grpc_call *call)
{
    struct session *session = grpc_call_ctx(call);
    if (session != NULL) {
        session_advance(session);
    }
}

static void on_end(struct grpc_call *call, const struct grpc_status *status)
{
    struct session *session = grpc_call_ctx(call);
    char quoted[512];
    if (session == NULL) {
        return;
    }
    struct service *service = session->service;
    log_debug("msg=\"stream over\" stream=%" PRIu64 " id=%s code=%s error=%s", session->number,
              session->id == NULL ? "-" : session->id, grpc_code_name(status->code),
              log_quote(quoted, sizeof quoted, status->message));
    leave_push(session);
    issue_forget(session->job);
    reviews_forget(session->review);
    session_give_token_back(session);
    list_remove(&session->stranger_link);
    share_leave(&session->in_share);
    world_leave(&session->viewer);
    service_linger(service, session);
    list_remove(&session->link);
    service->stats.num_streams--;
    bytes_cleanup(&session->answer);
    bytes_cleanup(&session->csr);
    session_free_request(session->first);
    X509_free(session->issuer);
    free(session->reviewed);
    free(session->pod);
    free(session->key);
    free(session->id);
    free(session);
}

const struct grpc_method service_method = {.path = SERVICE_PATH,
                                           .on_start = on_start,
                                           .hooks = {.on_message = on_message,
                                                     .on_half_close = on_half_close,
                                                     .on_drained = on_drained,
                                                     .on_end = on_end}};
