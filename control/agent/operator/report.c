// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb_text.h"
#include "tabard/v1/admin.pb-c.h"

static void family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    family(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

// A label's value: backslash, quote and line feed are escaped.
static void label_value(FILE *out, const char *value)
{
    fputc('"', out);
    for (const char *c = value; *c != '\0'; c++) {
        if (*c == '\n') {
            fputs("\\n", out);
        } else {
            if (*c == '"' || *c == '\\') {
                fputc('\\', out);
            }
            fputc(*c, out);
        }
    }
    fputc('"', out);
}

static void certificate_metrics(FILE *out, const struct report_facts *facts)
{
    if (facts->spiffe_id[0] != '\0') {
        family(out, "tabard_certificate_expiry_timestamp_seconds", "gauge",
               "When the certificate in force ends, in Unix time.");
        fputs("tabard_certificate_expiry_timestamp_seconds{spiffe_id=", out);
        label_value(out, facts->spiffe_id);
        fprintf(out, "} %" PRId64 "\n", facts->not_after_unix);
    }
    if (facts->num_crls > 0) {
        family(out, "tabard_crl_next_update_timestamp_seconds", "gauge",
               "When the first CRL of a trust bundle in force ends, in Unix time.");
    }
    for (size_t i = 0; i < facts->num_crls; i++) {
        fputs("tabard_crl_next_update_timestamp_seconds{trust_domain=", out);
        label_value(out, facts->crls[i].trust_domain);
        fprintf(out, "} %" PRId64 "\n", (int64_t)facts->crls[i].next_update);
    }
}

static void policy_metrics(FILE *out, const struct report_policy *policy)
{
    single(out, "tabard_policy_agent_connected", "gauge",
           "Whether a policy agent stands behind what is in force.", policy->is_connected);
    single(out, "tabard_policy_agent_version", "gauge",
           "The version of the state that is held; 0: none.", policy->version);
    single(out, "tabard_policy_agent_state_age_seconds", "gauge",
           "For how long no policy agent has stood behind the state that is held.",
           (uint64_t)policy->state_age_s);
    single(out, "tabard_policy_agent_failures_total", "counter",
           "Streams to the policy agent that ended, or never were.", policy->num_failures);
    single(out, "tabard_policy_agent_nacks_total", "counter",
           "Responses of the policy agent that were refused.", policy->num_nacks);
    single(out, "tabard_policy_agent_store_failures_total", "counter",
           "States that could not be brought to the disk.", policy->num_store_failures);
}

static void agent_metrics(FILE *out, const struct report_facts *facts)
{
    family(out, "tabard_build_info", "gauge", "Always 1; the version is in the labels.");
    fprintf(out, "tabard_build_info{version=\"%s\",boringssl_api=\"%u\"} 1\n", facts->version,
            facts->boringssl_api);
    single(out, "tabard_ready", "gauge", "Whether the sidecar may get traffic.",
           facts->not_ready_because == NULL);
    single(out, "tabard_snapshot_generation", "gauge",
           "The generation in force on every worker; 0: none.", facts->generation);
    family(out, "tabard_snapshot_applied_timestamp_seconds", "gauge",
           "When a snapshot last came into force, in Unix time.");
    fprintf(out, "tabard_snapshot_applied_timestamp_seconds %" PRId64 ".%03d\n",
            facts->applied_unix_ms / 1000, (int)(facts->applied_unix_ms % 1000));
    single(out, "tabard_snapshot_rejected_total", "counter", "Snapshots that the proxy refused.",
           facts->num_rejected);
    single(out, "tabard_source_errors_total", "counter",
           "Updates that were refused before they reached the proxy.", facts->num_source_errors);
    certificate_metrics(out, facts);
    family(out, "tabard_signatures_total", "counter",
           "Requests of the proxy to sign a handshake, by what came of them.");
    for (int i = 0; i < KEYRING_NUM_RESULTS; i++) {
        fprintf(out, "tabard_signatures_total{result=\"%s\"} %" PRIu64 "\n",
                keyring_result_text((enum keyring_result)i), facts->signatures[i]);
    }
    single(out, "tabard_proxy_up", "gauge", "Whether the proxy process runs.",
           facts->proxy_pid != 0);
    single(out, "tabard_proxy_restarts_total", "counter",
           "Starts of the proxy process after the first.", facts->proxy_restarts);
    if (facts->policy != NULL) {
        policy_metrics(out, facts->policy);
    }
}

static bool is_name(const char *text)
{
    if (strncmp(text, "tabard_", 7) != 0) {
        return false;
    }
    for (const char *c = text; *c != '\0'; c++) {
        bool ok = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_';
        if (!ok) {
            return false;
        }
    }
    return true;
}

// name="value",name="value": lower-case names; values without control characters and with every
// backslash and quote escaped.
static bool is_labels(const char *c)
{
    while (*c != '\0') {
        size_t name_len = strspn(c, "abcdefghijklmnopqrstuvwxyz_");
        if (name_len == 0 || c[name_len] != '=' || c[name_len + 1] != '"') {
            return false;
        }
        for (c += name_len + 2; *c != '"'; c++) {
            if (*c == '\\' && (c[1] == '\\' || c[1] == '"' || c[1] == 'n')) {
                c++;
            } else if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == '\\') {
                return false; // the end of the text too
            }
        }
        c++;
        if (*c == ',' && c[1] != '\0') {
            c++;
        } else if (*c != '\0') {
            return false;
        }
    }
    return true;
}

