// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/report.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/version.h"
#include "proxy/link/stats.h"

static struct library some_library(void)
{
    return (struct library){"some", "some_library", "1.2 of 3"};
}

static const struct program program = {
    .name = "agent", .version = "4.5", .libraries = {some_library}};

static struct assembly_crl crl = {
    .trust_domain = "demo.example", .next_update = 1900000000, .num_unproved = 3};

static const struct sandbox_facts agent_sandbox = {
    .layers = {[SANDBOX_NOT_DUMPABLE] = {SANDBOX_IN_FORCE, ""},
               [SANDBOX_FILES] = {SANDBOX_IN_FORCE, "devices alone"}}};
static const struct sandbox_facts proxy_sandbox = {
    .layers = {[SANDBOX_PORTS] = {SANDBOX_MISSING, "an old kernel"},
               [SANDBOX_SYSTEM_CALLS] = {SANDBOX_IN_FORCE, ""}}};

static struct report_facts some_facts(void)
{
    return (struct report_facts){.program = &program,
                                 .generation = 7,
                                 .applied_unix_ms = 1790000000042,
                                 .is_observing = true,
                                 .spiffe_id = "spiffe://demo.example/ns/shop/sa/web",
                                 .not_after_unix = 1800000000,
                                 .crls = &crl,
                                 .num_crls = 1,
                                 .last_error = "",
                                 .proxy_pid = 42,
                                 .is_proxy_up = true,
                                 .proxy_restarts = 3,
                                 .num_violations = 1,
                                 .agent_sandbox = &agent_sandbox,
                                 .proxy_sandbox = &proxy_sandbox,
                                 .num_rejected = 2,
                                 .num_source_errors = 1,
                                 .num_files_held = 5,
                                 .num_log_lines_dropped = 4,
                                 .num_probes = {11, 12},
                                 .http = {{"metrics", 6, 7}, {"health", 8, 9}},
                                 .signatures = {11, 12, 13, 14, 15}};
}

