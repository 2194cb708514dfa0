// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/kubernetes/source_kubernetes_impl.h"

static uint64_t num_objects(const struct kube_watch_stats *stats, uint64_t now_ms)
{
    (void)now_ms;
    return stats->num_objects;
}

static uint64_t num_lists(const struct kube_watch_stats *stats, uint64_t now_ms)
{
    (void)now_ms;
    return stats->num_lists;
}

static uint64_t num_watches(const struct kube_watch_stats *stats, uint64_t now_ms)
{
    (void)now_ms;
    return stats->num_watches;
}

static uint64_t num_events(const struct kube_watch_stats *stats, uint64_t now_ms)
{
    (void)now_ms;
    return stats->num_events;
}

static uint64_t num_failures(const struct kube_watch_stats *stats, uint64_t now_ms)
{
    (void)now_ms;
    return stats->num_failures;
}

static uint64_t is_followed(const struct kube_watch_stats *stats, uint64_t now_ms)
{
    (void)now_ms;
    return stats->is_synced && !stats->is_failing;
}

static uint64_t silence_s(const struct kube_watch_stats *stats, uint64_t now_ms)
{
    return stats->heard_ms == 0 ? 0 : (now_ms - stats->heard_ms) / 1000;
}

// What is shown of every collection.
static const struct {
    const char *name;
    enum metrics_type type;
    const char *help;
    uint64_t (*value)(const struct kube_watch_stats *stats, uint64_t now_ms);
} families[] = {
    {"tabard_policyd_kubernetes_objects", METRICS_GAUGE, "Objects that are known.", num_objects},
    {"tabard_policyd_kubernetes_followed", METRICS_GAUGE,
     "1 while the API server tells of every change.", is_followed},
    {"tabard_policyd_kubernetes_silence_seconds", METRICS_GAUGE,
     "Since the API server was last heard of these objects, which is each minute.", silence_s},
    {"tabard_policyd_kubernetes_lists_total", METRICS_COUNTER, "Complete lists.", num_lists},
    {"tabard_policyd_kubernetes_watches_total", METRICS_COUNTER, "Watches that were begun.",
     num_watches},
    {"tabard_policyd_kubernetes_events_total", METRICS_COUNTER, "Events, bookmarks too.",
     num_events},
    {"tabard_policyd_kubernetes_failures_total", METRICS_COUNTER,
     "Lists and watches that ended otherwise than by their time.", num_failures},
};

static void add_connections(const struct source_kubernetes *source, struct metrics_page *page)
{
    const struct kube_client_stats *client = kube_client_stats(source->client);
    metrics_counter(page, "tabard_policyd_kubernetes_connections_total",
                    "Connections to the API server begun.", client->num_connections);
    metrics_counter(page, "tabard_policyd_kubernetes_connections_lost_total",
                    "Those that ended without a GOAWAY, or never came about.", client->num_losses);
}

static void add_ca(const struct source_kubernetes *source, struct metrics_page *page)
{
    const struct ca_keeper_stats *stats = ca_keeper_stats(source->keeper);
    metrics_family(page, "tabard_policyd_kubernetes_ca_writes_total", METRICS_COUNTER,
                   "Writes of the Secret with the CA, by what they were for.");
    metrics_uint_by(page, "what", "made", stats->num_made);
    metrics_uint_by(page, "what", "put_back", stats->num_put_back);
    metrics_uint_by(page, "what", "crl", stats->num_crls);
    metrics_uint_by(page, "what", "outraced", stats->num_outraced);
}

void source_kubernetes_metrics(const struct source_kubernetes *source, struct metrics_page *page)
{
    uint64_t now_ms = uv_now(source->timer.loop);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        metrics_family(page, families[i].name, families[i].type, families[i].help);
        for (int kind = 0; kind < KUBE_NUM_KINDS; kind++) {
            metrics_uint_by(
                page, "kind", kube_kind_name((enum kube_kind)kind),
                families[i].value(kube_watch_stats(source->followed[kind].watch), now_ms));
        }
        metrics_uint_by(page, "kind", "Secret",
                        families[i].value(ca_keeper_watch_stats(source->keeper), now_ms));
    }
    add_connections(source, page);
    add_ca(source, page);
    if (source->statuses != NULL) {
        const struct statuses_stats *stats = statuses_stats(source->statuses);
        metrics_family(page, "tabard_policyd_kubernetes_status_writes_total", METRICS_COUNTER,
                       "Writes of statuses of our resources, by result.");
        metrics_uint_by(page, "result", "done", stats->num_writes);
        metrics_uint_by(page, "result", "failed", stats->num_failures);
    }
    metrics_gauge(page, "tabard_policyd_kubernetes_revision",
                  "The highest resourceVersion of what is known.", source->revision);
    metrics_gauge(page, "tabard_policyd_kubernetes_complete_revision",
                  "The resourceVersion up to which everything is known.", source->complete);
    metrics_counter(page, "tabard_policyd_kubernetes_passes_total",
                    "Batches of changes that were passed on.", source->num_passes);
}
