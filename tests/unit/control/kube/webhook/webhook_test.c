// SPDX-License-Identifier: Apache-2.0
#include "control/kube/webhook/webhook.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "control/kube/webhook/webhook_stats.h"
#include "tests/unit/support/loop.h"

TestSuite(webhook, .timeout = 10);

static const char page_text[] =
    "# HELP tabard_policyd_webhook_reviews_total Requests to the webhook, by what became of them.\n"
    "# TYPE tabard_policyd_webhook_reviews_total counter\n"
    "tabard_policyd_webhook_reviews_total{result=\"patched\"} 1\n"
    "tabard_policyd_webhook_reviews_total{result=\"nothing\"} 2\n"
    "tabard_policyd_webhook_reviews_total{result=\"refused\"} 3\n"
    "tabard_policyd_webhook_reviews_total{result=\"malformed\"} 4\n"
    "tabard_policyd_webhook_reviews_total{result=\"not_ready\"} 5\n"
    "tabard_policyd_webhook_reviews_total{result=\"busy\"} 6\n"
    "# HELP tabard_policyd_webhook_review_seconds From the last byte of a review to its answer.\n"
    "# TYPE tabard_policyd_webhook_review_seconds histogram\n"
    "tabard_policyd_webhook_review_seconds_bucket{le=\"0.001\"} 2\n"
    "tabard_policyd_webhook_review_seconds_bucket{le=\"0.0025\"} 3\n"
    "tabard_policyd_webhook_review_seconds_bucket{le=\"0.005\"} 3\n"
    "tabard_policyd_webhook_review_seconds_bucket{le=\"0.01\"} 3\n"
    "tabard_policyd_webhook_review_seconds_bucket{le=\"0.025\"} 3\n"
    "tabard_policyd_webhook_review_seconds_bucket{le=\"0.05\"} 3\n"
    "tabard_policyd_webhook_review_seconds_bucket{le=\"0.1\"} 3\n"
    "tabard_policyd_webhook_review_seconds_bucket{le=\"0.5\"} 4\n"
    "tabard_policyd_webhook_review_seconds_bucket{le=\"2.5\"} 4\n"
    "tabard_policyd_webhook_review_seconds_bucket{le=\"+Inf\"} 5\n"
    "tabard_policyd_webhook_review_seconds_sum 3.403000\n"
    "tabard_policyd_webhook_review_seconds_count 5\n"
    "# HELP tabard_policyd_webhook_connections Connections to the webhook.\n"
    "# TYPE tabard_policyd_webhook_connections gauge\n"
    "tabard_policyd_webhook_connections 0\n"
    "# HELP tabard_policyd_webhook_connections_ended_total Connections to the webhook that it "
    "ended: late, for want of room, or because TLS failed.\n"
    "# TYPE tabard_policyd_webhook_connections_ended_total counter\n"
    "tabard_policyd_webhook_connections_ended_total{why=\"late\"} 0\n"
    "tabard_policyd_webhook_connections_ended_total{why=\"room\"} 0\n"
    "tabard_policyd_webhook_connections_ended_total{why=\"tls\"} 0\n";

static void on_nothing(void *ctx, struct http_request *request, const char *path)
{
    (void)ctx;
    (void)path;
    http_answer_not_found(request, "nothing");
}

Test(webhook, prints_each_of_its_metrics)
{
    static const uint64_t times_ns[] = {0, 1000000, 2000000, 400000000, 3000000000};
    struct webhook_stats stats = {.results = {1, 2, 3, 4, 5, 6}};
    struct metrics_page page;
    struct {
        uv_loop_t loop;
    } stage;
    uv_loop_init(&stage.loop);
    struct listen_addrs at = {.num = 1};
    cr_assert(addr_parse(&at.addrs[0], "127.0.0.1:0", true, NULL));
    struct http_server *server = http_new_tcp(
        &(struct http_config){.loop = &stage.loop, .on_request = on_nothing}, "test", &at, NULL);
    for (size_t i = 0; i < sizeof times_ns / sizeof times_ns[0]; i++) {
        webhook_stats_time(&stats, times_ns[i]);
    }
    metrics_open(&page);
    webhook_stats_metrics(&stats, server, &page);
    char *text = metrics_close(&page);
    cr_expect_str_eq(text, page_text, "%s", text);
    free(text);
    http_free(server);
    loop_end(&stage.loop);
}

Test(webhook, each_result_of_a_review_has_its_label)
{
    static const char *const labels[] = {"patched", "nothing", "refused", "malformed"};
    for (int i = 0; i < REVIEW_NUM_RESULTS; i++) {
        cr_expect_str_eq(review_result_text((enum review_result)i), labels[i]);
        cr_expect_eq((int)webhook_result_of((enum review_result)i), i);
    }
}
