// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/ca/issue.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bucket.h"
#include "base/log.h"
#include "base/must.h"
#include "control/policyd/ca/sign.h"

struct issue_job {
    struct issue_job *next;
    issue_on_done *on_done; // NULL: nobody waits
    void *ctx;
    struct issue_request request; // its pointers are owned
    struct signed_chain chain;
    struct err err;
    bool is_ok;
};

struct issuer {
    uv_loop_t *loop;
    char *ca_dir; // owned
    uv_work_t work;
    struct issue_job *waiting; // owned; not with the worker yet
    struct issue_job **waiting_end;
    size_t num_waiting;
    struct issue_job *working; // owned; the worker's
    X509 *ca; // owned, counted; the worker's: the CA's certificate, kept while it is the same
    struct err crl_err;
    struct bucket bucket;
    struct issuer_stats stats;
    bool wants_crl; // the next work looks at the CRL, too
    bool is_on_crl; // the work under way does
    bool did_crl;   // and it has written one
    bool is_working;
    bool is_closing;
};

static void free_job(struct issue_job *job)
{
    for (size_t i = 0; i < job->request.num_dns_names; i++) {
        free(job->request.dns_names[i]);
    }
    free((void *)job->request.dns_names);
    free((void *)job->request.csr);
    free((void *)job->request.spiffe_id);
    signed_chain_cleanup(&job->chain);
    free(job);
}

static void free_jobs(struct issue_job *job)
{
    while (job != NULL) {
        struct issue_job *next = job->next;
        free_job(job);
        job = next;
    }
}

struct issuer *issuer_new(uv_loop_t *loop, const char *ca_dir)
{
    struct issuer *issuer = must_alloc(1, sizeof *issuer);
    issuer->ca_dir = must_strdup(ca_dir);
    issuer->loop = loop;
    issuer->waiting_end = &issuer->waiting;
    issuer->bucket = bucket_full(ISSUE_BURST_MAX, ISSUE_PER_SECOND_MAX);
    return issuer;
}

static void free_issuer(struct issuer *issuer)
{
    free_jobs(issuer->waiting);
    X509_free(issuer->ca);
    free(issuer->ca_dir);
    free(issuer);
}

// Puts the certificate that was read before in the place of an equal one, so that all who hold it
// hold one object.
static void share_ca(struct issuer *issuer, struct ca_store *store)
{
    if (issuer->ca == NULL || X509_cmp(issuer->ca, store->ca.cert) != 0) {
        X509_free(issuer->ca);
        issuer->ca = store->ca.cert;
    } else {
        X509_free(store->ca.cert);
        store->ca.cert = issuer->ca;
    }
    X509_up_ref(issuer->ca);
}

static void on_work(uv_work_t *work)
{
    struct issuer *issuer = work->data;
    struct ca_store store = {.dir = NULL};
    struct err err = {{0}, {0}};
    bool is_open = ca_store_open(&store, issuer->ca_dir, &err);
    if (is_open) {
        share_ca(issuer, &store);
    }
    for (struct issue_job *job = issuer->working; job != NULL; job = job->next) {
        job->err = err;
        job->is_ok =
            is_open && sign_request(&job->chain, &store, &job->request, time(NULL), &job->err);
    }
    if (is_open && issuer->is_on_crl) {
        sign_crl(&store, time(NULL), &issuer->did_crl, &issuer->crl_err);
    }
    ca_store_close(&store);
}

static void start(struct issuer *issuer);

static void report(struct issuer *issuer, struct issue_job *job)
{
    char text[sizeof job->err.text + 200];
    struct issue_result result = {.error =
                                      job->is_ok ? NULL : err_text(&job->err, text, sizeof text),
                                  .chain = job->chain.certs,
                                  .chain_lens = job->chain.lens,
                                  .num_certs = job->chain.num_certs,
                                  .serial = job->chain.serial,
                                  .issuer = job->chain.issuer,
                                  .not_after = job->chain.not_after};
    issuer->stats.num_issued += job->is_ok;
    issuer->stats.num_refused += !job->is_ok;
    if (job->on_done != NULL) {
        job->on_done(job->ctx, &result);
    }
}