// The whole page of an agent whose proxy does not answer.
static const char agent_page[] =
    "# HELP tabard_build_info Always 1; the versions of Tabard and of the program's libraries are "
    "in the labels.\n"
    "# TYPE tabard_build_info gauge\n"
    "tabard_build_info{version=\"4.5\",some_library=\"1.2 of 3\"} 1\n"
    "# HELP tabard_ready Whether the sidecar may get traffic.\n"
    "# TYPE tabard_ready gauge\n"
    "tabard_ready 1\n"
    "# HELP tabard_snapshot_generation The generation in force on every worker; 0: none.\n"
    "# TYPE tabard_snapshot_generation gauge\n"
    "tabard_snapshot_generation 7\n"
    "# HELP tabard_snapshot_applied_timestamp_seconds When a snapshot last came into force, in "
    "Unix time.\n"
    "# TYPE tabard_snapshot_applied_timestamp_seconds gauge\n"
    "tabard_snapshot_applied_timestamp_seconds 1790000000.042\n"
    "# HELP tabard_observing Whether what policy denies is served and counted, since enforcement "
    "is OBSERVE.\n"
    "# TYPE tabard_observing gauge\n"
    "tabard_observing 1\n"
    "# HELP tabard_post_quantum_demanded Whether peers without X25519MLKEM768 are refused, since "
    "key_exchange is POST_QUANTUM.\n"
    "# TYPE tabard_post_quantum_demanded gauge\n"
    "tabard_post_quantum_demanded 0\n"
    "# HELP tabard_snapshot_rejected_total Snapshots that the proxy refused.\n"
    "# TYPE tabard_snapshot_rejected_total counter\n"
    "tabard_snapshot_rejected_total 2\n"
    "# HELP tabard_source_errors_total Updates that were refused before they reached the proxy.\n"
    "# TYPE tabard_source_errors_total counter\n"
    "tabard_source_errors_total 1\n"
    "# HELP tabard_files_held Files that are still being written, so that what they held before "
    "counts.\n"
    "# TYPE tabard_files_held gauge\n"
    "tabard_files_held 5\n"
    "# HELP tabard_log_lines_dropped_total Lines of the agent's log that its reader had no room "
    "for.\n"
    "# TYPE tabard_log_lines_dropped_total counter\n"
    "tabard_log_lines_dropped_total 4\n"
    "# HELP tabard_application_probes_total The application's probes that were made in the "
    "kubelet's place.\n"
    "# TYPE tabard_application_probes_total counter\n"
    "tabard_application_probes_total{result=\"good\"} 12\n"
    "tabard_application_probes_total{result=\"bad\"} 11\n"
    "# HELP tabard_http_connections_ended_total Connections to the agent's pages that it ended: "
    "late, or for want of room.\n"
    "# TYPE tabard_http_connections_ended_total counter\n"
    "tabard_http_connections_ended_total{page=\"metrics\",why=\"late\"} 6\n"
    "tabard_http_connections_ended_total{page=\"metrics\",why=\"room\"} 7\n"
    "tabard_http_connections_ended_total{page=\"health\",why=\"late\"} 8\n"
    "tabard_http_connections_ended_total{page=\"health\",why=\"room\"} 9\n"
    "# HELP tabard_certificate_expiry_timestamp_seconds When the certificate in force ends, in "
    "Unix time.\n"
    "# TYPE tabard_certificate_expiry_timestamp_seconds gauge\n"
    "tabard_certificate_expiry_timestamp_seconds{spiffe_id=\"spiffe://demo.example/ns/shop/sa/"
    "web\"} 1800000000\n"
    "# HELP tabard_crl_next_update_timestamp_seconds When the first CRL of a trust bundle in "
    "force ends, in Unix time.\n"
    "# TYPE tabard_crl_next_update_timestamp_seconds gauge\n"
    "tabard_crl_next_update_timestamp_seconds{trust_domain=\"demo.example\"} 1900000000\n"
    "# HELP tabard_crls_unproved CRLs in force whose issuer is no root: a chain must show it.\n"
    "# TYPE tabard_crls_unproved gauge\n"
    "tabard_crls_unproved{trust_domain=\"demo.example\"} 3\n"
    "# HELP tabard_signatures_total Requests of the proxy to sign a handshake, by what came of "
    "them.\n"
    "# TYPE tabard_signatures_total counter\n"
    "tabard_signatures_total{result=\"ok\"} 11\n"
    "tabard_signatures_total{result=\"unknown_key\"} 12\n"
    "tabard_signatures_total{result=\"not_certificate_verify\"} 13\n"
    "tabard_signatures_total{result=\"wrong_algorithm\"} 14\n"
    "tabard_signatures_total{result=\"failed\"} 15\n"
    "# HELP tabard_proxy_up Whether the proxy process runs, and answers.\n"
    "# TYPE tabard_proxy_up gauge\n"
    "tabard_proxy_up 1\n"
    "# HELP tabard_proxy_restarts_total Starts of the proxy process after the first.\n"
    "# TYPE tabard_proxy_restarts_total counter\n"
    "tabard_proxy_restarts_total 3\n"
    "# HELP tabard_sandbox_layer Whether a layer of a program's sandbox is in force.\n"
    "# TYPE tabard_sandbox_layer gauge\n"
    "tabard_sandbox_layer{program=\"agent\",layer=\"not_dumpable\"} 1\n"
    "tabard_sandbox_layer{program=\"agent\",layer=\"landlock_files\"} 1\n"
    "tabard_sandbox_layer{program=\"proxy\",layer=\"landlock_ports\"} 0\n"
    "tabard_sandbox_layer{program=\"proxy\",layer=\"seccomp\"} 1\n"
    "# HELP tabard_proxy_sandbox_violations_total Proxies that ended for a system call that their "
    "sandbox forbids.\n"
    "# TYPE tabard_proxy_sandbox_violations_total counter\n"
    "tabard_proxy_sandbox_violations_total 1\n";

static char *metrics_text(const struct report_facts *facts,
                          const Tabard__V1__InspectResult *inspect)
{
    struct proxy_metrics_refusals refusals = {0};
    return report_metrics(facts, inspect, &refusals);
}

