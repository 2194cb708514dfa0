// SPDX-License-Identifier: Apache-2.0
//
// A stream's first request: who it is, where it is.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/now.h"
#include "control/policyd/stream/session.h"
#include "control/policyd/stream/tls.h"
#include "proto/policy_agent_fields.h"

static enum grpc_code code_of(enum admit_result result)
{
    switch (result) {
    case ADMIT_NOT_NAMED:
    case ADMIT_AMBIGUOUS:
    case ADMIT_TOKEN_OTHER:
    case ADMIT_ACCOUNT_OTHER:
        return GRPC_PERMISSION_DENIED;
    case ADMIT_UNREVIEWED:
    case ADMIT_TOKEN_HELD:
        return GRPC_UNAVAILABLE;
    case ADMIT_TOKEN_BROKEN:
        return GRPC_INTERNAL;
    default:
        return GRPC_UNAUTHENTICATED;
    }
}

// The identity that the sidecar asks for. It proves nothing: it only chooses among several that are
// granted.
static const char *wanted_of(const Tabard__V1__SubscribeRequest *request)
{
    if (request->certificate_request != NULL &&
        request->certificate_request->spiffe_id[0] != '\0') {
        return request->certificate_request->spiffe_id;
    }
    for (size_t i = 0; i < request->node->n_metadata; i++) {
        if (strcmp(request->node->metadata[i]->key, "spiffe_id") == 0) {
            return request->node->metadata[i]->value;
        }
    }
    return "";
}

void session_refuse_admission(struct session *session, enum admit_result result, struct err *err)
{
    session->service->stats.admitted[result]++;
    if (result == ADMIT_TOKEN_BROKEN) { // our files' names are for our log alone
        char quoted[1024];
        log_error("msg=\"join tokens can't be read or kept\" stream=%" PRIu64 " error=%s",
                  session->number, log_quote(quoted, sizeof quoted, err->text));
        err_set(err, "the policy agent can't read or keep join tokens now; its own log says why");
    }
    err_prefix(err, "%s", admit_result_text(result));
    session_finish(session, SERVICE_END_NOT_ADMITTED, code_of(result), err->text);
}

// Makes room for a stream among those of its identity: the oldest goes.
static void make_room(struct share *share)
{
    if (share->num_streams >= SERVICE_STREAMS_OF_ONE) {
        session_end_oldest(share);
    }
}

bool session_end_oldest(struct share *share)
{
    LIST_EACH_SAFE(link, &share->streams) {
        struct share_stream *stream = LIST_OF(link, struct share_stream, link);
        struct session *session = LIST_OF(stream, struct session, in_share);
        if (!session->is_over) {
            session_finish(session, SERVICE_END_LIMIT, GRPC_RESOURCE_EXHAUSTED,
                           "too many streams (streams_max), and this is the oldest of the identity "
                           "that has the most");
            return true;
        }
    }
    return false;
}

static bool has_account_token(const Tabard__V1__SubscribeRequest *request)
{
    return request->node->service_account_token[0] != '\0';
}

// Returns the key of the workload that a pod is, where the fleet names it already; NULL: not yet,
// or not any more.
static const char *key_of_pod(const struct session *session, const struct account_pod *pod)
{
    const struct fleet *fleet = session->service->world.fleet;
    const char *key = session_find_pod(session, pod);
    return key != NULL && fleet_find_key(fleet, key, strlen(key)) != FLEET_NONE ? key : NULL;
}

// Says by its address which workload a sidecar is that showed no token; NULL: that can't be told.
static const char *key_by_address(struct session *session)
{
    const struct h2_peer *peer = grpc_call_peer(session->call);
    return peer->is_unix ? NULL : registry_owner(&session->service->world.registry, &peer->addr.ip);
}

// Chooses the workload that the sidecar is, of those that have its identity. false sets err.
static bool choose_key(struct session *session, const struct account_answer *review, const char *id,
                       struct err *err)
{
    const struct fleet *fleet = session->service->world.fleet;
    size_t len = strlen(id);
    uint32_t first = fleet_find(fleet, id, len);
    bool is_only = first + 1 >= fleet->workloads.num ||
                   strcmp(fleet_workload(fleet, first + 1)->spec->spiffe_id, id) != 0;
    const char *key = review != NULL ? key_of_pod(session, &review->pod)
                      : is_only      ? fleet_workload(fleet, first)->key
                                     : key_by_address(session);
    if (key == NULL || fleet_key_id_len(key) != len || memcmp(key, id, len) != 0) {
        return err_set(err, "nothing tells which of the workloads that are %s this is", id);
    }
    session->key = must_strdup(key);
    return true;
}

