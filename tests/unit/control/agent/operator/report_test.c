// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/report.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct assembled_crl crl = {.trust_domain = "demo.example", .next_update = 1900000000};

static struct report_facts some_facts(void)
{
    return (struct report_facts){.version = "1.2.3",
                                 .boringssl_api = 17,
                                 .generation = 7,
                                 .applied_unix_ms = 1790000000042,
                                 .spiffe_id = "spiffe://demo.example/ns/shop/sa/web",
                                 .not_after_unix = 1800000000,
                                 .crls = &crl,
                                 .num_crls = 1,
                                 .last_error = "",
                                 .proxy_pid = 42,
                                 .proxy_restarts = 3,
                                 .num_rejected = 2,
                                 .num_source_errors = 1,
                                 .signatures = {[KEYRING_SIGNED] = 11, [KEYRING_UNKNOWN_KEY] = 5}};
}

static const char *const lines[] = {
    "tabard_build_info{version=\"1.2.3\",boringssl_api=\"17\"} 1\n",
    "# TYPE tabard_snapshot_generation gauge\ntabard_snapshot_generation 7\n",
    "tabard_snapshot_applied_timestamp_seconds 1790000000.042\n",
    "tabard_snapshot_rejected_total 2\n",
    "tabard_source_errors_total 1\n",
    "tabard_certificate_expiry_timestamp_seconds{spiffe_id=\"spiffe://demo.example/ns/shop/sa/"
    "web\"} 1800000000\n",
    "tabard_crl_next_update_timestamp_seconds{trust_domain=\"demo.example\"} 1900000000\n",
    "tabard_signatures_total{result=\"ok\"} 11\n",
    "tabard_signatures_total{result=\"unknown_key\"} 5\n",
    "tabard_proxy_up 1\n",
    "tabard_proxy_restarts_total 3\n",
    "tabard_ready 1\n",
};

Test(report, prints_the_agent_s_own_metrics, .timeout = 10)
{
    struct report_facts facts = some_facts();
    char *text = report_metrics(&facts, NULL);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        cr_expect(strstr(text, lines[i]) != NULL, "%s is not in\n%s", lines[i], text);
    }
    free(text);
}

Test(report, leaves_out_what_there_is_none_of, .timeout = 10)
{
    struct report_facts facts = some_facts();
    facts.spiffe_id = "";
    facts.num_crls = 0;
    facts.not_ready_because = "no configuration is in force yet";
    char *text = report_metrics(&facts, NULL);
    cr_expect(strstr(text, "tabard_certificate_expiry") == NULL);
    cr_expect(strstr(text, "tabard_crl") == NULL);
    cr_expect(strstr(text, "tabard_ready 0\n") != NULL);
    free(text);
}

struct proxy_row {
    const char *name, *help, *type, *labels;
    const char *printed; // NULL: left out
};

static const struct proxy_row proxy_rows[] = {
    {"tabard_x_total", "Help.", "counter", "direction=\"inbound\",reason=\"idle\"",
     "# HELP tabard_x_total Help.\n# TYPE tabard_x_total counter\n"
     "tabard_x_total{direction=\"inbound\",reason=\"idle\"} 9\n"},
    {"tabard_x", "Help.", "gauge", "", "# TYPE tabard_x gauge\ntabard_x 9\n"},
    {"tabard_x", "Help.", "gauge", "a=\"q\\\"b\\\\\"", "tabard_x{a=\"q\\\"b\\\\\"} 9\n"},
    {"up", "Another's name.", "gauge", "", NULL},
    {"tabard_x 1\nup", "A line in the name.", "gauge", "", NULL},
    {"tabard_x", "A line\nup 1", "gauge", "", NULL},
    {"tabard_x", "Help.", "histogram", "", NULL},
    {"tabard_x", "Help.", "gauge\nup 1", "", NULL},
    {"tabard_x", "Help.", "gauge", "a=\"b\"} 1\nup{c=\"d\"", NULL},
    {"tabard_x", "Help.", "gauge", "a=\"b", NULL},
    {"tabard_x", "Help.", "gauge", "a=\"b\\\"", NULL},
    {"tabard_x", "Help.", "gauge", "a=b", NULL},
    {"tabard_x", "Help.", "gauge", "a=\"b\",", NULL},
    {"tabard_x", "Help.", "gauge", "a=\"b\"c=\"d\"", NULL},
};

