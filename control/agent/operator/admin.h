// SPDX-License-Identifier: Apache-2.0
//
// The agent's three HTTP servers and their pages: metrics (/metrics), health (/healthz/ready,
// /healthz/live, and the application's probes, whatever else the probe hook knows), and the
// operator's pages on a Unix socket (/status, /audit, /rules); and what a service manager is told
// (control/notify/notify.h). The agent embeds it, starts it
// before the proxy and stops it last. What there is to show comes from the hooks; a page that needs
// the proxy's figures waits for them as long as the inspect hook does.
#ifndef TABARD_CONTROL_AGENT_OPERATOR_ADMIN_H
#define TABARD_CONTROL_AGENT_OPERATOR_ADMIN_H

#include <stdbool.h>
#include <uv.h>

#include "base/addr.h"
#include "base/err.h"
#include "base/log.h"
#include "control/agent/operator/report.h"
#include "control/agent/proxy/proxy_link.h"
#include "control/host/http.h"
#include "control/notify/notify.h"

#define ADMIN_CONNECTIONS_MAX 1000 // listed by /status

// What the application answered to a probe.
typedef void admin_on_probed(void *ctx, bool is_good, const char *why);

struct admin_hooks {
    void *ctx;
    // Fills in what is true now; its texts stay borrowed until the next call.
    void (*fill)(void *ctx, struct report_facts *out);
    // Asks the proxy for its figures: on_inspected is called once, with NULL if none came in time.
    // false: the proxy can't be asked, and on_inspected won't be called.
    bool (*inspect)(void *ctx, const Tabard__V1__Inspect *wanted,
                    proxy_link_on_inspected *on_inspected, void *inspected_ctx);
    // Makes the application's probe of this page, of the application at `ip`: on_probed is called
    // once, now or later, also when the agent ends. false: there is no such page.
    bool (*probe)(void *ctx, const char *page, const struct ip *ip, admin_on_probed *on_probed,
                  void *probed_ctx);
};

struct admin_spec {
    struct listen_addrs metrics;
    struct listen_addrs health;
    const char *admin_path; // borrowed
    uint32_t probe_seconds; // for the longest of the application's probes
    uint32_t num_probes;    // which one kubelet may make all at once
};

struct admin {
    struct admin_hooks hooks;
    struct http_server *metrics; // owned
    struct http_server *health;  // owned
    struct http_limits health_limits;
    struct http_server *status; // owned
    const char *admin_path;     // borrowed
    uv_loop_t *loop;            // borrowed
    struct proxy_metrics_refusals refusals;
    struct log_limit refused_log;
    struct notify *notify; // owned; NULL: nobody is told
};

// admin_start opens the three and logs where. false sets err (a port in use, another agent on the
// socket); admin_stop cleans up in both cases.
bool admin_start(struct admin *admin, uv_loop_t *loop, const struct admin_spec *spec,
                 const struct admin_hooks *hooks, struct err *err);

// admin_tell tells the service manager of a reload, or of the end that has begun.
void admin_tell(struct admin *admin, enum notify_event event);

// admin_stop closes the servers. No inspection may be under way: close the link first, which
// answers them.
void admin_stop(struct admin *admin);

#endif
