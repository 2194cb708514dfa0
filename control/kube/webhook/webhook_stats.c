// SPDX-License-Identifier: Apache-2.0
#include "control/kube/webhook/webhook_stats.h"

#include <stdio.h>
#include <string.h>

#define NAME "tabard_policyd_webhook_"

static const double bounds_s[WEBHOOK_NUM_TIMES] = {0.001, 0.0025, 0.005, 0.01, 0.025,
                                                   0.05,  0.1,    0.5,   2.5};

static const char *const result_texts[] = {
#define X(name, text) text,
    WEBHOOK_RESULTS(X)
#undef X
};

enum webhook_result webhook_result_of(enum review_result result)
{
    static const enum webhook_result results[REVIEW_NUM_RESULTS] = {
        [REVIEW_PATCHED] = WEBHOOK_PATCHED,
        [REVIEW_NOTHING] = WEBHOOK_NOTHING,
        [REVIEW_REFUSED] = WEBHOOK_REFUSED,
        [REVIEW_MALFORMED] = WEBHOOK_MALFORMED};
    return results[result];
}

void webhook_stats_time(struct webhook_stats *stats, uint64_t ns)
{
    stats->num_times++;
    stats->time_ns_sum += ns;
    for (size_t i = 0; i < WEBHOOK_NUM_TIMES; i++) {
        if ((double)ns <= bounds_s[i] * 1e9) {
            stats->times[i]++;
            return;
        }
    }
}

void webhook_log(struct webhook_stats *stats, uint64_t now_ms, enum webhook_result result,
                 const char *name, const char *why)
{
    uint64_t num_passed_over = 0;
    char pod[2 * REVIEW_NAME_MAX], quoted[1800], line[sizeof(struct err)];
    if (!log_allowed(&stats->logs[result], now_ms, WEBHOOK_LOG_MS, &num_passed_over)) {
        return;
    }
    snprintf(line, sizeof line, "%.*s", (int)strcspn(why, "\n"), why);
    bool is_good = result == WEBHOOK_PATCHED || result == WEBHOOK_NOTHING;
    (is_good ? log_info : log_warn)("msg=\"pod reviewed\" pod=%s result=%s why=%s passed_over=%lu",
                                    log_quote(pod, sizeof pod, name), result_texts[result],
                                    log_quote(quoted, sizeof quoted, line),
                                    (unsigned long)num_passed_over);
}

static void times(struct metrics_page *page, const struct webhook_stats *stats)
{
    struct metrics_bucket buckets[WEBHOOK_NUM_TIMES];
    uint64_t count = 0;
    for (size_t i = 0; i < WEBHOOK_NUM_TIMES; i++) {
        count += stats->times[i];
        buckets[i] = (struct metrics_bucket){bounds_s[i], count};
    }
    metrics_family(page, NAME "review_seconds", METRICS_HISTOGRAM,
                   "From the last byte of a review to its answer.");
    metrics_histogram(page, NULL, 0, buckets, WEBHOOK_NUM_TIMES, (double)stats->time_ns_sum / 1e9,
                      stats->num_times);
}

void webhook_stats_metrics(const struct webhook_stats *stats, const struct http_server *server,
                           struct metrics_page *page)
{
    metrics_family(page, NAME "reviews_total", METRICS_COUNTER,
                   "Requests to the webhook, by what became of them.");
    for (int i = 0; i < WEBHOOK_NUM_RESULTS; i++) {
        metrics_uint_by(page, "result", result_texts[i], stats->results[i]);
    }
    times(page, stats);
    metrics_gauge(page, NAME "connections", "Connections to the webhook.",
                  http_num_clients(server));
    metrics_family(page, NAME "connections_ended_total", METRICS_COUNTER,
                   "Connections to the webhook that it ended: late, for want of room, or because "
                   "TLS failed.");
    metrics_uint_by(page, "why", "late", http_num_late(server));
    metrics_uint_by(page, "why", "room", http_num_room(server));
    metrics_uint_by(page, "why", "tls", http_num_tls_failed(server));
}
