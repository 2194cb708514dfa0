// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/policyd/stream/service.h"

static struct fleet *make_fleet(void)
{
    const char *text = "workloads:\n"
                       "- {spiffe_id: 'spiffe://demo.example/a', unix_uids: [10]}\n"
                       "- {spiffe_id: 'spiffe://demo.example/b', unix_uids: [11]}\n";
    const struct fleet_piece piece = {.name = "a", .text = text, .len = strlen(text)};
    struct err err = {{0}, {0}};
    struct fleet *fleet = fleet_new(&piece, 1, "demo.example", &err);
    cr_assert_not_null(fleet, "%s", err.text);
    return fleet;
}

// Every figure has a value of its own, so that no two can stand in each other's place.
static const char wanted[] =
    "# HELP tabard_policyd_streams Sidecars connected now.\n"
    "# TYPE tabard_policyd_streams gauge\n"
    "tabard_policyd_streams 3\n"
    "# HELP tabard_policyd_streams_silent Of these, the ones whose host does not answer.\n"
    "# TYPE tabard_policyd_streams_silent gauge\n"
    "tabard_policyd_streams_silent 0\n"
    "# HELP tabard_policyd_streams_total Streams since the start.\n"
    "# TYPE tabard_policyd_streams_total counter\n"
    "tabard_policyd_streams_total 4\n"
    "# HELP tabard_policyd_admissions_total Decisions on who a sidecar is, by result.\n"
    "# TYPE tabard_policyd_admissions_total counter\n"
    "tabard_policyd_admissions_total{result=\"ok\"} 100\n"
    "tabard_policyd_admissions_total{result=\"no_proof\"} 101\n"
    "tabard_policyd_admissions_total{result=\"certificate\"} 102\n"
    "tabard_policyd_admissions_total{result=\"not_named\"} 103\n"
    "tabard_policyd_admissions_total{result=\"ambiguous\"} 104\n"
    "tabard_policyd_admissions_total{result=\"token_unknown\"} 105\n"
    "tabard_policyd_admissions_total{result=\"token_used\"} 106\n"
    "tabard_policyd_admissions_total{result=\"token_held\"} 107\n"
    "tabard_policyd_admissions_total{result=\"token_expired\"} 108\n"
    "tabard_policyd_admissions_total{result=\"token_broken\"} 109\n"
    "tabard_policyd_admissions_total{result=\"token_for_another\"} 110\n"
    "tabard_policyd_admissions_total{result=\"account_malformed\"} 111\n"
    "tabard_policyd_admissions_total{result=\"account_expired\"} 112\n"
    "tabard_policyd_admissions_total{result=\"account_audience\"} 113\n"
    "tabard_policyd_admissions_total{result=\"account_gone\"} 114\n"
    "tabard_policyd_admissions_total{result=\"account_refused\"} 115\n"
    "tabard_policyd_admissions_total{result=\"no_account\"} 116\n"
    "tabard_policyd_admissions_total{result=\"no_pod\"} 117\n"
    "tabard_policyd_admissions_total{result=\"pod_gone\"} 118\n"
    "tabard_policyd_admissions_total{result=\"account_of_another\"} 119\n"
    "tabard_policyd_admissions_total{result=\"unreviewed\"} 120\n"
    "# HELP tabard_policyd_streams_ended_total Streams that we ended, by reason.\n"
    "# TYPE tabard_policyd_streams_ended_total counter\n"
    "tabard_policyd_streams_ended_total{reason=\"malformed\"} 200\n"
    "tabard_policyd_streams_ended_total{reason=\"not_admitted\"} 201\n"
    "tabard_policyd_streams_ended_total{reason=\"address\"} 202\n"
    "tabard_policyd_streams_ended_total{reason=\"no_longer_granted\"} 203\n"
    "tabard_policyd_streams_ended_total{reason=\"revoked\"} 204\n"
    "tabard_policyd_streams_ended_total{reason=\"pod_gone\"} 205\n"
    "tabard_policyd_streams_ended_total{reason=\"silent\"} 206\n"
    "tabard_policyd_streams_ended_total{reason=\"csr_flood\"} 207\n"
    "tabard_policyd_streams_ended_total{reason=\"streams_max\"} 208\n"
    "tabard_policyd_streams_ended_total{reason=\"internal\"} 209\n"
    "# HELP tabard_policyd_responses_total Responses that were sent, by what they held.\n"
    "# TYPE tabard_policyd_responses_total counter\n"
    "tabard_policyd_responses_total{kind=\"state\"} 5\n"
    "tabard_policyd_responses_total{kind=\"delta\"} 6\n"
    "# HELP tabard_policyd_response_bytes_total Bytes of responses.\n"
    "# TYPE tabard_policyd_response_bytes_total counter\n"
    "tabard_policyd_response_bytes_total 7\n"
    "# HELP tabard_policyd_results_total What sidecars answered to responses.\n"
    "# TYPE tabard_policyd_results_total counter\n"
    "tabard_policyd_results_total{result=\"ack\"} 8\n"
    "tabard_policyd_results_total{result=\"nack\"} 9\n"
    "# HELP tabard_policyd_push_seconds From a change to the last sidecar's result.\n"
    "# TYPE tabard_policyd_push_seconds summary\n"
    "tabard_policyd_push_seconds_sum 2.500004\n"
    "tabard_policyd_push_seconds_count 10\n"
    "# HELP tabard_policyd_push_last_seconds The same, of the last change.\n"
    "# TYPE tabard_policyd_push_last_seconds gauge\n"
    "tabard_policyd_push_last_seconds 0.004000\n"
    "# HELP tabard_policyd_push_max_seconds The same, of the slowest change.\n"
    "# TYPE tabard_policyd_push_max_seconds gauge\n"
    "tabard_policyd_push_max_seconds 1.000000\n"
    "# HELP tabard_policyd_version The version that was drawn last.\n"
    "# TYPE tabard_policyd_version gauge\n"
    "tabard_policyd_version 1795814361797348\n"
    "# HELP tabard_policyd_certificates_issued_total Certificates that were signed.\n"
    "# TYPE tabard_policyd_certificates_issued_total counter\n"
    "tabard_policyd_certificates_issued_total 11\n"
    "# HELP tabard_policyd_certificates_refused_total Signing requests that were refused, by "
    "reason.\n"
    "# TYPE tabard_policyd_certificates_refused_total counter\n"
    "tabard_policyd_certificates_refused_total{reason=\"request\"} 12\n"
    "tabard_policyd_certificates_refused_total{reason=\"limit_all\"} 13\n"
    "tabard_policyd_certificates_refused_total{reason=\"limit_identity\"} 25\n"
    "tabard_policyd_certificates_refused_total{reason=\"limit_stream\"} 14\n"
    "tabard_policyd_certificates_refused_total{reason=\"unproved\"} 26\n"
    "# HELP tabard_policyd_crls_written_total CRLs that were written anew in time.\n"
    "# TYPE tabard_policyd_crls_written_total counter\n"
    "tabard_policyd_crls_written_total 15\n"
    "# HELP tabard_policyd_reviews_total Tokens of service accounts that were reviewed, by "
    "result.\n"
    "# TYPE tabard_policyd_reviews_total counter\n"
    "tabard_policyd_reviews_total{result=\"ok\"} 0\n"
    "tabard_policyd_reviews_total{result=\"malformed\"} 0\n"
    "tabard_policyd_reviews_total{result=\"expired\"} 0\n"
    "tabard_policyd_reviews_total{result=\"audience\"} 0\n"
    "tabard_policyd_reviews_total{result=\"account_gone\"} 0\n"
    "tabard_policyd_reviews_total{result=\"pod_gone\"} 0\n"
    "tabard_policyd_reviews_total{result=\"refused\"} 0\n"
    "tabard_policyd_reviews_total{result=\"no_account\"} 0\n"
    "tabard_policyd_reviews_total{result=\"no_pod\"} 0\n"
    "tabard_policyd_reviews_total{result=\"unavailable\"} 0\n"
    "# HELP tabard_policyd_reviews_asked_total Reviews that the API server was asked for.\n"
    "# TYPE tabard_policyd_reviews_asked_total counter\n"
    "tabard_policyd_reviews_asked_total 0\n"
    "# HELP tabard_policyd_reviews_put_off_total Tokens whose sidecar was told to come again, by "
    "what "
    "they waited for in vain.\n"
    "# TYPE tabard_policyd_reviews_put_off_total counter\n"
    "tabard_policyd_reviews_put_off_total{why=\"late\"} 0\n"
    "tabard_policyd_reviews_put_off_total{why=\"crowded\"} 0\n"
    "# HELP tabard_policyd_reviews_waiting Tokens that wait for their turn now.\n"
    "# TYPE tabard_policyd_reviews_waiting gauge\n"
    "tabard_policyd_reviews_waiting 0\n"
    "# HELP tabard_policyd_reviews_running Reviews under way now.\n"
    "# TYPE tabard_policyd_reviews_running gauge\n"
    "tabard_policyd_reviews_running 0\n"
    "# HELP tabard_policyd_updates_refused_total Changes of the folder that can't be used, by what "
    "was changed.\n"
    "# TYPE tabard_policyd_updates_refused_total counter\n"
    "tabard_policyd_updates_refused_total{what=\"fleet\"} 23\n"
    "tabard_policyd_updates_refused_total{what=\"trust\"} 24\n"
    "# HELP tabard_policyd_crl_next_update_timestamp_seconds When the first CRL that is sent ends, "
    "in Unix time; 0: there is none.\n"
    "# TYPE tabard_policyd_crl_next_update_timestamp_seconds gauge\n"
    "tabard_policyd_crl_next_update_timestamp_seconds 1900000000\n"
    "# HELP tabard_policyd_workloads Workloads that the fleet names.\n"
    "# TYPE tabard_policyd_workloads gauge\n"
    "tabard_policyd_workloads 2\n"
    "# HELP tabard_policyd_views Identities that are shown something.\n"
    "# TYPE tabard_policyd_views gauge\n"
    "tabard_policyd_views 16\n"
    "# HELP tabard_policyd_sights_total How often what an identity may see was worked out.\n"
    "# TYPE tabard_policyd_sights_total counter\n"
    "tabard_policyd_sights_total 17\n"
    "# HELP tabard_policyd_bodies_total States and deltas that were packed.\n"
    "# TYPE tabard_policyd_bodies_total counter\n"
    "tabard_policyd_bodies_total 18\n"
    "# HELP tabard_policyd_claims Sidecars whose addresses are known, of every policyd.\n"
    "# TYPE tabard_policyd_claims gauge\n"
    "tabard_policyd_claims 19\n"
    "# HELP tabard_policyd_addresses Addresses that belong to an identity.\n"
    "# TYPE tabard_policyd_addresses gauge\n"
    "tabard_policyd_addresses 20\n"
    "# HELP tabard_policyd_files_held Files that are still being written, so that what they held "
    "before counts.\n"
    "# TYPE tabard_policyd_files_held gauge\n"
    "tabard_policyd_files_held 3\n"
    "# HELP tabard_policyd_log_lines_dropped_total Lines of the log that its reader had no room "
    "for.\n"
    "# TYPE tabard_policyd_log_lines_dropped_total counter\n"
    "tabard_policyd_log_lines_dropped_total 0\n"
    "# HELP tabard_policyd_http_connections_ended_total Connections to policyd's pages "
    "that it ended: late, or for want of room.\n"
    "# TYPE tabard_policyd_http_connections_ended_total counter\n"
    "tabard_policyd_http_connections_ended_total{page=\"metrics\",why=\"late\"} 23\n"
    "tabard_policyd_http_connections_ended_total{page=\"metrics\",why=\"room\"} 24\n"
    "tabard_policyd_http_connections_ended_total{page=\"health\",why=\"late\"} 25\n"
    "tabard_policyd_http_connections_ended_total{page=\"health\",why=\"room\"} 26\n"
    "# HELP tabard_policyd_connections Connections open now.\n"
    "# TYPE tabard_policyd_connections gauge\n"
    "tabard_policyd_connections 21\n"
    "# HELP tabard_policyd_connections_total Connections since the start.\n"
    "# TYPE tabard_policyd_connections_total counter\n"
    "tabard_policyd_connections_total 22\n"
    "# HELP tabard_policyd_limit_bites_total How often a limit of the connections has bitten.\n"
    "# TYPE tabard_policyd_limit_bites_total counter\n";

