// SPDX-License-Identifier: Apache-2.0
//
// What the agent shows its operator, as text: metrics for Prometheus (docs/metrics.md lists them)
// and the Status as JSON. Pure functions of the facts that admin collects. Their results are
// malloc'd, the caller's; how much the proxy said bounds them.
#ifndef TABARD_CONTROL_AGENT_OPERATOR_REPORT_H
#define TABARD_CONTROL_AGENT_OPERATOR_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/sandbox/sandbox.h"
#include "control/agent/interception/interception.h"
#include "control/agent/operator/proxy_metrics.h"
#include "control/agent/proxy/keyring.h"
#include "control/agent/snapshot/assemble.h"
#include "control/agent/snapshot/source.h"
#include "tabard/v1/dataplane.pb-c.h"

#define REPORT_NUM_HTTP 3

// Connections to one of the agent's servers that it ended.
struct report_http {
    const char *page;
    uint64_t num_late;
    uint64_t num_room;
};

// Everything in it is borrowed for the call.
struct report_facts {
    const struct program *program;
    char not_ready_because[1200]; // empty: ready
    uint64_t generation;
    int64_t applied_unix_ms;
    bool is_observing;                    // settings.enforcement is OBSERVE
    const char *enforcement_by;           // who said so; NULL: no snapshot was ever in force
    const char *key_exchange_by;          // the same of settings.key_exchange
    const Tabard__V1__Snapshot *snapshot; // in force; NULL: none yet
    const char *spiffe_id;                // "": no snapshot was ever in force
    int64_t not_after_unix;
    const struct assembly_crl *crls;
    size_t num_crls;
    const char *last_error;
    int64_t last_error_unix_ms;
    uint32_t proxy_pid; // 0: not running
    bool is_proxy_up;   // it runs and answers
    uint64_t proxy_restarts;
    uint64_t num_violations; // of the proxy's sandbox
    const struct sandbox_facts *agent_sandbox;
    const struct sandbox_facts *proxy_sandbox; // empty while it is not up
    uint64_t num_rejected;
    uint64_t num_source_errors;
    size_t num_files_held;
    uint64_t num_log_lines_dropped;
    uint64_t num_probes[2]; // of the application: bad, good
    struct report_http http[REPORT_NUM_HTTP];
    uint64_t signatures[KEYRING_NUM_RESULTS];
    struct interception_facts interception;
    struct source_facts policy_agent; // its address is NULL: mesh.yaml names none
};

// report_metrics prints the agent's metrics and then the proxy's (inspect may be NULL: it didn't
// answer). Families of the proxy's that aren't well-formed are left out and added to `refusals`.
// NULL: out of memory.
char *report_metrics(const struct report_facts *facts, const Tabard__V1__InspectResult *inspect,
                     struct proxy_metrics_refusals *refusals);

// report_enforcement returns the enforcement in force: UNSPECIFIED before the first snapshot.
Tabard__V1__Settings__Enforcement report_enforcement(const struct report_facts *facts);

// report_key_exchange returns the same of the key exchange.
Tabard__V1__Settings__KeyExchange report_key_exchange(const struct report_facts *facts);

// report_rules prints what decides about connections in the snapshot in force, as a Snapshot, with
// the names of the trust bundles alone and without the identity. NULL: out of memory.
char *report_rules(const struct report_facts *facts);

// report_status prints the Status of tabard/v1/admin.proto; inspect as above.
char *report_status(const struct report_facts *facts, const Tabard__V1__InspectResult *inspect);

#endif