Test(report, prints_the_agent_s_own_metrics, .timeout = 10)
{
    struct report_facts facts = some_facts();
    char *text = metrics_text(&facts, NULL);
    cr_expect_eq(strncmp(text, agent_page, strlen(agent_page)), 0, "%s", text);
    const char *rest = text + strlen(agent_page);
    cr_expect_eq(strncmp(rest, "# HELP tabard_proxy_answered ", 29), 0, "%s", rest);
    cr_expect_not_null(
        strstr(rest, "\ntabard_proxy_answered 0\n# HELP tabard_proxy_metrics_refused_"), "%s",
        rest);
    free(text);
}

Test(report, prints_the_proxy_s_metrics_behind_the_agent_s, .timeout = 10)
{
    struct report_facts facts = some_facts();
    Tabard__V1__InspectResult *result = must_alloc(1, sizeof *result);
    static struct stats set;
    struct stats *sets[] = {&set};
    stats_set(&set.bytes_up[DIRECTION_INBOUND], 21);
    stats_set(&set.bytes_down[DIRECTION_INBOUND], 22);
    stats_set(&set.buffer_bytes, 23);
    tabard__v1__inspect_result__init(result);
    stats_report(result, &program, sets, 1);
    char *text = metrics_text(&facts, result);
    cr_assert_eq(strncmp(text, agent_page, strlen(agent_page)), 0);
    static const char *const wanted[] = {
        "\n# HELP tabard_bytes_total Bytes of the applications relayed; up is from the client to "
        "the server.\n# TYPE tabard_bytes_total counter\n"
        "tabard_bytes_total{direction=\"inbound\",flow=\"up\"} 21\n"
        "tabard_bytes_total{direction=\"inbound\",flow=\"down\"} 22\n"
        "tabard_bytes_total{direction=\"outbound\",flow=\"up\"} 0\n"
        "tabard_bytes_total{direction=\"outbound\",flow=\"down\"} 0\n",
        "\n# HELP tabard_buffer_bytes Relay memory lent to connections.\n"
        "# TYPE tabard_buffer_bytes gauge\ntabard_buffer_bytes 23\n",
        "\ntabard_proxy_answered 1\n", "\ntabard_proxy_metrics_refused_total 0\n"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        cr_expect(strstr(text, wanted[i]) != NULL, "%s is not in\n%s", wanted[i], text);
    }
    free(text);
    tabard__v1__inspect_result__free_unpacked(result, NULL);
}

Test(report, leaves_out_what_there_is_none_of, .timeout = 10)
{
    struct report_facts facts = some_facts();
    facts.spiffe_id = "";
    facts.num_crls = 0;
    facts.is_proxy_up = false;
    strcpy(facts.not_ready_because, "no configuration is in force yet");
    char *text = metrics_text(&facts, NULL);
    cr_expect(strstr(text, "tabard_certificate_expiry") == NULL);
    cr_expect(strstr(text, "tabard_crl") == NULL);
    cr_expect(strstr(text, "tabard_ready 0\n") != NULL);
    cr_expect(strstr(text, "tabard_proxy_up 0\n") != NULL);
    free(text);
}

Test(report, prints_the_status_as_json, .timeout = 10)
{
    struct report_facts facts = some_facts();
    strcpy(facts.not_ready_because, "draining");
    facts.last_error = "mesh.yaml:1:1: \"x\"";
    facts.last_error_unix_ms = 5;
    Tabard__V1__Connection connection = TABARD__V1__CONNECTION__INIT;
    Tabard__V1__Connection *connections[] = {&connection};
    Tabard__V1__InspectResult result = TABARD__V1__INSPECT_RESULT__INIT;
    connection.peer = (char *)"spiffe://demo.example/x";
    result.connections = connections;
    result.n_connections = 1;
    result.num_connections = 12;
    char *text = report_status(&facts, &result);
    static const char *const words[] = {"\"version\"",
                                        "\"" TABARD_VERSION "\"",
                                        "\"not_ready_because\"",
                                        "\"draining\"",
                                        "\"generation\"",
                                        "\\\"x\\\"",
                                        "\"spiffe://demo.example/x\"",
                                        "\"num_connections\": 12",
                                        "\"agent_sandbox\"",
                                        "\"landlock_ports\"",
                                        "\"an old kernel\"",
                                        "\"last_error_unix_ms\": 5"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        cr_expect(strstr(text, words[i]) != NULL, "%s is not in %s", words[i], text);
    }
    cr_expect(strstr(text, "\"ready\"") == NULL, "false is left out");
    free(text);
}