static void fill(struct service *service)
{
    service->stats = (struct service_stats){.num_streams = 3,
                                            .num_started = 4,
                                            .num_states = 5,
                                            .num_deltas = 6,
                                            .num_bytes = 7,
                                            .num_acks = 8,
                                            .num_nacks = 9,
                                            .num_pushes = 10,
                                            .num_fleets_refused = 23,
                                            .num_trusts_refused = 24,
                                            .num_csr_unproved = 26,
                                            .num_csr_limited = 14,
                                            .push_ns_sum = 2500003900,
                                            .push_ns_last = 4000000,
                                            .push_ns_max = 1000000000};
    for (unsigned i = 0; i < ADMIT_NUM_RESULTS; i++) {
        service->stats.admitted[i] = 100 + i;
    }
    for (unsigned i = 0; i < SERVICE_NUM_ENDS; i++) {
        service->stats.ends[i] = 200 + i;
    }
    service->version.last = 1795814361797348;
    service->world.num_views = 16;
    service->world.num_sights = 17;
    service->world.num_bodies = 18;
    service->world.registry.num_claims = 19;
    service->world.registry.places.num = 20;
}

Test(service_metrics, every_figure_stands_in_its_own_line, .timeout = 10)
{
    static struct service service;
    struct grpc_server_stats server = {.num_connections = 21, .num_accepted = 22};
    uv_loop_t loop;
    cr_assert_eq(uv_loop_init(&loop), 0);
    fill(&service);
    list_init(&service.sessions);
    service.world.fleet = make_fleet();
    service.world.trust = &(struct ca_trust){.next_update = 1900000000};
    service.issuer = issuer_new(&loop, "/nowhere");
    cr_assert_not_null(service.issuer);
    *(struct issuer_stats *)issuer_stats(service.issuer) =
        (struct issuer_stats){.num_issued = 11,
                              .num_refused = 12,
                              .num_limited = 13,
                              .num_limited_asker = 25,
                              .num_crls = 15};
    for (unsigned i = 0; i < GRPC_LIMIT_NUM; i++) {
        server.bites.num[i] = 300 + i;
    }
    char *text = service_metrics(
        &service, &server,
        &(struct service_beside){.num_files_held = 3, .metrics = {23, 24}, .health = {25, 26}});
    cr_assert_eq(strncmp(text, wanted, strlen(wanted)), 0, "%s", text);
    const char *rest = text + strlen(wanted);
    for (unsigned i = 0; i < GRPC_LIMIT_NUM; i++) {
        char line[128];
        int len = snprintf(line, sizeof line, "tabard_policyd_limit_bites_total{limit=\"%s\"} %u\n",
                           grpc_limit_name((enum grpc_limit)i), 300 + i);
        cr_assert_eq(strncmp(rest, line, (size_t)len), 0, "%s is not at %s", line, rest);
        rest += len;
    }
    cr_expect_str_eq(rest, "");
    free(text);
    fleet_free(service.world.fleet);
    issuer_close(service.issuer);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(&loop), 0);
}