static void on_work_done(uv_work_t *work, int status)
{
    (void)status;
    struct issuer *issuer = work->data;
    struct issue_job *jobs = issuer->working;
    char quoted[512];
    issuer->working = NULL;
    issuer->is_working = false;
    if (issuer->is_closing) {
        free_jobs(jobs);
        free_issuer(issuer);
        return;
    }
    if (issuer->did_crl) {
        issuer->stats.num_crls++;
        log_info("msg=\"CRL written anew\"");
    } else if (issuer->is_on_crl && issuer->crl_err.text[0] != '\0') {
        log_error("msg=\"CRL not written\" error=%s",
                  log_quote(quoted, sizeof quoted, issuer->crl_err.text));
    }
    for (struct issue_job *job = jobs; job != NULL; job = job->next) {
        report(issuer, job);
    }
    free_jobs(jobs);
    start(issuer);
}

static void start(struct issuer *issuer)
{
    if (issuer->is_working || (issuer->waiting == NULL && !issuer->wants_crl)) {
        return;
    }
    issuer->working = issuer->waiting;
    issuer->waiting = NULL;
    issuer->waiting_end = &issuer->waiting;
    issuer->num_waiting = 0;
    issuer->is_on_crl = issuer->wants_crl;
    issuer->wants_crl = issuer->did_crl = false;
    issuer->crl_err = (struct err){{0}, {0}};
    issuer->work.data = issuer;
    issuer->is_working = uv_queue_work(issuer->loop, &issuer->work, on_work, on_work_done) == 0;
    invariant(issuer->is_working);
}

static void copy_request(struct issue_request *out, const struct issue_request *request)
{
    char **names = must_alloc(request->num_dns_names, sizeof *names);
    for (size_t i = 0; i < request->num_dns_names; i++) {
        names[i] = must_strdup(request->dns_names[i]);
    }
    *out = (struct issue_request){.csr = must_copy(request->csr, request->csr_len),
                                  .csr_len = request->csr_len,
                                  .spiffe_id = must_strdup(request->spiffe_id),
                                  .dns_names = names,
                                  .num_dns_names = request->num_dns_names,
                                  .seconds = request->seconds};
}

struct issue_job *issue(struct issuer *issuer, const struct issue_request *request,
                        issue_on_done *on_done, void *ctx, struct err *err)
{
    if (request->csr_len == 0 || request->csr_len > ISSUE_CSR_BYTES_MAX) {
        issuer->stats.num_refused++;
        err_set(err, "the signing request has %zu bytes, not 1 to %d", request->csr_len,
                ISSUE_CSR_BYTES_MAX);
        return NULL;
    }
    if (issuer->num_waiting >= ISSUE_WAITING_MAX ||
        !bucket_take(&issuer->bucket, uv_now(issuer->loop))) {
        issuer->stats.num_limited++;
        err_set(err,
                "too many signing requests of all sidecars (%d at once, %d a second); try again "
                "later",
                ISSUE_BURST_MAX, ISSUE_PER_SECOND_MAX);
        return NULL;
    }
    struct issue_job *job = must_alloc(1, sizeof *job);
    copy_request(&job->request, request);
    job->on_done = on_done;
    job->ctx = ctx;
    *issuer->waiting_end = job;
    issuer->waiting_end = &job->next;
    issuer->num_waiting++;
    start(issuer);
    return job;
}

void issue_forget(struct issue_job *job)
{
    if (job != NULL) {
        job->on_done = NULL;
    }
}

void issuer_renew_crl(struct issuer *issuer)
{
    issuer->wants_crl = true;
    start(issuer);
}

void issuer_close(struct issuer *issuer)
{
    if (issuer == NULL) {
        return;
    }
    issuer->is_closing = true;
    if (!issuer->is_working) {
        free_issuer(issuer);
    }
}

const struct issuer_stats *issuer_stats(const struct issuer *issuer)
{
    return &issuer->stats;
}
