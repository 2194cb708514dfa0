// SPDX-License-Identifier: Apache-2.0
#include "control/kube/webhook/webhook.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/data/list.h"
#include "base/log.h"
#include "base/must.h"
#include "base/pb/pb_copy.h"
#include "control/kube/webhook/review.h"
#include "control/kube/webhook/webhook_stats.h"

// What injection needs. It never changes; a review holds it while it is decided.
struct knowledge {
    unsigned num_holders;
    Tabard__V1__InjectConfig *config; // owned; NULL: unknown
    char *trust_domain;               // owned; NULL: unknown
    char *roots;                      // owned; NULL: unknown
};

struct webhook {
    uv_loop_t *loop;            // borrowed
    struct http_server *server; // owned; NULL once closed
    struct knowledge *knowledge;
    struct list waiting; // of job, in order of arrival
    unsigned num_jobs;   // that workers have
    bool is_closing;
    struct webhook_stats stats;
};

// One review.
struct job {
    uv_work_t work;
    struct list link; // of those that wait
    struct webhook *webhook;
    struct http_request *request;
    struct knowledge *knowledge; // held
    bool is_unclear;             // the label of the pod's namespace
    uint64_t began_ns;
    const uint8_t *text; // borrowed from the request
    size_t len;
    struct review review;
};

static const struct http_limits limits = {
    .connections_max = WEBHOOK_CONNECTIONS_MAX,
    .source_max = WEBHOOK_SOURCE_MAX,
    .left_max = WEBHOOK_LEFT_MAX,
    .head_ms = WEBHOOK_HEAD_MS,
    .idle_ms = WEBHOOK_IDLE_MS,
    .body_ms = WEBHOOK_BODY_MS,
    .answer_ms = WEBHOOK_ANSWER_MS,
    .body_bytes_max = WEBHOOK_BODY_BYTES_MAX,
    .bodies_bytes_max = WEBHOOK_ALL_BODY_BYTES_MAX,
};

// Takes the config over, and copies the texts.
static struct knowledge *knowledge_new(Tabard__V1__InjectConfig *config, const char *trust_domain,
                                       const char *roots)
{
    struct knowledge *made = must_alloc(1, sizeof *made);
    *made = (struct knowledge){.num_holders = 1,
                               .config = config,
                               .trust_domain = trust_domain ? must_strdup(trust_domain) : NULL,
                               .roots = roots ? must_strdup(roots) : NULL};
    return made;
}

static void knowledge_free(struct knowledge *knowledge)
{
    if (knowledge == NULL || --knowledge->num_holders > 0) {
        return;
    }
    inject_config_free(knowledge->config);
    free(knowledge->trust_domain);
    free(knowledge->roots);
    free(knowledge);
}

static bool is_known(const struct knowledge *knowledge)
{
    return knowledge->config != NULL && knowledge->roots != NULL;
}

static void release(struct webhook *webhook)
{
    if (webhook->is_closing && webhook->num_jobs == 0) {
        http_free(webhook->server);
        knowledge_free(webhook->knowledge);
        free(webhook);
    }
}

static void start_jobs(struct webhook *webhook);

static void job_free(struct job *job)
{
    knowledge_free(job->knowledge);
    review_cleanup(&job->review);
    free(job);
}

// Has the API server ask again.
static void put_off(struct webhook *webhook, struct http_request *request,
                    enum webhook_result result, const char *why)
{
    webhook->stats.results[result]++;
    webhook_log(&webhook->stats, uv_now(webhook->loop), result, "", why);
    http_set_header(request, "Retry-After", "1");
    http_answer(request, 503, HTTP_TEXT, must_strdup(why));
}

static void on_work(uv_work_t *work)
{
    struct job *job = work->data;
    const struct knowledge *knowledge = job->knowledge;
    const struct inject_context context = {.trust_domain = knowledge->trust_domain,
                                           .roots = knowledge->roots,
                                           .is_namespace_unclear = job->is_unclear};
    review_decide(&job->review, job->text, job->len, &context, knowledge->config);
}

static void on_work_done(uv_work_t *work, int status)
{
    struct job *job = work->data;
    struct webhook *webhook = job->webhook;
    struct review *review = &job->review;
    (void)status; // nobody cancels it
    enum webhook_result result = webhook_result_of(review->result);
    webhook->num_jobs--;
    webhook->stats.results[result]++;
    webhook_stats_time(&webhook->stats, uv_hrtime() - job->began_ns);
    webhook_log(&webhook->stats, uv_now(webhook->loop), result, review->name, review->why.text);
    char *body = review->body;
    review->body = NULL;
    http_answer(job->request, review->status, review->status == 200 ? HTTP_JSON : HTTP_TEXT, body);
    job_free(job);
    start_jobs(webhook);
    release(webhook);
}

static void give_up(struct job *job, enum webhook_result result, const char *why)
{
    list_remove(&job->link);
    put_off(job->webhook, job->request, result, why);
    job_free(job);
}

