// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/ca/issue.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "base/now.h"
#include "control/policyd/ca/sign.h"

#define OURS_LOG_MS 10000 // between two lines about the CA's trouble
#define AGAIN_MS    50    // between looks at what waits for a bucket or for the CA

struct issue_job {
    struct issue_job *next;
    struct issuer *issuer;     // borrowed
    struct issue_queue *queue; // borrowed while it waits; NULL: the worker has it
    issue_on_done *on_done;    // NULL: nobody waits
    void *ctx;
    struct issue_request request; // its pointers are owned
    uint64_t since_ms;
    struct signed_chain chain;
    struct err err;
    bool is_ok;
    bool is_ours; // err is the CA's trouble, and no business of who asked
};

struct issuer {
    uv_loop_t *loop;
    char *ca_dir; // owned
    uv_work_t work;
    uv_timer_t again;
    struct list round; // of issue_queue: whose turn it is
    size_t num_waiting;
    size_t waiting_bytes;
    struct issue_job *working; // owned; the worker's
    struct issue_job *kept;    // owned; waited when the CA could not be opened: they go first
    X509 *ca; // owned, counted; the worker's: the CA's certificate, kept while it is the same
    struct err crl_err;
    struct err open_err; // why the CA could not be opened
    struct log_limit ours_log;
    struct bucket bucket;
    struct issuer_stats stats;
    bool wants_crl; // the next work looks at the CRL, too
    bool is_on_crl; // the work under way does
    bool did_crl;   // and it has written one
    bool is_open;   // the CA could be opened
    bool is_working;
    bool is_closing;
    bool is_timer_closed;
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

static void on_again(uv_timer_t *timer);

struct issuer *issuer_new(uv_loop_t *loop, const char *ca_dir)
{
    struct issuer *issuer = must_alloc(1, sizeof *issuer);
    issuer->ca_dir = must_strdup(ca_dir);
    issuer->loop = loop;
    list_init(&issuer->round);
    issuer->bucket = bucket_full(ISSUE_BURST_MAX, ISSUE_PER_SECOND_MAX);
    uv_timer_init(loop, &issuer->again);
    issuer->again.data = issuer;
    return issuer;
}

// Frees an issuer that is closing, once neither its timer nor its worker uses it.
static void release(struct issuer *issuer)
{
    if (issuer->is_working || !issuer->is_timer_closed) {
        return;
    }
    while (!list_is_empty(&issuer->round)) {
        struct issue_queue *queue = LIST_OF(list_pop(&issuer->round), struct issue_queue, link);
        free_jobs(queue->first);
        queue->first = queue->last = NULL;
        queue->num = 0;
    }
    free_jobs(issuer->kept);
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

// Signs what is asked for, and records it all with one write.
static void sign_batch(struct issue_job *jobs, const struct ca_store *store)
{
    struct bytes notes = {0};
    struct err err = {{0}, {0}};
    for (struct issue_job *job = jobs; job != NULL; job = job->next) {
        job->is_ok =
            sign_request(&job->chain, store, &job->request, now_date_s(), &notes, &job->err);
    }
    if (notes.len > 0 && !ca_store_record_notes(store, &notes, &err)) {
        for (struct issue_job *job = jobs; job != NULL; job = job->next) {
            if (job->is_ok) {
                job->err = err;
                job->is_ours = true;
                job->is_ok = false;
            }
        }
    }
    bytes_cleanup(&notes);
}

static void on_work(uv_work_t *work)
{
    struct issuer *issuer = work->data;
    struct ca_store store = {.dir = NULL};
    issuer->open_err = (struct err){{0}, {0}};
    issuer->is_open = ca_store_open(&store, issuer->ca_dir, &issuer->open_err);
    if (issuer->is_open) {
        share_ca(issuer, &store);
    }
    if (issuer->is_open) {
        sign_batch(issuer->working, &store);
    }
    if (issuer->is_open && issuer->is_on_crl) {
        sign_crl(&store, now_date_s(), &issuer->did_crl, &issuer->crl_err);
    }
    ca_store_close(&store);
}

static void start(struct issuer *issuer);

// Writes what whoever asked is told. What names our files is for our log alone.
static const char *reason_of(struct issuer *issuer, const struct issue_job *job, char *buf,
                             size_t buf_len)
{
    uint64_t passed_over = 0;
    char quoted[2048];
    err_text(&job->err, buf, buf_len);
    if (!job->is_ours) {
        return buf;
    }
    if (log_allowed(&issuer->ours_log, uv_now(issuer->loop), OURS_LOG_MS, &passed_over)) {
        log_error("msg=\"the CA can't issue\" error=%s", log_quote(quoted, sizeof quoted, buf));
    }
    return "the CA can't issue certificates now; its own log says why";
}

static void report(struct issuer *issuer, struct issue_job *job)
{
    char text[sizeof job->err.text + 200];
    struct issue_result result = {.error =
                                      job->is_ok ? NULL : reason_of(issuer, job, text, sizeof text),
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

static void report_crl(const struct issuer *issuer)
{
    char quoted[512];
    if (issuer->is_on_crl && issuer->crl_err.text[0] != '\0') {
        log_error("msg=\"CRL not written\" error=%s",
                  log_quote(quoted, sizeof quoted, issuer->crl_err.text));
    } else if (issuer->did_crl) {
        log_info("msg=\"CRL written anew\"");
    }
}

static void on_work_done(uv_work_t *work, int status)
{
    (void)status;
    struct issuer *issuer = work->data;
    struct issue_job *job = issuer->working;
    struct issue_job **kept_end = &issuer->kept;
    issuer->working = NULL;
    issuer->stats.num_crls += issuer->did_crl;
    if (!issuer->is_closing) {
        report_crl(issuer);
    }
    uint64_t now = uv_now(issuer->loop);
    while (job != NULL) {
        struct issue_job *next = job->next;
        job->next = NULL;
        if (issuer->is_closing || (!issuer->is_open && job->on_done == NULL)) {
            free_job(job);
        } else if (!issuer->is_open && now - job->since_ms < ISSUE_RETRY_MS) {
            *kept_end = job;
            kept_end = &job->next;
        } else {
            if (!issuer->is_open) {
                job->err = issuer->open_err;
                job->is_ours = true;
            }
            report(issuer, job);
            free_job(job);
        }
        job = next;
    }
    issuer->is_working = false; // from here on another worker may take what is kept
    if (issuer->is_closing) {
        release(issuer);
    } else if (issuer->kept != NULL) {
        uv_timer_start(&issuer->again, on_again, AGAIN_MS, 0);
    } else {
        start(issuer);
    }
}

// Takes the first request of the next queue whose bucket has a drop. NULL: all wait for theirs.
static struct issue_job *take_next(struct issuer *issuer, uint64_t now)
{
    struct list *first_in_vain = NULL;
    while (!list_is_empty(&issuer->round) && issuer->round.next != first_in_vain) {
        struct issue_queue *queue = LIST_OF(list_pop(&issuer->round), struct issue_queue, link);
        if (!bucket_take(&queue->bucket, now)) {
            list_push(&issuer->round, &queue->link);
            first_in_vain = first_in_vain == NULL ? &queue->link : first_in_vain;
            continue;
        }
        struct issue_job *job = queue->first;
        queue->first = job->next;
        if (--queue->num > 0) {
            list_push(&issuer->round, &queue->link);
        } else {
            queue->last = NULL;
        }
        job->next = NULL;
        job->queue = NULL;
        issuer->num_waiting--;
        issuer->waiting_bytes -= job->request.csr_len;
        return job;
    }
    return NULL;
}

// Fills the worker's list from what waits.
static void take_batch(struct issuer *issuer)
{
    struct issue_job **end = &issuer->working;
    uint64_t now = uv_now(issuer->loop);
    issuer->working = issuer->kept;
    issuer->kept = NULL;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    for (int i = 0; i < ISSUE_BATCH_MAX && issuer->num_waiting > 0; i++) {
        if (!bucket_take(&issuer->bucket, now)) {
            break;
        }
        struct issue_job *job = take_next(issuer, now);
        if (job == NULL) {
            issuer->bucket.drops += 1; // nobody used it
            break;
        }
        *end = job;
        end = &job->next;
    }
}

static void start(struct issuer *issuer)
{
    if (issuer->is_working || issuer->is_closing ||
        uv_is_active((uv_handle_t *)&issuer->again) != 0) {
        return;
    }
    take_batch(issuer);
    if (issuer->working == NULL && !issuer->wants_crl) {
        if (issuer->num_waiting > 0) {
            uv_timer_start(&issuer->again, on_again, AGAIN_MS, 0);
        }
        return;
    }
    issuer->is_on_crl = issuer->wants_crl;
    issuer->wants_crl = issuer->did_crl = false;
    issuer->crl_err = (struct err){{0}, {0}};
    issuer->work.data = issuer;
    issuer->is_working = uv_queue_work(issuer->loop, &issuer->work, on_work, on_work_done) == 0;
    invariant(issuer->is_working);
}

static void on_again(uv_timer_t *timer)
{
    start(timer->data);
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

// Says how many requests of an asker may wait: those that its bucket lets through in about
// ISSUE_WAIT_MS.
static uint32_t queue_max(const struct issue_queue *queue)
{
    double num = queue->bucket.drops + queue->bucket.drops_per_ms * ISSUE_WAIT_MS;
    return num > ISSUE_QUEUE_MIN ? (uint32_t)num : ISSUE_QUEUE_MIN;
}

static bool check_limits(struct issuer *issuer, const struct issue_queue *queue, size_t csr_len,
                         bool *out_is_limited, struct err *err)
{
    *out_is_limited = false;
    if (csr_len == 0 || csr_len > ISSUE_CSR_BYTES_MAX) {
        issuer->stats.num_refused++;
        return err_set(err, "the signing request has %zu bytes, not 1 to %d", csr_len,
                       ISSUE_CSR_BYTES_MAX);
    }
    *out_is_limited = true;
    if (issuer->waiting_bytes + csr_len > ISSUE_WAITING_BYTES_MAX) {
        issuer->stats.num_limited++;
        return err_set(err, "too many signing requests of all sidecars wait: ask again later");
    }
    if (queue->num >= queue_max(queue)) {
        issuer->stats.num_limited_asker++;
        return err_set(err, "too many signing requests of this identity wait (%u): ask again later",
                       queue->num);
    }
    *out_is_limited = false;
    return true;
}

struct issue_job *issue(struct issuer *issuer, struct issue_queue *queue,
                        const struct issue_request *request, issue_on_done *on_done, void *ctx,
                        bool *out_is_limited, struct err *err)
{
    if (!check_limits(issuer, queue, request->csr_len, out_is_limited, err)) {
        return NULL;
    }
    struct issue_job *job = must_alloc(1, sizeof *job);
    copy_request(&job->request, request);
    job->issuer = issuer;
    job->queue = queue;
    job->on_done = on_done;
    job->ctx = ctx;
    job->since_ms = uv_now(issuer->loop);
    if (queue->first == NULL) {
        queue->first = job;
        list_push(&issuer->round, &queue->link);
    } else {
        queue->last->next = job;
    }
    queue->last = job;
    queue->num++;
    issuer->num_waiting++;
    issuer->waiting_bytes += request->csr_len;
    start(issuer);
    return job;
}

// Takes a request that waits out of its queue.
static void drop_waiting(struct issue_job *job)
{
    struct issue_queue *queue = job->queue;
    struct issue_job **link = &queue->first;
    struct issue_job *before = NULL;
    while (*link != job) {
        before = *link;
        link = &before->next;
    }
    *link = job->next;
    queue->last = queue->last == job ? before : queue->last;
    if (--queue->num == 0) {
        list_remove(&queue->link);
    }
    job->issuer->num_waiting--;
    job->issuer->waiting_bytes -= job->request.csr_len;
    free_job(job);
}

void issue_forget(struct issue_job *job)
{
    if (job != NULL && job->queue != NULL) {
        drop_waiting(job);
    } else if (job != NULL) {
        job->on_done = NULL;
    }
}

void issuer_renew_crl(struct issuer *issuer)
{
    issuer->wants_crl = true;
    start(issuer);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct issuer *issuer = handle->data;
    issuer->is_timer_closed = true;
    release(issuer);
}

void issuer_close(struct issuer *issuer)
{
    if (issuer != NULL) {
        issuer->is_closing = true;
        uv_close((uv_handle_t *)&issuer->again, on_timer_closed);
    }
}

const struct issuer_stats *issuer_stats(const struct issuer *issuer)
{
    return &issuer->stats;
}