// Says what a sidecar's certificate proves: fills what admit is asked.
static void judge_certificate(const struct session *session, struct admit_request *asked,
                              struct verified_peer *verified, struct err *err)
{
    const struct h2_peer *peer = grpc_call_peer(session->call);
    const struct ca_trust *trust = session->service->world.trust;
    if (!tls_has_certificate(peer)) {
        return;
    }
    if (tls_peer(verified, peer, trust->bundles, asked->now, err) == VERIFY_OK) {
        asked->certificate_id = verified->id;
    } else {
        asked->certificate_error = err->text;
    }
}

static bool admit_session(struct session *session, const struct account_answer *review)
{
    struct service *service = session->service;
    const Tabard__V1__SubscribeRequest *request = session->first;
    const struct h2_peer *peer = grpc_call_peer(session->call);
    struct verified_peer verified;
    struct admission admission;
    struct err err = {{0}, {0}};
    struct err tls_err = {{0}, {0}};
    struct admit_request asked = {.dir = service->dir,
                                  .certificate_error = "",
                                  .is_unix = peer->is_unix,
                                  .uid = peer->uid,
                                  .token = request->node->join_token,
                                  .wanted_id = wanted_of(request),
                                  .review = review,
                                  .has_vain_token = review == NULL && has_account_token(request),
                                  .trust_domain = service->world.trust->domain,
                                  .now = now_date_s()};
    judge_certificate(session, &asked, &verified, &tls_err);
    enum admit_result result = admit(&admission, service->world.fleet, &asked, &err);
    if (result == ADMIT_OK && !choose_key(session, review, admission.id, &err)) {
        result = ADMIT_AMBIGUOUS;
    }
    if (result != ADMIT_OK) {
        session_refuse_admission(session, result, &err);
        return false;
    }
    session->admitted_unix = asked.now;
    session->proof = admission.proof;
    session->token = admission.token;
    session->uid = peer->uid;
    session->id = must_strdup(admission.id);
    return review == NULL || session_bind(session, &review->pod, &err);
}

// Claims those addresses of the node that the fleet gives this identity. A host may have others,
// too; only to have none of the fleet's is an error.
static bool claim_addresses_of(struct session *session, const Tabard__V1__Node *node,
                               struct err *err)
{
    struct service *service = session->service;
    struct ip addresses[REGISTRY_ADDRESSES_MAX];
    struct claim_spec spec = {
        .id = session->id, .addresses = addresses, .since_us = service_now_us()};
    uint32_t number = fleet_find(service->world.fleet, session->id, strlen(session->id));
    if (fleet_workload(service->world.fleet, number)->spec->n_ports == 0 ||
        service->reviews != NULL) {
        return true; // nobody calls it, or its addresses are not its own to say
    }
    for (size_t i = 0; i < node->n_addresses; i++) {
        struct ip ip;
        if (!ip_parse(&ip, node->addresses[i], err)) {
            return err_prefix(err, "node.addresses[%zu]", i);
        }
        if (fleet_allows_address(service->world.fleet, number, &ip)) {
            if (spec.num_addresses == REGISTRY_ADDRESSES_MAX) {
                return err_set(err, "more than %d addresses", REGISTRY_ADDRESSES_MAX);
            }
            addresses[spec.num_addresses++] = ip;
        }
    }
    if (spec.num_addresses == 0) {
        return err_set(err,
                       "none of the %zu addresses in node is one that the fleet gives %s, which "
                       "has ports to be called at",
                       node->n_addresses, session->id);
    }
    session->claim = registry_claim(&service->world.registry, &spec, err);
    if (session->claim == NULL) {
        return false;
    }
    registry_dir_write(service->registry, session->number, session->claim);
    return true;
}

static bool has_deltas(const Tabard__V1__Node *node)
{
    for (size_t i = 0; i < node->n_capabilities; i++) {
        if (strcmp(node->capabilities[i], "destination_deltas") == 0) {
            return true;
        }
    }
    return false;
}

