// SPDX-License-Identifier: Apache-2.0
//
// A stream's first request (who it is, where it is) and its signing requests.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/must.h"
#include "control/policyd/stream/session.h"
#include "control/policyd/stream/tls.h"
#include "proto/policy_agent_fields.h"

static enum grpc_code code_of(enum admit_result result)
{
    switch (result) {
    case ADMIT_NOT_NAMED:
    case ADMIT_AMBIGUOUS:
    case ADMIT_TOKEN_OTHER:
        return GRPC_PERMISSION_DENIED;
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

static void refuse_admission(struct session *session, enum admit_result result, struct err *err)
{
    session->service->stats.admitted[result]++;
    err_prefix(err, "%s", admit_result_text(result));
    session_finish(session, SERVICE_END_NOT_ADMITTED, code_of(result), err->text);
}

// Uses up the token that admits the sidecar, which nothing can refuse any more.
static bool spend_token(struct session *session)
{
    struct err err = {{0}, {0}};
    if (session->proof != ADMIT_BY_JOIN_TOKEN) {
        return true;
    }
    enum token_result result = token_spend(&session->token, session->service->dir, &err);
    if (result != TOKEN_OK) {
        session->token = (struct token_name){""};
        session->loses_claim = true;
        refuse_admission(session, admit_token_result(result), &err);
        return false;
    }
    return true;
}

void session_give_token_back(struct session *session)
{
    bool was_asked_in_vain = session->issued.len == 0 && session->num_csrs > 0;
    if (session->token.text[0] != '\0' && session->has_joined && was_asked_in_vain) {
        log_info("msg=\"join token given back: no certificate was issued for it\" stream=%" PRIu64
                 " id=%s",
                 session->number, session->id);
        token_give_back(&session->token, session->service->dir);
    }
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

static bool admit_session(struct session *session, const Tabard__V1__SubscribeRequest *request)
{
    struct service *service = session->service;
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
                                  .now = time(NULL)};
    if (tls_has_certificate(peer)) {
        if (tls_peer(&verified, peer, service->world.trust->bundles, asked.now, &tls_err) ==
            VERIFY_OK) {
            asked.certificate_id = verified.id;
        } else {
            asked.certificate_error = tls_err.text;
        }
    }
    enum admit_result result = admit(&admission, service->world.fleet, &asked, &err);
    if (result != ADMIT_OK) {
        refuse_admission(session, result, &err);
        return false;
    }
    session->admitted_unix = asked.now;
    session->proof = admission.proof;
    session->token = admission.token;
    session->uid = peer->uid;
    session->id = must_strdup(admission.id);
    return true;
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
    if (fleet_workload(service->world.fleet, number)->spec->n_ports == 0) {
        return true; // nobody calls it, so its addresses don't matter
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

void session_first(struct session *session, const Tabard__V1__SubscribeRequest *request)
{
    struct service *service = session->service;
    struct err err = {{0}, {0}};
    char node[SESSION_NODE_MAX * 4 + 3];
    if (request->node == NULL || request->node->id[0] == '\0') {
        session_finish(session, SERVICE_END_MALFORMED, GRPC_INVALID_ARGUMENT,
                       "a stream's first request says who asks: node, with an id");
        return;
    }
    if (request->result != NULL) {
        session_finish(session, SERVICE_END_MALFORMED, GRPC_INVALID_ARGUMENT,
                       "a result before any response");
        return;
    }
    snprintf(session->node, sizeof session->node, "%s", request->node->id);
    if (!admit_session(session, request)) {
        return;
    }
    if (!claim_addresses_of(session, request->node, &err)) {
        session_finish(session, SERVICE_END_ADDRESS, GRPC_PERMISSION_DENIED, err.text);
        return;
    }
    if (!spend_token(session)) {
        return;
    }
    service->stats.admitted[ADMIT_OK]++;
    session->has_joined = true;
    list_remove(&session->stranger_link);
    grpc_call_prove(session->call);
    share_join(&service->shares, &session->in_share, session->id);
    make_room(session->in_share.share);
    if (!world_join(&service->world, &session->viewer, session->id, &err)) {
        session_finish(session, SERVICE_END_OURS, GRPC_INTERNAL, err.text);
        return;
    }
    session->viewer.wants_deltas = has_deltas(request->node);
    session->due_ms = 0;
    session->held = request->version_in_force;
    session_compare(session);
    log_info("msg=admitted stream=%" PRIu64 " id=%s by=%s node=%s held=%" PRIu64, session->number,
             session->id, admit_proof_text(session->proof),
             log_quote(node, sizeof node, session->node), request->version_in_force);
}

static void answer_csr(struct session *session, const char *text)
{
    char quoted[1024];
    log_warn("msg=\"certificate refused\" stream=%" PRIu64 " id=%s error=%s", session->number,
             session->id, log_quote(quoted, sizeof quoted, text));
    bytes_cleanup(&session->answer);
    pb_wire_put_field(&session->answer, RESPONSE_CERTIFICATE_ERROR, text, strlen(text));
}

static void refuse_csr(struct session *session, const char *text)
{
    answer_csr(session, text);
    if (++session->num_csrs_refused > SERVICE_CSR_REFUSED_MAX) {
        session_finish(session, SERVICE_END_CSR_FLOOD, GRPC_RESOURCE_EXHAUSTED,
                       "too many signing requests that had to be refused");
    }
}

// Tells the sidecar to ask again later. That ends no stream, however often, unless the sidecar asks
// again at once each time.
static void limit_csr(struct session *session, const char *text)
{
    uint64_t now = uv_now(session->service->loop);
    bool is_patient =
        session->limited_ms == 0 || now - session->limited_ms >= SERVICE_CSR_PATIENCE_MS;
    session->limited_ms = now;
    if (is_patient) {
        answer_csr(session, text);
    } else {
        refuse_csr(session, text);
    }
}

static void on_issued(void *ctx, const struct issue_result *result)
{
    struct session *session = ctx;
    struct bytes chain = {0};
    session->job = NULL;
    if (session->is_over) {
        return;
    }
    if (result->error != NULL) {
        refuse_csr(session, result->error);
    } else {
        for (size_t i = 0; i < result->num_certs; i++) {
            pb_wire_put_field(&chain, ISSUED_CHAIN, result->chain[i], result->chain_lens[i]);
        }
        bytes_cleanup(&session->answer);
        pb_wire_put_field(&session->answer, RESPONSE_CERTIFICATE, chain.at, chain.len);
        session->has_certificate = true;
        session->service->stats.num_certificates++;
        session->issued = result->serial;
        X509_free(session->issuer);
        X509_up_ref(result->issuer);
        session->issuer = result->issuer;
        log_info("msg=issued stream=%" PRIu64 " id=%s not_after=%" PRId64, session->number,
                 session->id, result->not_after);
        bytes_cleanup(&chain);
    }
    session_advance(session);
}

void session_sign(struct session *session, const Tabard__V1__CertificateRequest *request)
{
    struct service *service = session->service;
    struct err err = {{0}, {0}};
    uint32_t number = fleet_find(service->world.fleet, session->id, strlen(session->id));
    session->num_csrs++;
    if (session->job != NULL || session->answer.len > 0) {
        session_finish(session, SERVICE_END_CSR_FLOOD, GRPC_RESOURCE_EXHAUSTED,
                       "a signing request before the last one was answered");
        return;
    }
    if (request->spiffe_id[0] != '\0' && strcmp(request->spiffe_id, session->id) != 0) {
        err_set(&err, "this stream was admitted as %s", session->id);
        refuse_csr(session, err.text);
        return;
    }
    if (!bucket_take(&session->csrs, uv_now(service->loop))) {
        service->stats.num_csr_limited++;
        limit_csr(session, "too many signing requests on this stream: ask again later");
        return;
    }
    if (number == FLEET_NONE) {
        return; // the stream is about to end
    }
    const Tabard__V1__Workload *workload = fleet_workload(service->world.fleet, number)->spec;
    const struct issue_request asked = {.csr = request->csr.data,
                                        .csr_len = request->csr.len,
                                        .spiffe_id = session->id,
                                        .dns_names = workload->dns_names,
                                        .num_dns_names = workload->n_dns_names,
                                        .seconds = workload->certificate_seconds != 0
                                                       ? workload->certificate_seconds
                                                       : FLEET_CERTIFICATE_SECONDS};
    bool is_limited = false;
    session->job = issue(service->issuer, &session->in_share.share->queue, &asked, on_issued,
                         session, &is_limited, &err);
    session->job_since_ms = uv_now(service->loop);
    if (session->job == NULL && is_limited) {
        limit_csr(session, err.text);
    } else if (session->job == NULL) {
        refuse_csr(session, err.text);
    }
}
