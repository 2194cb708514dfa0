// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/policyd_pages.h"

#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "control/host/metrics.h"

static void on_metrics(void *ctx, struct http_request *request, const char *path)
{
    const struct policyd_pages *pages = ctx;
    if (strcmp(path, "/metrics") == 0) {
        http_answer(request, 200, METRICS_CONTENT_TYPE, pages->hooks.metrics(pages->hooks.ctx));
    } else {
        http_answer_not_found(request, "/metrics");
    }
}

// Alive is whoever answers: a policyd that can't serve says so, and must not be restarted for it.
static void on_health(void *ctx, struct http_request *request, const char *path)
{
    const struct policyd_pages *pages = ctx;
    struct err why = {{0}, {0}};
    char text[sizeof why.text + 16];
    if (strcmp(path, "/healthz/live") == 0) {
        http_answer(request, 200, HTTP_TEXT, must_strdup("alive\n"));
    } else if (strcmp(path, "/healthz/ready") != 0) {
        http_answer_not_found(request, "/healthz/ready and /healthz/live");
    } else if (pages->hooks.is_ready(pages->hooks.ctx, &why)) {
        http_answer(request, 200, HTTP_TEXT, must_strdup("ready\n"));
    } else {
        snprintf(text, sizeof text, "not ready: %s\n", why.text);
        http_answer(request, 503, HTTP_TEXT, must_strdup(text));
    }
}

static bool serve(struct policyd_pages *pages, uv_loop_t *loop, const char *what,
                  const struct addr *addr, http_on_request *on_request, struct http_server **out,
                  struct err *err)
{
    const struct listen_addrs at = {.addrs = {*addr}, .num = 1};
    const struct http_config config = {.loop = loop, .on_request = on_request, .ctx = pages};
    *out = http_new_tcp(&config, what, &at, err);
    return *out != NULL;
}

static bool on_state(void *ctx, char *out)
{
    const struct policyd_pages *pages = ctx;
    struct err why = {{0}, {0}};
    bool is_ready = pages->hooks.is_ready(pages->hooks.ctx, &why);
    snprintf(out, NOTIFY_STATUS_MAX, "%s%s", is_ready ? "Ready" : "Not ready: ", why.text);
    return is_ready;
}

bool policyd_pages_start(struct policyd_pages *pages, uv_loop_t *loop,
                         const struct policyd_flags *flags, const struct policyd_pages_hooks *hooks,
                         struct err *err)
{
    pages->hooks = *hooks;
    pages->notify = notify_new(loop, on_state, pages);
    return (!flags->has_health ||
            serve(pages, loop, "health", &flags->health, on_health, &pages->health, err)) &&
           (!flags->has_metrics ||
            serve(pages, loop, "metrics", &flags->metrics, on_metrics, &pages->metrics, err));
}

void policyd_pages_tell(struct policyd_pages *pages, enum notify_event event)
{
    notify_tell(pages->notify, event);
}

void policyd_pages_stop(struct policyd_pages *pages)
{
    notify_free(pages->notify);
    http_free(pages->health);
    http_free(pages->metrics);
    pages->health = pages->metrics = NULL;
    pages->notify = NULL;
}
