// SPDX-License-Identifier: Apache-2.0
#include "control/agent/operator/report.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/data/hex.h"
#include "base/must.h"
#include "base/pb/pb_text.h"
#include "base/version.h"
#include "certs/cert.h"
#include "certs/key.h"
#include "control/agent/operator/report_sandbox.h"
#include "control/host/metrics.h"
#include "tabard/v1/admin.pb-c.h"

static void certificate_metrics(struct metrics_page *page, const struct report_facts *facts)
{
    if (facts->spiffe_id[0] != '\0') {
        metrics_family(page, "tabard_certificate_expiry_timestamp_seconds", METRICS_GAUGE,
                       "When the certificate in force ends, in Unix time.");
        metrics_double(page, &(struct metrics_label){"spiffe_id", facts->spiffe_id}, 1,
                       (double)facts->not_after_unix, 0);
    }
    if (facts->num_crls > 0) {
        metrics_family(page, "tabard_crl_next_update_timestamp_seconds", METRICS_GAUGE,
                       "When the first CRL of a trust bundle in force ends, in Unix time.");
    }
    for (size_t i = 0; i < facts->num_crls; i++) {
        const struct assembly_crl *crl = &facts->crls[i];
        metrics_double(page, &(struct metrics_label){"trust_domain", crl->trust_domain}, 1,
                       (double)crl->next_update, 0);
    }
    if (facts->num_crls > 0) {
        metrics_family(page, "tabard_crls_unproved", METRICS_GAUGE,
                       "CRLs in force whose issuer is no root: a chain must show it.");
    }
    for (size_t i = 0; i < facts->num_crls; i++) {
        metrics_uint_by(page, "trust_domain", facts->crls[i].trust_domain,
                        facts->crls[i].num_unproved);
    }
}

static void policy_agent_metrics(struct metrics_page *page, const struct source_facts *facts)
{
    metrics_gauge(page, "tabard_policy_agent_connected",
                  "Whether a policy agent stands behind what is in force.", facts->is_connected);
    metrics_gauge(page, "tabard_policy_agent_silent_seconds",
                  "For how long nothing has come from the host of the policy agent.",
                  facts->silent_s);
    metrics_gauge(page, "tabard_policy_agent_version",
                  "The version of the state that is held; 0: none.", facts->version);
    metrics_gauge(page, "tabard_policy_agent_state_age_seconds",
                  "For how long no policy agent has stood behind the state that is held.",
                  (uint64_t)facts->state_age_s);
    metrics_counter(page, "tabard_policy_agent_failures_total",
                    "Streams to the policy agent that ended, or never were.", facts->num_failures);
    metrics_counter(page, "tabard_policy_agent_nacks_total",
                    "Responses of the policy agent that were refused.", facts->num_nacks);
    metrics_counter(page, "tabard_policy_agent_store_failures_total",
                    "States that could not be brought to the disk.", facts->num_store_failures);
}

static void interception_metrics(struct metrics_page *page, const struct interception_facts *facts)
{
    metrics_gauge(page, "tabard_interception_up",
                  "Whether the rules and routes that catch the service's traffic hold.",
                  facts->state == INTERCEPTION_HOLDS);
    metrics_counter(page, "tabard_interception_losses_total",
                    "How often somebody took the rules or routes away, or changed them.",
                    facts->num_losses);
    metrics_counter(page, "tabard_interception_put_back_total",
                    "How often the agent put them back.", facts->num_put_back);
    metrics_family(page, "tabard_interception_lost_seconds_total", METRICS_COUNTER,
                   "For how long they were lost, in all.");
    metrics_double(page, NULL, 0, (double)facts->lost_ms / 1000, 3);
    metrics_counter(page, "tabard_interception_passed_total",
                    "Connections that passed by meanwhile and were still open when it was back: at "
                    "least so many passed.",
                    facts->num_passed);
    metrics_counter(page, "tabard_interception_opened_while_lost_total",
                    "TCP connections opened in this network namespace meanwhile: at most so many "
                    "passed by.",
                    facts->num_opened);
}

static void http_metrics(struct metrics_page *page, const struct report_http *servers)
{
    metrics_family(page, "tabard_http_connections_ended_total", METRICS_COUNTER,
                   "Connections to the agent's pages that it ended: late, or for want of room.");
    for (size_t i = 0; i < REPORT_NUM_HTTP && servers[i].page != NULL; i++) {
        struct metrics_label labels[] = {{"page", servers[i].page}, {"why", "late"}};
        metrics_uint(page, labels, 2, servers[i].num_late);
        labels[1].value = "room";
        metrics_uint(page, labels, 2, servers[i].num_room);
    }
}

