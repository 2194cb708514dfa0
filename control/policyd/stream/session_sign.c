// SPDX-License-Identifier: Apache-2.0
//
// The signing requests of a stream. Where a service account admits, each brings the pod's token
// again, and is signed once that is reviewed again.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/data/hex.h"
#include "base/log.h"
#include "base/must.h"
#include "control/policyd/stream/session.h"
#include "proto/policy_agent_fields.h"

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

// The serial number is what a pod's certificate is revoked by.
static void log_issued(const struct session *session, const struct issue_result *result)
{
    char serial[HEX_TEXT_LEN(CERT_SERIAL_LEN_MAX)], pod[SESSION_POD_TEXT_BYTES];
    log_info("msg=issued stream=%" PRIu64 " id=%s serial=%s not_after=%" PRId64 "%s",
             session->number, session->id,
             hex_text(result->serial.bytes, result->serial.len, serial), result->not_after,
             session_pod_text(session, pod));
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
    } else if (session_count_certificate(session)) {
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
        log_issued(session, result);
        bytes_cleanup(&chain);
    }
    session_advance(session);
}

static void issue_for(struct session *session, const uint8_t *csr, size_t csr_len,
                      const Tabard__V1__Workload *workload)
{
    struct service *service = session->service;
    struct err err = {{0}, {0}};
    const struct issue_request asked = {.csr = csr,
                                        .csr_len = csr_len,
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

static const Tabard__V1__Workload *workload_of(const struct session *session)
{
    const struct fleet *fleet = session->service->world.fleet;
    uint32_t number = fleet_find(fleet, session->id, strlen(session->id));
    return number == FLEET_NONE ? NULL : fleet_workload(fleet, number)->spec;
}

// Refuses a signing request by what is known of its token.
static void refuse_unproved(struct session *session, enum account_result result, const char *text)
{
    struct err err = {{0}, {0}};
    session->service->stats.num_csr_unproved++;
    err_set(&err, "%s: %s", admit_result_text(admit_review_result(result)), text);
    if (result == ACCOUNT_UNAVAILABLE) {
        limit_csr(session, err.text);
    } else if (result == ACCOUNT_POD_GONE || result == ACCOUNT_GONE) {
        session_finish(session, SERVICE_END_POD_GONE, GRPC_UNAUTHENTICATED, err.text);
    } else {
        refuse_csr(session, err.text);
    }
}

// Says whether the token of a signing request is this stream's own. false: it was refused.
static bool is_proved(struct session *session, const struct account_answer *answer)
{
    char id[SPIFFE_ID_LEN_MAX + 1];
    struct err err = {{0}, {0}};
    if (answer->result != ACCOUNT_OK) {
        refuse_unproved(session, answer->result, answer->words);
    } else if (!admit_account_id(id, session->service->world.trust->domain, &answer->pod, &err)) {
        refuse_unproved(session, ACCOUNT_REFUSED, err.text);
    } else if (strcmp(id, session->id) != 0) {
        err_set(&err, "the token proves %s, and this stream was admitted as %s", id, session->id);
        refuse_unproved(session, ACCOUNT_REFUSED, err.text);
    } else if (session_find_pod(session, &answer->pod) == NULL) {
        refuse_unproved(session, ACCOUNT_POD_GONE, "there is no such pod in the mesh (any more)");
    } else if (!session_bind(session, &answer->pod, &err)) {
        refuse_unproved(session, ACCOUNT_REFUSED, err.text);
    } else {
        return true;
    }
    return false;
}

static void on_reviewed(void *ctx, const struct account_answer *answer)
{
    struct session *session = ctx;
    struct bytes csr = session->csr;
    session->review = NULL;
    session->csr = (struct bytes){0};
    if (!session->is_over && is_proved(session, answer)) {
        const Tabard__V1__Workload *workload = workload_of(session);
        if (workload != NULL) { // else the stream is about to end
            issue_for(session, csr.at, csr.len, workload);
        }
    }
    bytes_cleanup(&csr);
    session_advance(session);
}

// Asks about the token of a signing request, which waits.
static void ask_review(struct session *session, const Tabard__V1__CertificateRequest *request)
{
    struct account_answer answer;
    if (request->service_account_token[0] == '\0') {
        refuse_unproved(session, ACCOUNT_MALFORMED,
                        "a certificate_request needs the pod's token (service_account_token)");
        return;
    }
    if (request->csr.len > ISSUE_CSR_BYTES_MAX) {
        refuse_csr(session, "the signing request is too long");
        return;
    }
    bytes_push(&session->csr, request->csr.data, request->csr.len);
    session->job_since_ms = uv_now(session->service->loop);
    session->review =
        reviews_ask(session->service->reviews, request->service_account_token,
                    grpc_call_peer(session->call), true, &answer, on_reviewed, session);
    if (session->review == NULL) {
        on_reviewed(session, &answer);
    }
}

bool session_signs(const struct session *session)
{
    return session->job != NULL || session->review != NULL;
}

void session_sign(struct session *session, const Tabard__V1__CertificateRequest *request,
                  bool is_reviewed)
{
    struct service *service = session->service;
    struct err err = {{0}, {0}};
    const Tabard__V1__Workload *workload = workload_of(session);
    session->num_csrs++;
    if (session_signs(session) || session->answer.len > 0) {
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
    if (workload == NULL) {
        return; // the stream is about to end
    }
    if (workload->by_service_account && service->reviews != NULL && !is_reviewed) {
        ask_review(session, request);
    } else {
        issue_for(session, request->csr.data, request->csr.len, workload);
    }
}
