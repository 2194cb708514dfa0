// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/admit.h"

#include <stdio.h>
#include <string.h>

const char *admit_result_text(enum admit_result result)
{
    static const char *const texts[] = {
#define X(name, text) text,
        ADMIT_RESULTS(X)
#undef X
    };
    return (unsigned)result < ADMIT_NUM_RESULTS ? texts[result] : "unknown";
}

const char *admit_proof_text(enum admit_proof proof)
{
    static const char *const texts[] = {"certificate", "unix_uid", "join_token", "service_account"};
    return texts[proof];
}

static const Tabard__V1__Workload *find(const struct fleet *fleet, const char *id)
{
    uint32_t number = fleet_find(fleet, id, strlen(id));
    return number == FLEET_NONE ? NULL : fleet_workload(fleet, number)->spec;
}

static enum admit_result grant(struct admission *out, const char *id, enum admit_proof proof)
{
    snprintf(out->id, sizeof out->id, "%s", id);
    out->proof = proof;
    return ADMIT_OK;
}

static bool is_wanted(const struct admit_request *request, const char *id)
{
    return request->wanted_id[0] == '\0' || strcmp(request->wanted_id, id) == 0;
}

struct uid_search {
    const struct fleet *fleet;
    const struct admit_request *request;
    const char *id;
    uint32_t num;
};

static bool on_workload(void *ctx, uint32_t number)
{
    struct uid_search *search = ctx;
    const char *id = fleet_workload(search->fleet, number)->spec->spiffe_id;
    if (is_wanted(search->request, id)) {
        search->id = id;
        search->num++;
    }
    return search->num < 2;
}

static enum admit_result by_uid(struct admission *out, const struct fleet *fleet,
                                const struct admit_request *request, struct err *err)
{
    struct uid_search search = {.fleet = fleet, .request = request};
    uint32_t uid = request->uid;
    multimap_each(&fleet->by_uid, &uid, sizeof uid, 0, on_workload, &search);
    if (search.num == 1) {
        return grant(out, search.id, ADMIT_BY_UNIX_UID);
    }
    if (search.num > 1) {
        err_set(err, "user %u may be any of several identities: ask for one (spiffe_id)", uid);
        return ADMIT_AMBIGUOUS;
    }
    err_set(err, "no workload %s%slists user %u in unix_uids", request->wanted_id,
            request->wanted_id[0] == '\0' ? "" : " that ", uid);
    return ADMIT_NOT_NAMED;
}

// Grants an identity that a certificate or a token proved, if the fleet names it and takes that
// proof of it.
static enum admit_result grant_proved(struct admission *out, const struct fleet *fleet,
                                      const char *id, enum admit_proof proof, struct err *err)
{
    if (find(fleet, id) == NULL) {
        err_set(err, "the fleet doesn't name %s", id);
        return ADMIT_NOT_NAMED;
    }
    if (!admit_still(fleet, id, proof, 0)) {
        err_set(err, "the fleet doesn't admit %s by_%s", id, admit_proof_text(proof));
        return ADMIT_NOT_NAMED;
    }
    return grant(out, id, proof);
}

static enum admit_result by_certificate(struct admission *out, const struct fleet *fleet,
                                        const struct admit_request *request, struct err *err)
{
    const char *id = request->certificate_id;
    if (!is_wanted(request, id)) {
        err_set(err, "the certificate proves %s, which may not become %s", id, request->wanted_id);
        return ADMIT_CERTIFICATE;
    }
    return grant_proved(out, fleet, id, ADMIT_BY_CERTIFICATE, err);
}

enum admit_result admit_token_result(enum token_result result)
{
    switch (result) {
    case TOKEN_OK:
        return ADMIT_OK;
    case TOKEN_UNKNOWN:
        return ADMIT_TOKEN_UNKNOWN;
    case TOKEN_USED:
        return ADMIT_TOKEN_USED;
    case TOKEN_HELD:
        return ADMIT_TOKEN_HELD;
    case TOKEN_EXPIRED:
        return ADMIT_TOKEN_EXPIRED;
    default:
        return ADMIT_TOKEN_BROKEN;
    }
}

static enum admit_result by_token(struct admission *out, const struct fleet *fleet,
                                  const struct admit_request *request, struct err *err)
{
    char id[SPIFFE_ID_LEN_MAX + 1];
    enum token_result found =
        token_find(&out->token, id, request->dir, request->token, request->now, err);
    if (found != TOKEN_OK) {
        return admit_token_result(found);
    }
    if (!is_wanted(request, id)) {
        err_set(err, "the join token was made for %s, not for %s", id, request->wanted_id);
        return ADMIT_TOKEN_OTHER;
    }
    return grant_proved(out, fleet, id, ADMIT_BY_JOIN_TOKEN, err);
}

