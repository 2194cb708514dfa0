// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "control/agent/operator/audit.h"
#include "control/host/listen.h"

#define REFUSED_LOG_MS 60000 // between two lines about the proxy's metrics

enum page { PAGE_METRICS, PAGE_STATUS, PAGE_AUDIT };

// A request that waits for the proxy's figures.
struct question {
    struct admin *admin;          // borrowed
    struct http_request *request; // borrowed until it is answered
    enum page page;
};

static void log_refusals(struct admin *admin, uint64_t num_before)
{
    const struct proxy_metrics_refusals *refusals = &admin->refusals;
    uint64_t num_passed_over = 0;
    if (refusals->num > num_before &&
        log_allowed(&admin->refused_log, uv_now(admin->loop), REFUSED_LOG_MS, &num_passed_over)) {
        char quoted[2048];
        char text[1024];
        log_warn("msg=\"metrics of the proxy refused\" families=%llu passed_over=%llu error=%s",
                 (unsigned long long)(refusals->num - num_before),
                 (unsigned long long)num_passed_over,
                 log_quote(quoted, sizeof quoted, err_text(&refusals->last, text, sizeof text)));
    }
}

static void fill(struct admin *admin, struct report_facts *out)
{
    const struct http_server *servers[] = {admin->metrics, admin->health, admin->status};
    static const char *const pages[] = {"metrics", "health", "status"};
    admin->hooks.fill(admin->hooks.ctx, out);
    for (size_t i = 0; i < REPORT_NUM_HTTP; i++) {
        out->http[i] = (struct report_http){.page = pages[i],
                                            .num_late = http_num_late(servers[i]),
                                            .num_room = http_num_room(servers[i])};
    }
}

static void answer_metrics(const struct question *question, const struct report_facts *facts,
                           const Tabard__V1__InspectResult *inspect)
{
    struct admin *admin = question->admin;
    uint64_t num_before = admin->refusals.num;
    http_answer(question->request, 200, METRICS_CONTENT_TYPE,
                report_metrics(facts, inspect, &admin->refusals));
    log_refusals(admin, num_before);
}

static void answer(const struct question *question, const Tabard__V1__InspectResult *inspect)
{
    struct report_facts facts = {0};
    fill(question->admin, &facts);
    switch (question->page) {
    case PAGE_METRICS:
        answer_metrics(question, &facts, inspect);
        break;
    case PAGE_STATUS:
        http_answer(question->request, 200, HTTP_JSON, report_status(&facts, inspect));
        break;
    case PAGE_AUDIT:
        if (inspect == NULL) { // an empty list would look as if nothing were denied
            http_answer(question->request, 503, HTTP_TEXT,
                        must_strdup("the proxy does not answer\n"));
        } else {
            http_answer(question->request, 200, HTTP_JSON, audit_text(&facts, inspect));
        }
        break;
    }
}

static void on_inspected(void *ctx, const Tabard__V1__InspectResult *result)
{
    struct question *question = ctx;
    answer(question, result);
    free(question);
}

static void ask(const struct question *question, const Tabard__V1__Inspect *wanted)
{
    struct admin *admin = question->admin;
    struct question *kept = must_copy(question, sizeof *question);
    if (!admin->hooks.inspect(admin->hooks.ctx, wanted, on_inspected, kept)) {
        on_inspected(kept, NULL);
    }
}

static void on_metrics_request(void *ctx, struct http_request *request, const char *path)
{
    if (strcmp(path, "/metrics") != 0) {
        http_answer_not_found(request, "/metrics");
        return;
    }
    const Tabard__V1__Inspect figures = TABARD__V1__INSPECT__INIT;
    ask(&(struct question){.admin = ctx, .request = request, .page = PAGE_METRICS}, &figures);
}

static void answer_rules(struct admin *admin, struct http_request *request)
{
    struct report_facts facts = {0};
    fill(admin, &facts);
    if (facts.snapshot == NULL) {
        http_answer(request, 503, HTTP_TEXT, must_strdup("nothing is in force yet\n"));
    } else {
        http_answer(request, 200, HTTP_JSON, report_rules(&facts));
    }
}