static void agent_metrics(struct metrics_page *page, const struct report_facts *facts)
{
    metrics_build_info(page, "tabard_build_info", facts->program);
    metrics_gauge(page, "tabard_ready", "Whether the sidecar may get traffic.",
                  facts->not_ready_because[0] == '\0');
    metrics_gauge(page, "tabard_snapshot_generation",
                  "The generation in force on every worker; 0: none.", facts->generation);
    metrics_family(page, "tabard_snapshot_applied_timestamp_seconds", METRICS_GAUGE,
                   "When a snapshot last came into force, in Unix time.");
    metrics_double(page, NULL, 0, (double)facts->applied_unix_ms / 1000, 3);
    metrics_gauge(page, "tabard_observing",
                  "Whether what policy denies is served and counted, since enforcement is OBSERVE.",
                  facts->is_observing);
    metrics_gauge(page, "tabard_post_quantum_demanded",
                  "Whether peers without X25519MLKEM768 are refused, since key_exchange is "
                  "POST_QUANTUM.",
                  report_key_exchange(facts) == TABARD__V1__SETTINGS__KEY_EXCHANGE__POST_QUANTUM);
    metrics_counter(page, "tabard_snapshot_rejected_total", "Snapshots that the proxy refused.",
                    facts->num_rejected);
    metrics_counter(page, "tabard_source_errors_total",
                    "Updates that were refused before they reached the proxy.",
                    facts->num_source_errors);
    metrics_gauge(page, "tabard_files_held",
                  "Files that are still being written, so that what they held before counts.",
                  facts->num_files_held);
    metrics_counter(page, "tabard_log_lines_dropped_total",
                    "Lines of the agent's log that its reader had no room for.",
                    facts->num_log_lines_dropped);
    metrics_family(page, "tabard_application_probes_total", METRICS_COUNTER,
                   "The application's probes that were made in the kubelet's place.");
    metrics_uint_by(page, "result", "good", facts->num_probes[1]);
    metrics_uint_by(page, "result", "bad", facts->num_probes[0]);
    http_metrics(page, facts->http);
    certificate_metrics(page, facts);
    metrics_family(page, "tabard_signatures_total", METRICS_COUNTER,
                   "Requests of the proxy to sign a handshake, by what came of them.");
    for (int i = 0; i < KEYRING_NUM_RESULTS; i++) {
        metrics_uint_by(page, "result", keyring_result_text((enum keyring_result)i),
                        facts->signatures[i]);
    }
    metrics_gauge(page, "tabard_proxy_up", "Whether the proxy process runs, and answers.",
                  facts->is_proxy_up);
    metrics_counter(page, "tabard_proxy_restarts_total",
                    "Starts of the proxy process after the first.", facts->proxy_restarts);
    report_sandbox_metrics(page, facts);
    if (facts->interception.state != INTERCEPTION_OFF) {
        interception_metrics(page, &facts->interception);
    }
    if (facts->policy_agent.address != NULL) {
        policy_agent_metrics(page, &facts->policy_agent);
    }
}

char *report_metrics(const struct report_facts *facts, const Tabard__V1__InspectResult *inspect,
                     struct proxy_metrics_refusals *refusals)
{
    struct metrics_page page;
    metrics_open(&page);
    agent_metrics(&page, facts);
    metrics_gauge(
        &page, "tabard_proxy_answered",
        "Whether the proxy gave its figures in time for this page; 0: they are not on it.",
        inspect != NULL);
    proxy_metrics_write(&page, inspect != NULL ? inspect->metrics : NULL,
                        inspect != NULL ? inspect->n_metrics : 0, refusals);
    return metrics_close(&page);
}

static void fill_interception(Tabard__V1__InterceptionStatus *out,
                              const struct interception_facts *facts)
{
    out->state = (char *)interception_state_text(facts->state);
    out->why = (char *)facts->why;
    out->puts_back = facts->puts_back;
    out->losses = facts->num_losses;
    out->put_back = facts->num_put_back;
    out->lost_ms = facts->lost_ms;
    out->passed = facts->num_passed;
    out->opened_while_lost = facts->num_opened;
    out->lost_unix_ms = facts->lost_unix_ms;
}

static void fill_policy_agent(Tabard__V1__PolicyAgentStatus *out, const struct source_facts *facts)
{
    out->address = (char *)facts->address;
    out->connected = facts->is_connected;
    out->version = facts->version;
    out->state_age_seconds = facts->state_age_s;
    out->failures = facts->num_failures;
    out->nacks = facts->num_nacks;
    out->store_failures = facts->num_store_failures;
    out->last_error = (char *)facts->last_error;
}

Tabard__V1__Settings__Enforcement report_enforcement(const struct report_facts *facts)
{
    return facts->generation == 0 ? TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCEMENT_UNSPECIFIED
           : facts->is_observing  ? TABARD__V1__SETTINGS__ENFORCEMENT__OBSERVE
                                  : TABARD__V1__SETTINGS__ENFORCEMENT__ENFORCE;
}

Tabard__V1__Settings__KeyExchange report_key_exchange(const struct report_facts *facts)
{
    if (facts->snapshot == NULL) {
        return TABARD__V1__SETTINGS__KEY_EXCHANGE__KEY_EXCHANGE_UNSPECIFIED;
    }
    const Tabard__V1__Settings *settings = facts->snapshot->settings;
    return settings != NULL &&
                   settings->key_exchange == TABARD__V1__SETTINGS__KEY_EXCHANGE__POST_QUANTUM
               ? TABARD__V1__SETTINGS__KEY_EXCHANGE__POST_QUANTUM
               : TABARD__V1__SETTINGS__KEY_EXCHANGE__ANY;
}