enum admit_result admit_review_result(enum account_result result)
{
    static const enum admit_result results[] = {
        [ACCOUNT_OK] = ADMIT_OK,
        [ACCOUNT_MALFORMED] = ADMIT_ACCOUNT_MALFORMED,
        [ACCOUNT_EXPIRED] = ADMIT_ACCOUNT_EXPIRED,
        [ACCOUNT_OTHER_AUDIENCE] = ADMIT_ACCOUNT_AUDIENCE,
        [ACCOUNT_GONE] = ADMIT_ACCOUNT_GONE,
        [ACCOUNT_POD_GONE] = ADMIT_POD_GONE,
        [ACCOUNT_REFUSED] = ADMIT_ACCOUNT_REFUSED,
        [ACCOUNT_NO_ACCOUNT] = ADMIT_NO_ACCOUNT,
        [ACCOUNT_NO_POD] = ADMIT_NO_POD,
        [ACCOUNT_UNAVAILABLE] = ADMIT_UNREVIEWED,
    };
    _Static_assert(sizeof results / sizeof results[0] == ACCOUNT_NUM_RESULTS, "one is missing");
    return results[result];
}

bool admit_account_id(char out[SPIFFE_ID_LEN_MAX + 1], const char *trust_domain,
                      const struct account_pod *pod, struct err *err)
{
    struct spiffe_id id;
    int len = snprintf(out, SPIFFE_ID_LEN_MAX + 1, "spiffe://%s/ns/%s/sa/%s", trust_domain, pod->ns,
                       pod->account);
    return (len <= SPIFFE_ID_LEN_MAX && spiffe_workload_parse(&id, out, (size_t)len, err)) ||
           err_prefix(err, "the service account %s/%s has no identity", pod->ns, pod->account);
}

static enum admit_result by_account(struct admission *out, const struct fleet *fleet,
                                    const struct admit_request *request, struct err *err)
{
    char id[SPIFFE_ID_LEN_MAX + 1];
    const struct account_answer *review = request->review;
    if (review->result != ACCOUNT_OK) {
        err_set(err, "%s", review->words);
        return admit_review_result(review->result);
    }
    if (!admit_account_id(id, request->trust_domain, &review->pod, err)) {
        return ADMIT_NOT_NAMED;
    }
    if (!is_wanted(request, id)) {
        err_set(err, "the token proves %s, which may not become %s", id, request->wanted_id);
        return ADMIT_ACCOUNT_OTHER;
    }
    if (request->certificate_id != NULL && strcmp(request->certificate_id, id) != 0) {
        err_set(err, "the token proves %s, and the certificate %s", id, request->certificate_id);
        return ADMIT_ACCOUNT_OTHER;
    }
    return grant_proved(out, fleet, id, ADMIT_BY_SERVICE_ACCOUNT, err);
}

// Refuses a sidecar that showed no certificate, or one that proves nothing.
static enum admit_result no_certificate(const struct admit_request *request, struct err *err)
{
    if (request->certificate_error[0] != '\0') {
        err_set(err, "the certificate proves no identity: %s", request->certificate_error);
        return ADMIT_CERTIFICATE;
    }
    err_set(err, "nothing proves who this is; a certificate or a join token would%s",
            request->has_vain_token
                ? ", and the token of a service account where there is an API server to ask"
                : "");
    return ADMIT_NO_PROOF;
}

enum admit_result admit(struct admission *out, const struct fleet *fleet,
                        const struct admit_request *request, struct err *err)
{
    *out = (struct admission){.id = ""};
    if (request->review != NULL) {
        return by_account(out, fleet, request, err);
    }
    enum admit_result result = request->certificate_id != NULL
                                   ? by_certificate(out, fleet, request, err)
                                   : no_certificate(request, err);
    if (result == ADMIT_OK) {
        return ADMIT_OK;
    }
    // A refusal names the last proof that was tried.
    if (request->is_unix && (result = by_uid(out, fleet, request, err)) == ADMIT_OK) {
        return ADMIT_OK;
    }
    return request->token[0] != '\0' ? by_token(out, fleet, request, err) : result;
}

static bool has_uid(const Tabard__V1__Workload *workload, uid_t uid)
{
    for (size_t i = 0; i < workload->n_unix_uids; i++) {
        if (workload->unix_uids[i] == uid) {
            return true;
        }
    }
    return false;
}

bool admit_still(const struct fleet *fleet, const char *id, enum admit_proof proof, uid_t uid)
{
    const Tabard__V1__Workload *workload = find(fleet, id);
    if (workload == NULL) {
        return false;
    }
    switch (proof) {
    case ADMIT_BY_CERTIFICATE:
        return workload->by_certificate;
    case ADMIT_BY_UNIX_UID:
        return has_uid(workload, uid);
    case ADMIT_BY_SERVICE_ACCOUNT:
        return workload->by_service_account;
    case ADMIT_BY_JOIN_TOKEN:
        return workload->by_join_token;
    }
    return false;
}