static void on_status_request(void *ctx, struct http_request *request, const char *path)
{
    struct question question = {.admin = ctx, .request = request, .page = PAGE_STATUS};
    Tabard__V1__Inspect wanted = TABARD__V1__INSPECT__INIT;
    if (strcmp(path, "/status") == 0) {
        wanted.num_connections_max =
            http_query_number(request, "connections", ADMIN_CONNECTIONS_MAX, 0);
    } else if (strcmp(path, "/audit") == 0) {
        question.page = PAGE_AUDIT;
        wanted.wants_denials = true;
    } else if (strcmp(path, "/rules") == 0) {
        answer_rules(ctx, request);
        return;
    } else {
        http_answer_not_found(request, "/status, /status?connections=N, /audit and /rules");
        return;
    }
    ask(&question, &wanted);
}

static void on_probed(void *ctx, bool is_good, const char *why)
{
    char text[1024];
    snprintf(text, sizeof text, "%s\n", why);
    http_answer(ctx, is_good ? 200 : 503, HTTP_TEXT, must_strdup(text));
}

static void on_health_request(void *ctx, struct http_request *request, const char *path)
{
    struct admin *admin = ctx;
    if (strcmp(path, "/healthz/live") == 0) {
        http_answer(request, 200, HTTP_TEXT, must_strdup("alive\n"));
        return;
    }
    struct ip ip;
    if (strcmp(path, "/healthz/ready") != 0) {
        if (!http_local_ip(request, &ip) ||
            !admin->hooks.probe(admin->hooks.ctx, path, &ip, on_probed, request)) {
            http_answer_not_found(request, "/healthz/ready and /healthz/live");
        }
        return;
    }
    struct report_facts facts = {0};
    admin->hooks.fill(admin->hooks.ctx, &facts);
    if (facts.not_ready_because[0] == '\0') {
        http_answer(request, 200, HTTP_TEXT, must_strdup("ready\n"));
        return;
    }
    char text[1200];
    snprintf(text, sizeof text, "not ready: %s\n", facts.not_ready_because);
    http_answer(request, 503, HTTP_TEXT, must_strdup(text));
}

static bool on_state(void *ctx, char *out)
{
    struct admin *admin = ctx;
    struct report_facts facts = {0};
    fill(admin, &facts);
    bool is_ready = facts.not_ready_because[0] == '\0';
    if (is_ready) {
        snprintf(out, NOTIFY_STATUS_MAX, "Generation %llu is in force for %s",
                 (unsigned long long)facts.generation, facts.spiffe_id);
    } else {
        snprintf(out, NOTIFY_STATUS_MAX, "Not ready: %s", facts.not_ready_because);
    }
    return is_ready;
}

bool admin_start(struct admin *admin, uv_loop_t *loop, const struct admin_spec *spec,
                 const struct admin_hooks *hooks, struct err *err)
{
    *admin = (struct admin){.hooks = *hooks, .loop = loop};
    int fd = listen_unix(spec->admin_path, err);
    if (fd < 0) {
        return err_prefix(err, "--admin");
    }
    admin->admin_path = spec->admin_path;
    struct http_config config = {.loop = loop, .on_request = on_status_request, .ctx = admin};
    admin->status = http_new(&config, fd, err);
    if (admin->status == NULL) {
        return err_prefix(err, "--admin");
    }
    char quoted[512];
    log_info("msg=listening what=admin address=%s",
             log_quote(quoted, sizeof quoted, spec->admin_path));
    config.on_request = on_metrics_request;
    admin->metrics = http_new_tcp(&config, "metrics", &spec->metrics, err);
    // A probe of the application may take longer than a page of our own.
    admin->health_limits = http_limits_pages;
    admin->health_limits.answer_ms += spec->probe_seconds * 1000;
    admin->health_limits.source_max += spec->num_probes;
    admin->health_limits.connections_max += spec->num_probes;
    admin->health_limits.left_max += spec->num_probes;
    config.limits = &admin->health_limits;
    config.on_request = on_health_request;
    admin->health =
        admin->metrics == NULL ? NULL : http_new_tcp(&config, "health", &spec->health, err);
    if (admin->health != NULL) {
        admin->notify = notify_new(loop, on_state, admin);
    }
    return admin->health != NULL;
}

void admin_tell(struct admin *admin, enum notify_event event)
{
    notify_tell(admin->notify, event);
}

void admin_stop(struct admin *admin)
{
    notify_free(admin->notify);
    http_free(admin->metrics);
    http_free(admin->health);
    http_free(admin->status);
    if (admin->admin_path != NULL) {
        listen_unix_remove(admin->admin_path);
    }
    *admin = (struct admin){0};
}