static bool is_plain(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == '\\' || *c == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool is_well_formed(const Tabard__V1__MetricFamily *metric)
{
    if (!is_name(metric->name) || !is_plain(metric->help) ||
        (strcmp(metric->type, "counter") != 0 && strcmp(metric->type, "gauge") != 0)) {
        return false;
    }
    for (size_t i = 0; i < metric->n_samples; i++) {
        if (!is_labels(metric->samples[i]->labels)) {
            return false;
        }
    }
    return true;
}

static void proxy_metric(FILE *out, const Tabard__V1__MetricFamily *metric)
{
    if (!is_well_formed(metric)) {
        return;
    }
    family(out, metric->name, metric->type, metric->help);
    for (size_t i = 0; i < metric->n_samples; i++) {
        const Tabard__V1__MetricFamily__Sample *sample = metric->samples[i];
        bool has_labels = sample->labels[0] != '\0';
        fprintf(out, "%s%s%s%s %" PRIu64 "\n", metric->name, has_labels ? "{" : "", sample->labels,
                has_labels ? "}" : "", sample->value);
    }
}

char *report_metrics(const struct report_facts *facts, const Tabard__V1__InspectResult *inspect)
{
    char *text = NULL;
    size_t text_len = 0;
    FILE *out = open_memstream(&text, &text_len);
    if (out == NULL) {
        return NULL;
    }
    agent_metrics(out, facts);
    for (size_t i = 0; inspect != NULL && i < inspect->n_metrics; i++) {
        proxy_metric(out, inspect->metrics[i]);
    }
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}

// How many connections are open, by the proxy's own metric: the list may be cut.
static uint64_t num_connections(const Tabard__V1__InspectResult *inspect)
{
    uint64_t num = 0;
    for (size_t i = 0; i < inspect->n_metrics; i++) {
        const Tabard__V1__MetricFamily *metric = inspect->metrics[i];
        if (strcmp(metric->name, "tabard_connections_open") == 0) {
            for (size_t j = 0; j < metric->n_samples; j++) {
                num += metric->samples[j]->value;
            }
        }
    }
    return num > inspect->n_connections ? num : inspect->n_connections;
}

static void fill_policy(Tabard__V1__PolicyAgentStatus *out, const struct report_policy *policy)
{
    out->address = (char *)policy->address;
    out->connected = policy->is_connected;
    out->version = policy->version;
    out->state_age_seconds = policy->state_age_s;
    out->failures = policy->num_failures;
    out->nacks = policy->num_nacks;
    out->store_failures = policy->num_store_failures;
    out->last_error = (char *)policy->last_error;
}

char *report_status(const struct report_facts *facts, const Tabard__V1__InspectResult *inspect)
{
    Tabard__V1__Status status = TABARD__V1__STATUS__INIT;
    status.version = (char *)facts->version;
    status.ready = facts->not_ready_because == NULL;
    if (facts->not_ready_because != NULL) {
        status.not_ready_because = (char *)facts->not_ready_because;
    }
    status.generation = facts->generation;
    status.applied_unix_ms = facts->applied_unix_ms;
    status.spiffe_id = (char *)facts->spiffe_id;
    status.certificate_not_after_unix = facts->not_after_unix;
    status.last_error = (char *)facts->last_error;
    status.last_error_unix_ms = facts->last_error_unix_ms;
    status.proxy_pid = facts->proxy_pid;
    status.proxy_restarts = facts->proxy_restarts;
    Tabard__V1__PolicyAgentStatus policy = TABARD__V1__POLICY_AGENT_STATUS__INIT;
    if (facts->policy != NULL) {
        fill_policy(&policy, facts->policy);
        status.policy_agent = &policy;
    }
    if (inspect != NULL) {
        status.n_listeners = inspect->n_listeners;
        status.listeners = inspect->listeners;
        status.n_connections = inspect->n_connections;
        status.connections = inspect->connections;
        status.num_connections = num_connections(inspect);
    }
    return pb_text_to_json(&status.base);
}