Test(report, prints_the_proxy_s_metrics_only_where_they_are_well_formed, .timeout = 10)
{
    struct report_facts facts = some_facts();
    char *without = report_metrics(&facts, NULL);
    for (size_t i = 0; i < sizeof proxy_rows / sizeof proxy_rows[0]; i++) {
        const struct proxy_row *row = &proxy_rows[i];
        Tabard__V1__MetricFamily__Sample sample = TABARD__V1__METRIC_FAMILY__SAMPLE__INIT;
        Tabard__V1__MetricFamily__Sample *samples[] = {&sample};
        Tabard__V1__MetricFamily family = TABARD__V1__METRIC_FAMILY__INIT;
        Tabard__V1__MetricFamily *families[] = {&family};
        Tabard__V1__InspectResult result = TABARD__V1__INSPECT_RESULT__INIT;
        sample.labels = (char *)row->labels;
        sample.value = 9;
        family.name = (char *)row->name;
        family.help = (char *)row->help;
        family.type = (char *)row->type;
        family.samples = samples;
        family.n_samples = 1;
        result.metrics = families;
        result.n_metrics = 1;
        char *text = report_metrics(&facts, &result);
        if (row->printed != NULL) {
            cr_expect(strstr(text, row->printed) != NULL, "row %zu: %s", i, text);
        } else {
            cr_expect_str_eq(text, without, "row %zu", i);
        }
        free(text);
    }
    free(without);
}

Test(report, prints_the_status_as_json, .timeout = 10)
{
    struct report_facts facts = some_facts();
    facts.not_ready_because = "draining";
    facts.last_error = "mesh.yaml:1:1: \"x\"";
    Tabard__V1__Connection connection = TABARD__V1__CONNECTION__INIT;
    Tabard__V1__Connection *connections[] = {&connection};
    Tabard__V1__InspectResult result = TABARD__V1__INSPECT_RESULT__INIT;
    connection.peer = (char *)"spiffe://demo.example/x";
    result.connections = connections;
    result.n_connections = 1;
    char *text = report_status(&facts, &result);
    static const char *const words[] = {
        "\"version\"",    "\"1.2.3\"", "\"not_ready_because\"",       "\"draining\"",
        "\"generation\"", "\\\"x\\\"", "\"spiffe://demo.example/x\"", "\"num_connections\""};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        cr_expect(strstr(text, words[i]) != NULL, "%s is not in %s", words[i], text);
    }
    cr_expect(strstr(text, "\"ready\"") == NULL, "false is left out");
    free(text);
}

Test(report, shows_the_policy_agent_s_stream_where_there_is_one, .timeout = 10)
{
    static const char *const wanted[] = {
        "\ntabard_policy_agent_connected 0\n",
        "\ntabard_policy_agent_version 7\n",
        "\ntabard_policy_agent_state_age_seconds 90\n",
        "\ntabard_policy_agent_failures_total 3\n",
        "\ntabard_policy_agent_nacks_total 2\n",
        "\ntabard_policy_agent_store_failures_total 1\n",
    };
    struct report_facts facts = some_facts();
    const struct report_policy policy = {.address = "unix:/pa",
                                         .version = 7,
                                         .state_age_s = 90,
                                         .num_failures = 3,
                                         .num_nacks = 2,
                                         .num_store_failures = 1,
                                         .last_error = "\"gone\""};
    char *without = report_metrics(&facts, NULL);
    cr_expect_null(strstr(without, "policy_agent"));
    facts.policy = &policy;
    char *with = report_metrics(&facts, NULL);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        cr_expect(strstr(with, wanted[i]) != NULL, "no %s in %s", wanted[i], with);
    }
    char *status = report_status(&facts, NULL);
    cr_expect(strstr(status, "unix:/pa") != NULL && strstr(status, "\\\"gone\\\"") != NULL, "%s",
              status);
    free(without);
    free(with);
    free(status);
}