char *report_rules(const struct report_facts *facts)
{
    Tabard__V1__Snapshot rules = *facts->snapshot;
    Tabard__V1__TrustBundle *names = must_alloc(rules.n_trust_bundles, sizeof *names);
    Tabard__V1__TrustBundle **list =
        must_alloc(rules.n_trust_bundles, sizeof(Tabard__V1__TrustBundle *));
    for (size_t i = 0; i < rules.n_trust_bundles; i++) {
        tabard__v1__trust_bundle__init(&names[i]);
        names[i].trust_domain = rules.trust_bundles[i]->trust_domain;
        list[i] = &names[i];
    }
    rules.generation = facts->generation;
    rules.identity = NULL;
    rules.trust_bundles = list;
    char *text = pb_text_to_json(&rules.base);
    free(list);
    free(names);
    return text;
}

// What is told of the leaves in force; "": there is none.
struct leaf_facts {
    char serial[HEX_TEXT_LEN(CERT_SERIAL_LEN_MAX)]; // hexadecimal; of the first
    char key[2 * KEY_TEXT_MAX + 2];
};

// Adds what is told of a leaf, and then of that of its fallback.
static void leaf_facts_add(struct leaf_facts *out, const Tabard__V1__Identity *identity)
{
    if (identity == NULL || identity->n_chain == 0) {
        return;
    }
    const uint8_t *at = identity->chain[0].data;
    X509 *leaf = d2i_X509(NULL, &at, (long)identity->chain[0].len);
    if (leaf != NULL) {
        struct cert_serial serial = {.len = 0};
        EVP_PKEY *key = X509_get_pubkey(leaf);
        char text[KEY_TEXT_MAX];
        size_t len = strlen(out->key);
        if (len == 0) {
            cert_serial_read(&serial, X509_get0_serialNumber(leaf));
            hex_text(serial.bytes, serial.len, out->serial);
        }
        snprintf(out->key + len, sizeof out->key - len, "%s%s", len > 0 ? ", " : "",
                 key_text(key, text));
        EVP_PKEY_free(key);
    }
    X509_free(leaf);
    leaf_facts_add(out, identity->fallback);
}

char *report_status(const struct report_facts *facts, const Tabard__V1__InspectResult *inspect)
{
    Tabard__V1__Status status = TABARD__V1__STATUS__INIT;
    struct leaf_facts leaf = {.serial = ""};
    leaf_facts_add(&leaf, facts->snapshot == NULL ? NULL : facts->snapshot->identity);
    status.version = (char *)TABARD_VERSION;
    status.ready = facts->not_ready_because[0] == '\0';
    status.not_ready_because = (char *)facts->not_ready_because;
    status.generation = facts->generation;
    status.applied_unix_ms = facts->applied_unix_ms;
    status.enforcement = report_enforcement(facts);
    status.key_exchange = report_key_exchange(facts);
    if (facts->snapshot != NULL) {
        status.enforcement_by = (char *)facts->enforcement_by;
        status.key_exchange_by = (char *)facts->key_exchange_by;
    }
    status.spiffe_id = (char *)facts->spiffe_id;
    status.certificate_not_after_unix = facts->not_after_unix;
    status.certificate_serial = leaf.serial;
    status.certificate_key = leaf.key;
    status.last_error = (char *)facts->last_error;
    status.last_error_unix_ms = facts->last_error_unix_ms;
    status.proxy_pid = facts->proxy_pid;
    status.proxy_restarts = facts->proxy_restarts;
    struct report_sandbox sandboxes[2];
    report_sandbox_fill(&sandboxes[0], facts->agent_sandbox);
    report_sandbox_fill(&sandboxes[1], facts->proxy_sandbox);
    status.n_agent_sandbox = sandboxes[0].num;
    status.agent_sandbox = sandboxes[0].list;
    status.n_proxy_sandbox = sandboxes[1].num;
    status.proxy_sandbox = sandboxes[1].list;
    Tabard__V1__PolicyAgentStatus policy = TABARD__V1__POLICY_AGENT_STATUS__INIT;
    if (facts->policy_agent.address != NULL) {
        fill_policy_agent(&policy, &facts->policy_agent);
        status.policy_agent = &policy;
    }
    Tabard__V1__InterceptionStatus interception = TABARD__V1__INTERCEPTION_STATUS__INIT;
    if (facts->interception.state != INTERCEPTION_OFF) {
        fill_interception(&interception, &facts->interception);
        status.interception = &interception;
    }
    if (inspect != NULL) {
        status.limits = inspect->limits;
        status.n_listeners = inspect->n_listeners;
        status.listeners = inspect->listeners;
        status.n_connections = inspect->n_connections;
        status.connections = inspect->connections;
        // The workers list theirs a little later than they are counted.
        status.num_connections = inspect->num_connections > inspect->n_connections
                                     ? inspect->num_connections
                                     : inspect->n_connections;
    }
    return pb_text_to_json(&status.base);
}
