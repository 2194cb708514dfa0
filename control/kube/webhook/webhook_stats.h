// SPDX-License-Identifier: Apache-2.0
//
// What the webhook counts and logs of its reviews. Embedded in it; the loop's thread only.
#ifndef TABARD_CONTROL_KUBE_WEBHOOK_WEBHOOK_STATS_H
#define TABARD_CONTROL_KUBE_WEBHOOK_WEBHOOK_STATS_H

#include <stdint.h>

#include "base/log.h"
#include "control/host/http.h"
#include "control/host/metrics.h"
#include "control/kube/webhook/review.h"

// What became of a request: what review_decide says, or why nothing was decided.
#define WEBHOOK_RESULTS(X)                                                                         \
    X(WEBHOOK_PATCHED, "patched")                                                                  \
    X(WEBHOOK_NOTHING, "nothing")                                                                  \
    X(WEBHOOK_REFUSED, "refused")                                                                  \
    X(WEBHOOK_MALFORMED, "malformed")                                                              \
    X(WEBHOOK_NOT_READY, "not_ready")                                                              \
    X(WEBHOOK_BUSY, "busy")

enum webhook_result {
#define X(name, text) name,
    WEBHOOK_RESULTS(X)
#undef X
        WEBHOOK_NUM_RESULTS
};
enum webhook_result webhook_result_of(enum review_result result);

#define WEBHOOK_NUM_TIMES 9
#define WEBHOOK_LOG_MS    100 // between two lines on reviews of one result

// Zero state: nothing was counted.
struct webhook_stats {
    uint64_t results[WEBHOOK_NUM_RESULTS];
    uint64_t times[WEBHOOK_NUM_TIMES]; // reviews that took no longer than a bound, and no shorter
    uint64_t num_times;
    uint64_t time_ns_sum;
    struct log_limit logs[WEBHOOK_NUM_RESULTS];
};

// webhook_stats_time counts how long a review took, from its last byte to its answer.
void webhook_stats_time(struct webhook_stats *stats, uint64_t ns);

// webhook_log writes a line on a review, unless there were too many of that result. `name` is
// "NAMESPACE/NAME" or empty; `why` may end with a line feed.
void webhook_log(struct webhook_stats *stats, uint64_t now_ms, enum webhook_result result,
                 const char *name, const char *why);

void webhook_stats_metrics(const struct webhook_stats *stats, const struct http_server *server,
                           struct metrics_page *page);

#endif
