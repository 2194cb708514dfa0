// SPDX-License-Identifier: Apache-2.0
//
// Writes the policy agent's page of metrics. docs/metrics.md lists them.
#include "base/log.h"
#include "control/host/metrics.h"
#include "control/policyd/stream/service.h"
#include "control/policyd/stream/session.h"
#include "net/grpc/limits.h"

#define NAME "tabard_policyd_"

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

static void seconds_gauge(struct metrics_page *page, const char *name, const char *help,
                          uint64_t ns)
{
    metrics_family(page, name, METRICS_GAUGE, help);
    metrics_double(page, NULL, 0, seconds(ns), 6);
}

static uint64_t num_silent(const struct service *service)
{
    uint64_t num = 0;
    const struct list *head = &service->sessions;
    for (const struct list *link = head->next; link != head; link = link->next) {
        const struct session *session = LIST_OF(link, struct session, link);
        num += !session->is_over && grpc_call_silent_ms(session->call) > TRANSPORT_SILENT_MS;
    }
    return num;
}

static void streams(struct metrics_page *page, const struct service *service)
{
    const struct service_stats *stats = &service->stats;
    metrics_gauge(page, NAME "streams", "Sidecars connected now.", stats->num_streams);
    metrics_gauge(page, NAME "streams_silent", "Of these, the ones whose host does not answer.",
                  num_silent(service));
    metrics_counter(page, NAME "streams_total", "Streams since the start.", stats->num_started);
    metrics_family(page, NAME "admissions_total", METRICS_COUNTER,
                   "Decisions on who a sidecar is, by result.");
    for (int i = 0; i < ADMIT_NUM_RESULTS; i++) {
        metrics_uint_by(page, "result", admit_result_text((enum admit_result)i),
                        stats->admitted[i]);
    }
    metrics_family(page, NAME "streams_ended_total", METRICS_COUNTER,
                   "Streams that we ended, by reason.");
    for (int i = 0; i < SERVICE_NUM_ENDS; i++) {
        metrics_uint_by(page, "reason", service_end_text((enum service_end)i), stats->ends[i]);
    }
}

static void pushes(struct metrics_page *page, const struct service_stats *stats,
                   uint64_t version_last)
{
    metrics_family(page, NAME "responses_total", METRICS_COUNTER,
                   "Responses that were sent, by what they held.");
    metrics_uint_by(page, "kind", "state", stats->num_states);
    metrics_uint_by(page, "kind", "delta", stats->num_deltas);
    metrics_counter(page, NAME "response_bytes_total", "Bytes of responses.", stats->num_bytes);
    metrics_family(page, NAME "results_total", METRICS_COUNTER,
                   "What sidecars answered to responses.");
    metrics_uint_by(page, "result", "ack", stats->num_acks);
    metrics_uint_by(page, "result", "nack", stats->num_nacks);
    metrics_family(page, NAME "push_seconds", METRICS_SUMMARY,
                   "From a change to the last sidecar's result.");
    metrics_summary(page, seconds(stats->push_ns_sum), stats->num_pushes);
    seconds_gauge(page, NAME "push_last_seconds", "The same, of the last change.",
                  stats->push_ns_last);
    seconds_gauge(page, NAME "push_max_seconds", "The same, of the slowest change.",
                  stats->push_ns_max);
    metrics_gauge(page, NAME "version", "The version that was drawn last.", version_last);
}

static void certificates(struct metrics_page *page, const struct issuer_stats *stats,
                         uint64_t num_csr_limited, uint64_t num_csr_unproved)
{
    metrics_counter(page, NAME "certificates_issued_total", "Certificates that were signed.",
                    stats->num_issued);
    metrics_family(page, NAME "certificates_refused_total", METRICS_COUNTER,
                   "Signing requests that were refused, by reason.");
    metrics_uint_by(page, "reason", "request", stats->num_refused);
    metrics_uint_by(page, "reason", "limit_all", stats->num_limited);
    metrics_uint_by(page, "reason", "limit_identity", stats->num_limited_asker);
    metrics_uint_by(page, "reason", "limit_stream", num_csr_limited);
    metrics_uint_by(page, "reason", "unproved", num_csr_unproved);
    metrics_counter(page, NAME "crls_written_total", "CRLs that were written anew in time.",
                    stats->num_crls);
}

