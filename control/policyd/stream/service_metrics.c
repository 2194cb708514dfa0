// SPDX-License-Identifier: Apache-2.0
//
// What an operator sees of the policy agent (Prometheus text format 0.0.4).
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/version.h"
#include "net/http2/limits.h"
#include "control/policyd/stream/service.h"

#define NAME "tabard_policyd_"

static void family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP " NAME "%s %s\n# TYPE " NAME "%s %s\n", name, help, name, type);
}

static void single(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    family(out, name, type, help);
    fprintf(out, NAME "%s %" PRIu64 "\n", name, value);
}

static void streams(FILE *out, const struct service *service)
{
    const struct service_stats *stats = &service->stats;
    single(out, "streams", "gauge", "Sidecars connected now.", stats->num_streams);
    single(out, "streams_total", "counter", "Streams since the start.", stats->num_started);
    family(out, "admissions_total", "counter", "Decisions on who a sidecar is, by result.");
    for (int i = 0; i < ADMIT_NUM_RESULTS; i++) {
        fprintf(out, NAME "admissions_total{result=\"%s\"} %" PRIu64 "\n",
                admit_result_text((enum admit_result)i), stats->admitted[i]);
    }
    family(out, "streams_ended_total", "counter", "Streams that we ended, by reason.");
    for (int i = 0; i < SERVICE_NUM_ENDS; i++) {
        fprintf(out, NAME "streams_ended_total{reason=\"%s\"} %" PRIu64 "\n",
                service_end_text((enum service_end)i), stats->ends[i]);
    }
}

static void pushes(FILE *out, const struct service *service)
{
    const struct service_stats *stats = &service->stats;
    family(out, "responses_total", "counter", "Responses that were sent, by what they held.");
    fprintf(out,
            NAME "responses_total{kind=\"state\"} %" PRIu64 "\n" NAME
                 "responses_total{kind=\"delta\"} %" PRIu64 "\n",
            stats->num_states, stats->num_deltas);
    single(out, "response_bytes_total", "counter", "Bytes of responses.", stats->num_bytes);
    family(out, "results_total", "counter", "What sidecars answered to responses.");
    fprintf(out,
            NAME "results_total{result=\"ack\"} %" PRIu64 "\n" NAME
                 "results_total{result=\"nack\"} %" PRIu64 "\n",
            stats->num_acks, stats->num_nacks);
    family(out, "push_seconds", "summary", "From a change to the last sidecar's result.");
    fprintf(out, NAME "push_seconds_sum %.6f\n" NAME "push_seconds_count %" PRIu64 "\n",
            (double)stats->push_ns_sum / 1e9, stats->num_pushes);
    family(out, "push_last_seconds", "gauge", "The same, of the last change.");
    fprintf(out, NAME "push_last_seconds %.6f\n", (double)stats->push_ns_last / 1e9);
    family(out, "push_max_seconds", "gauge", "The same, of the slowest change.");
    fprintf(out, NAME "push_max_seconds %.6f\n", (double)stats->push_ns_max / 1e9);
    single(out, "version", "gauge", "The version that was drawn last.", service->version.last);
}

static void certificates(FILE *out, const struct service *service)
{
    const struct issuer_stats *stats = issuer_stats(service->issuer);
    single(out, "certificates_issued_total", "counter", "Certificates that were signed.",
           stats->num_issued);
    family(out, "certificates_refused_total", "counter",
           "Signing requests that were refused, by reason.");
    fprintf(out,
            NAME "certificates_refused_total{reason=\"request\"} %" PRIu64 "\n" NAME
                 "certificates_refused_total{reason=\"limit_all\"} %" PRIu64 "\n" NAME
                 "certificates_refused_total{reason=\"limit_stream\"} %" PRIu64 "\n",
            stats->num_refused, stats->num_limited, service->stats.num_csr_limited);
    single(out, "crls_written_total", "counter", "CRLs that were written anew in time.",
           stats->num_crls);
}

static void world(FILE *out, const struct world *shown)
{
    single(out, "workloads", "gauge", "Workloads that the fleet names.",
           shown->fleet->workloads.num);
    single(out, "views", "gauge", "Identities that are shown something.", shown->num_views);
    single(out, "sights_total", "counter", "How often what an identity may see was worked out.",
           shown->num_sights);
    single(out, "bodies_total", "counter", "States and deltas that were packed.",
           shown->num_bodies);
    single(out, "claims", "gauge", "Sidecars whose addresses are known, of every policyd.",
           shown->registry.num_claims);
    single(out, "addresses", "gauge", "Addresses that belong to an identity.",
           shown->registry.places.num);
}

static void server(FILE *out, const struct grpc_server_stats *stats)
{
    single(out, "connections", "gauge", "Connections open now.", stats->num_connections);
    single(out, "connections_total", "counter", "Connections since the start.",
           stats->num_accepted);
    family(out, "limit_bites_total", "counter", "How often a limit of the connections has bitten.");
    for (int i = 0; i < GRPC_LIMIT_NUM; i++) {
        fprintf(out, NAME "limit_bites_total{limit=\"%s\"} %" PRIu64 "\n",
                grpc_limit_name((enum grpc_limit)i), stats->bites.num[i]);
    }
}

char *service_metrics(const struct service *service, const struct grpc_server_stats *stats)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out == NULL) {
        return NULL;
    }
    family(out, "build_info", "gauge", "Always 1; the version is in the label.");
    fprintf(out, NAME "build_info{version=\"%s\"} 1\n", TABARD_VERSION);
    streams(out, service);
    pushes(out, service);
    certificates(out, service);
    world(out, &service->world);
    server(out, stats);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
