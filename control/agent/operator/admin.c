// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/admin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/host/listen.h"

#define TEXT       "text/plain; charset=utf-8"
#define PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"
#define JSON       "application/json"

// A page that waits for the proxy.
struct question {
    struct admin *admin; // borrowed
    struct http_request *request;
    const char *content_type;
    char *(*print)(const struct report_facts *facts, const Tabard__V1__InspectResult *inspect);
};

static void answer(struct admin *admin, struct http_request *request, const char *content_type,
                   char *(*print)(const struct report_facts *, const Tabard__V1__InspectResult *),
                   const Tabard__V1__InspectResult *inspect)
{
    struct report_facts facts = {0};
    admin->hooks.fill(admin->hooks.ctx, &facts);
    http_answer(request, 200, content_type, print(&facts, inspect));
}

static void on_inspected(void *ctx, const Tabard__V1__InspectResult *result)
{
    struct question *question = ctx;
    answer(question->admin, question->request, question->content_type, question->print, result);
    free(question);
}

static void ask(const struct question *question, uint32_t num_connections_max)
{
    struct admin *admin = question->admin;
    struct question *kept = malloc(sizeof *kept);
    if (kept != NULL) {
        *kept = *question;
        if (admin->hooks.inspect(admin->hooks.ctx, num_connections_max, on_inspected, kept)) {
            return;
        }
        free(kept);
    }
    answer(admin, question->request, question->content_type, question->print, NULL);
}

static void not_found(struct http_request *request, const char *pages)
{
    char text[128];
    snprintf(text, sizeof text, "there is %s\n", pages);
    http_answer(request, 404, TEXT, strdup(text));
}

static void on_metrics_request(void *ctx, struct http_request *request, const char *path)
{
    if (strcmp(path, "/metrics") != 0) {
        not_found(request, "/metrics");
        return;
    }
    ask(
        &(struct question){
            .admin = ctx, .request = request, .content_type = PROMETHEUS, .print = report_metrics},
        0);
}

static void on_status_request(void *ctx, struct http_request *request, const char *path)
{
    if (strcmp(path, "/status") != 0) {
        not_found(request, "/status, or /status?connections=N");
        return;
    }
    ask(
        &(struct question){
            .admin = ctx, .request = request, .content_type = JSON, .print = report_status},
        http_query_number(request, "connections", ADMIN_CONNECTIONS_MAX, 0));
}

static void on_health_request(void *ctx, struct http_request *request, const char *path)
{
    struct admin *admin = ctx;
    if (strcmp(path, "/healthz/live") == 0) {
        http_answer(request, 200, TEXT, strdup("alive\n"));
        return;
    }
    if (strcmp(path, "/healthz/ready") != 0) {
        not_found(request, "/healthz/ready and /healthz/live");
        return;
    }
    struct report_facts facts = {0};
    admin->hooks.fill(admin->hooks.ctx, &facts);
    if (facts.not_ready_because == NULL) {
        http_answer(request, 200, TEXT, strdup("ready\n"));
        return;
    }
    char text[1200];
    snprintf(text, sizeof text, "not ready: %s\n", facts.not_ready_because);
    http_answer(request, 503, TEXT, strdup(text));
}

static struct http_server *start_tcp(struct admin *admin, uv_loop_t *loop, const char *what,
                                     const struct addr *addr, http_on_request *on_request,
                                     struct err *err)
{
    struct addr bound = {{{0}}, 0};
    int fd = listen_tcp(addr, &bound, err);
    struct http_server *server = fd >= 0 ? http_new(loop, fd, on_request, admin, err) : NULL;
    if (server == NULL) {
        err_prefix(err, "--%s", what);
        return NULL;
    }
    char text[ADDR_TEXT_MAX];
    log_info("msg=listening what=%s address=%s", what, addr_text(&bound, text));
    return server;
}

bool admin_start(struct admin *admin, uv_loop_t *loop, const struct admin_spec *spec,
                 const struct admin_hooks *hooks, struct err *err)
{
    *admin = (struct admin){.hooks = *hooks};
    int fd = listen_unix(spec->admin_path, err);
    if (fd < 0) {
        return err_prefix(err, "--admin");
    }
    admin->admin_path = spec->admin_path;
    admin->status = http_new(loop, fd, on_status_request, admin, err);
    if (admin->status == NULL) {
        return err_prefix(err, "--admin");
    }
    char quoted[512];
    log_info("msg=listening what=admin address=%s",
             log_quote(quoted, sizeof quoted, spec->admin_path));
    admin->metrics = start_tcp(admin, loop, "metrics", &spec->metrics, on_metrics_request, err);
    if (admin->metrics == NULL) {
        return false;
    }
    admin->health = start_tcp(admin, loop, "health", &spec->health, on_health_request, err);
    return admin->health != NULL;
}

void admin_stop(struct admin *admin)
{
    http_free(admin->metrics);
    http_free(admin->health);
    http_free(admin->status);
    if (admin->admin_path != NULL) {
        listen_unix_remove(admin->admin_path);
    }
    *admin = (struct admin){0};
}