static void reviews(struct metrics_page *page, const struct reviews *shown)
{
    static const struct reviews_stats none;
    const struct reviews_stats *stats = shown != NULL ? reviews_stats(shown) : &none;
    metrics_family(page, NAME "reviews_total", METRICS_COUNTER,
                   "Tokens of service accounts that were reviewed, by result.");
    for (int i = 0; i < ACCOUNT_NUM_RESULTS; i++) {
        metrics_uint_by(page, "result", account_result_text((enum account_result)i), stats->num[i]);
    }
    metrics_counter(page, NAME "reviews_asked_total", "Reviews that the API server was asked for.",
                    stats->num_asked);
    metrics_family(page, NAME "reviews_put_off_total", METRICS_COUNTER,
                   "Tokens whose sidecar was told to come again, by what they waited for in vain.");
    metrics_uint_by(page, "why", "late", stats->num_late);
    metrics_uint_by(page, "why", "crowded", stats->num_crowded);
    metrics_gauge(page, NAME "reviews_waiting", "Tokens that wait for their turn now.",
                  stats->num_waiting);
    metrics_gauge(page, NAME "reviews_running", "Reviews under way now.", stats->num_running);
}

static void world(struct metrics_page *page, const struct world *shown)
{
    metrics_gauge(page, NAME "workloads", "Workloads that the fleet names.",
                  shown->fleet->workloads.num);
    metrics_gauge(page, NAME "views", "Identities that are shown something.", shown->num_views);
    metrics_counter(page, NAME "sights_total", "How often what an identity may see was worked out.",
                    shown->num_sights);
    metrics_counter(page, NAME "bodies_total", "States and deltas that were packed.",
                    shown->num_bodies);
    metrics_gauge(page, NAME "claims", "Sidecars whose addresses are known, of every policyd.",
                  shown->registry.num_claims);
    metrics_gauge(page, NAME "addresses", "Addresses that belong to an identity.",
                  shown->registry.places.num);
}

static void folder(struct metrics_page *page, const struct service *service)
{
    metrics_family(page, NAME "updates_refused_total", METRICS_COUNTER,
                   "Changes of the folder that can't be used, by what was changed.");
    metrics_uint_by(page, "what", "fleet", service->stats.num_fleets_refused);
    metrics_uint_by(page, "what", "trust", service->stats.num_trusts_refused);
    const struct ca_trust *trust = service->world.trust;
    bool has_crl = trust != NULL && trust->next_update != INT64_MAX;
    metrics_gauge(page, NAME "crl_next_update_timestamp_seconds",
                  "When the first CRL that is sent ends, in Unix time; 0: there is none.",
                  has_crl ? (uint64_t)trust->next_update : 0);
}

static void server(struct metrics_page *page, const struct grpc_server_stats *stats)
{
    metrics_gauge(page, NAME "connections", "Connections open now.", stats->num_connections);
    metrics_counter(page, NAME "connections_total", "Connections since the start.",
                    stats->num_accepted);
    metrics_family(page, NAME "limit_bites_total", METRICS_COUNTER,
                   "How often a limit of the connections has bitten.");
    for (int i = 0; i < GRPC_LIMIT_NUM; i++) {
        metrics_uint_by(page, "limit", grpc_limit_name((enum grpc_limit)i), stats->bites.num[i]);
    }
}

static void http_ended_by(struct metrics_page *page, const char *name, const char *why,
                          uint64_t num)
{
    const struct metrics_label labels[] = {{"page", name}, {"why", why}};
    metrics_uint(page, labels, 2, num);
}

static void http_ended(struct metrics_page *page, const struct service_beside *beside)
{
    metrics_family(page, NAME "http_connections_ended_total", METRICS_COUNTER,
                   "Connections to policyd's pages that it ended: late, or for want of room.");
    http_ended_by(page, "metrics", "late", beside->metrics.num_late);
    http_ended_by(page, "metrics", "room", beside->metrics.num_room);
    http_ended_by(page, "health", "late", beside->health.num_late);
    http_ended_by(page, "health", "room", beside->health.num_room);
}

char *service_metrics(const struct service *service, const struct grpc_server_stats *stats,
                      const struct service_beside *beside)
{
    struct metrics_page page;
    metrics_open(&page);
    streams(&page, service);
    pushes(&page, &service->stats, service->version.last);
    certificates(&page, issuer_stats(service->issuer), service->stats.num_csr_limited,
                 service->stats.num_csr_unproved);
    reviews(&page, service->reviews);
    folder(&page, service);
    world(&page, &service->world);
    metrics_gauge(&page, NAME "files_held",
                  "Files that are still being written, so that what they held before counts.",
                  beside->num_files_held);
    metrics_counter(&page, NAME "log_lines_dropped_total",
                    "Lines of the log that its reader had no room for.", log_num_dropped());
    http_ended(&page, beside);
    server(&page, stats);
    if (beside->more != NULL) {
        beside->more(beside->ctx, &page);
    }
    return metrics_close(&page);
}