Test(report, says_which_enforcement_and_key_exchange_are_in_force_and_by_whom, .timeout = 10)
{
    static const struct {
        int key_exchange;   // of the snapshot in force; -1: it has no settings
        const char *status; // what it says; NULL: no snapshot is in force
        const char *metric;
    } rows[] = {
        {-1, "\"key_exchange\": \"ANY\"", "tabard_post_quantum_demanded 0\n"},
        {0, "\"key_exchange\": \"ANY\"", "tabard_post_quantum_demanded 0\n"},
        {1, "\"key_exchange\": \"ANY\"", "tabard_post_quantum_demanded 0\n"},
        {2, "\"key_exchange\": \"POST_QUANTUM\"", "tabard_post_quantum_demanded 1\n"},
        {2, NULL, "tabard_post_quantum_demanded 0\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Tabard__V1__Snapshot snapshot = TABARD__V1__SNAPSHOT__INIT;
        Tabard__V1__Settings settings = TABARD__V1__SETTINGS__INIT;
        struct report_facts facts = some_facts();
        settings.key_exchange = (Tabard__V1__Settings__KeyExchange)rows[i].key_exchange;
        snapshot.settings = rows[i].key_exchange < 0 ? NULL : &settings;
        facts.snapshot = rows[i].status == NULL ? NULL : &snapshot;
        facts.enforcement_by = "mesh.yaml";
        facts.key_exchange_by = "policy agent";
        char *metrics = metrics_text(&facts, NULL);
        char *status = report_status(&facts, NULL);
        cr_expect(strstr(metrics, rows[i].metric) != NULL, "row %zu: %s", i, metrics);
        cr_expect((strstr(status, "key_exchange") != NULL) == (rows[i].status != NULL), "%zu", i);
        cr_expect(strstr(status, rows[i].status == NULL ? "" : rows[i].status) != NULL,
                  "row %zu: %s", i, status);
        if (rows[i].status != NULL) {
            cr_expect(strstr(status, "\"enforcement_by\": \"mesh.yaml\"") != NULL, "%s", status);
            cr_expect(strstr(status, "\"key_exchange_by\": \"policy agent\"") != NULL, "%s",
                      status);
        }
        free(metrics);
        free(status);
    }
}

Test(report, shows_the_policy_agent_s_stream_where_there_is_one, .timeout = 10)
{
    static const char *const wanted[] = {
        "\ntabard_policy_agent_connected 1\n",
        "\ntabard_policy_agent_silent_seconds 4\n",
        "\ntabard_policy_agent_version 7\n",
        "\ntabard_policy_agent_state_age_seconds 90\n",
        "\ntabard_policy_agent_failures_total 3\n",
        "\ntabard_policy_agent_nacks_total 2\n",
        "\ntabard_policy_agent_store_failures_total 1\n",
    };
    struct report_facts facts = some_facts();
    const struct source_facts policy = {.address = "unix:/pa",
                                        .is_connected = true,
                                        .version = 7,
                                        .state_age_s = 90,
                                        .silent_s = 4,
                                        .num_failures = 3,
                                        .num_nacks = 2,
                                        .num_store_failures = 1,
                                        .last_error = "\"gone\""};
    char *without = metrics_text(&facts, NULL);
    cr_expect_null(strstr(without, "policy_agent"));
    facts.policy_agent = policy;
    char *with = metrics_text(&facts, NULL);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        cr_expect(strstr(with, wanted[i]) != NULL, "no %s in %s", wanted[i], with);
    }
    char *status = report_status(&facts, NULL);
    cr_expect(strstr(status, "unix:/pa") != NULL && strstr(status, "\\\"gone\\\"") != NULL, "%s",
              status);
    cr_expect(strstr(status, "\"connected\": true") != NULL, "%s", status);
    free(without);
    free(with);
    free(status);
}