// Goes on with the first request of a stream. review: of its token; NULL: it needs none.
static void join(struct session *session, const struct account_answer *review)
{
    struct service *service = session->service;
    const Tabard__V1__SubscribeRequest *request = session->first;
    struct err err = {{0}, {0}};
    char node[SESSION_NODE_MAX * 4 + 3], pod[SESSION_POD_TEXT_BYTES];
    if (!admit_session(session, review)) {
        return;
    }
    if (!claim_addresses_of(session, request->node, &err)) {
        session_finish(session, SERVICE_END_ADDRESS, GRPC_PERMISSION_DENIED, err.text);
        return;
    }
    if (!session_hold_token(session)) {
        return;
    }
    service->stats.admitted[ADMIT_OK]++;
    session->has_joined = true;
    list_remove(&session->stranger_link);
    grpc_call_prove(session->call);
    share_join(&service->shares, &session->in_share, session->id);
    make_room(session->in_share.share);
    if (!world_join(&service->world, &session->viewer, session->key, &err)) {
        session_finish(session, SERVICE_END_OURS, GRPC_INTERNAL, err.text);
        return;
    }
    session->viewer.wants_deltas = has_deltas(request->node);
    session->held = request->version_in_force;
    session_compare(session);
    log_info("msg=admitted stream=%" PRIu64 " id=%s by=%s node=%s held=%" PRIu64 "%s",
             session->number, session->id, admit_proof_text(session->proof),
             log_quote(node, sizeof node, session->node), request->version_in_force,
             session_pod_text(session, pod));
    if (request->certificate_request != NULL) {
        session_sign(session, request->certificate_request, review != NULL);
    }
}

// Ends the wait for a first request: what it was is decided.
static void decide(struct session *session, const struct account_answer *review)
{
    join(session, review);
    session_free_request(session->first);
    session->first = NULL;
    if (session->is_paused) {
        session->is_paused = false;
        grpc_call_resume(session->call);
    }
    session_advance(session);
}

// Goes on once the token is reviewed, unless the pod has still to become known.
static void on_reviewed(void *ctx, const struct account_answer *answer)
{
    struct session *session = ctx;
    session->review = NULL;
    if (session->is_over) {
        return;
    }
    if (answer->result == ACCOUNT_OK && key_of_pod(session, &answer->pod) == NULL) {
        session->reviewed = must_alloc(1, sizeof *answer);
        *session->reviewed = *answer;
        session->pod_due_ms = uv_now(session->service->loop) + SERVICE_POD_WAIT_MS;
        return;
    }
    decide(session, answer);
}

void session_first_again(struct session *session)
{
    struct account_answer *reviewed = session->reviewed;
    const struct account_answer gone = {.result = ACCOUNT_POD_GONE,
                                        .words = "there is no such pod in the mesh (any more)"};
    bool is_there = key_of_pod(session, &reviewed->pod) != NULL;
    if (!is_there && uv_now(session->service->loop) < session->pod_due_ms) {
        return;
    }
    session->reviewed = NULL;
    decide(session, is_there ? reviewed : &gone);
    free(reviewed);
}

// Asks about the token of the first request.
static void ask_review(struct session *session)
{
    struct service *service = session->service;
    struct verified_peer verified;
    struct account_answer answer;
    struct err err = {{0}, {0}};
    struct admit_request asked = {.now = now_date_s()};
    judge_certificate(session, &asked, &verified, &err);
    session->is_paused = true;
    grpc_call_pause(session->call);
    session->review = reviews_ask(service->reviews, session->first->node->service_account_token,
                                  grpc_call_peer(session->call), asked.certificate_id != NULL,
                                  &answer, on_reviewed, session);
    if (session->review == NULL) {
        on_reviewed(session, &answer);
    }
}

void session_first(struct session *session, Tabard__V1__SubscribeRequest *request)
{
    bool is_second = session->first != NULL;
    const char *wrong = is_second ? "a request before the first one was answered"
                        : request->node == NULL || request->node->id[0] == '\0'
                            ? "a stream's first request says who asks: node, with an id"
                        : request->result != NULL ? "a result before any response"
                                                  : NULL;
    if (wrong != NULL) {
        session_free_request(request);
        session_finish(session, SERVICE_END_MALFORMED, GRPC_INVALID_ARGUMENT, wrong);
        return;
    }
    session->first = request;
    session->due_ms = 0;
    snprintf(session->node, sizeof session->node, "%s", request->node->id);
    if (session->service->reviews != NULL && has_account_token(request)) {
        ask_review(session);
    } else {
        decide(session, NULL);
    }
}