// Takes the smallest review that waits, and puts off those that have waited for too long.
static struct job *next_job(struct webhook *webhook)
{
    struct job *smallest = NULL;
    LIST_EACH_SAFE(link, &webhook->waiting) {
        struct job *job = LIST_OF(link, struct job, link);
        if (uv_hrtime() - job->began_ns > WEBHOOK_WAIT_MS * UINT64_C(1000000)) {
            give_up(job, WEBHOOK_BUSY, "too many reviews at once\n");
        } else if (smallest == NULL || job->len < smallest->len) {
            smallest = job;
        }
    }
    return smallest;
}

static void start_jobs(struct webhook *webhook)
{
    struct job *job = NULL;
    while (webhook->num_jobs < WEBHOOK_JOBS_MAX && (job = next_job(webhook)) != NULL) {
        list_remove(&job->link);
        job->work.data = job;
        webhook->num_jobs++;
        invariant(uv_queue_work(webhook->loop, &job->work, on_work, on_work_done) == 0);
    }
}

// Whether the media type is JSON's, whatever parameters follow (RFC 9110, section 8.3.1).
static bool is_json(const char *type)
{
    size_t len = type == NULL ? 0 : strcspn(type, "; \t");
    return len == strlen(HTTP_JSON) && strncasecmp(type, HTTP_JSON, len) == 0;
}

static void refuse(struct webhook *webhook, struct http_request *request, unsigned status,
                   const char *why)
{
    webhook->stats.results[WEBHOOK_MALFORMED]++;
    webhook_log(&webhook->stats, uv_now(webhook->loop), WEBHOOK_MALFORMED, "", why);
    http_answer(request, status, HTTP_TEXT, must_strdup(why));
}

static void on_request(void *ctx, struct http_request *request, const char *path)
{
    struct webhook *webhook = ctx;
    bool is_unclear = strcmp(path, WEBHOOK_UNCLEAR_PATH) == 0;
    if (!is_unclear && strcmp(path, WEBHOOK_PATH) != 0) {
        refuse(webhook, request, 404,
               "there are POST " WEBHOOK_PATH " and POST " WEBHOOK_UNCLEAR_PATH "\n");
    } else if (strcmp(http_method(request), "POST") != 0) {
        http_set_header(request, "Allow", "POST");
        refuse(webhook, request, 405, "only POST\n");
    } else if (!is_json(http_header(request, "Content-Type"))) {
        refuse(webhook, request, 415, "only " HTTP_JSON "\n");
    } else if (webhook->is_closing || !is_known(webhook->knowledge)) {
        put_off(webhook, request, WEBHOOK_NOT_READY,
                "policyd does not know yet how pods are injected, or is stopping\n");
    } else {
        struct job *job = must_alloc(1, sizeof *job);
        *job = (struct job){.webhook = webhook,
                            .request = request,
                            .knowledge = webhook->knowledge,
                            .is_unclear = is_unclear,
                            .began_ns = uv_hrtime()};
        job->knowledge->num_holders++;
        job->text = http_body(request, &job->len);
        list_push(&webhook->waiting, &job->link);
        start_jobs(webhook);
    }
}

struct webhook *webhook_new(uv_loop_t *loop, const struct listen_addrs *addrs,
                            struct ssl_ctx_st *tls, struct err *err)
{
    struct webhook *webhook = must_alloc(1, sizeof *webhook);
    const struct http_config config = {
        .loop = loop, .limits = &limits, .tls = tls, .on_request = on_request, .ctx = webhook};
    webhook->loop = loop;
    webhook->knowledge = knowledge_new(NULL, NULL, NULL);
    list_init(&webhook->waiting);
    webhook->server = http_new_tcp(&config, "webhook", addrs, err);
    if (webhook->server == NULL) {
        webhook_close(webhook);
        return NULL;
    }
    return webhook;
}

void webhook_set_tls(struct webhook *webhook, struct ssl_ctx_st *tls)
{
    http_set_tls(webhook->server, tls);
}

static void learn(struct webhook *webhook, struct knowledge *made)
{
    knowledge_free(webhook->knowledge);
    webhook->knowledge = made;
}

void webhook_set_config(struct webhook *webhook, Tabard__V1__InjectConfig *config)
{
    const struct knowledge *old = webhook->knowledge;
    learn(webhook, knowledge_new(config, old->trust_domain, old->roots));
}

void webhook_set_trust(struct webhook *webhook, const char *trust_domain, const char *roots)
{
    const struct knowledge *old = webhook->knowledge;
    Tabard__V1__InjectConfig *config = old->config == NULL ? NULL : pb_copy(&old->config->base);
    learn(webhook, knowledge_new(config, trust_domain, roots));
}

void webhook_drain(struct webhook *webhook)
{
    http_drain(webhook->server);
}

void webhook_close(struct webhook *webhook)
{
    if (webhook == NULL) {
        return;
    }
    webhook->is_closing = true;
    LIST_EACH_SAFE(link, &webhook->waiting) {
        give_up(LIST_OF(link, struct job, link), WEBHOOK_NOT_READY, "policyd is stopping\n");
    }
    release(webhook);
}

void webhook_metrics(const struct webhook *webhook, struct metrics_page *page)
{
    webhook_stats_metrics(&webhook->stats, webhook->server, page);
}
