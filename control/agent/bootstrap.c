// SPDX-License-Identifier: Apache-2.0
#include "control/agent/bootstrap.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control/agent/cpus.h"
#include "proto/contract.h"

#define PROXY_PROGRAM "tabard-proxy"

const char *bootstrap_usage(void)
{
    return "usage: tabard-agent --config mesh.yaml [flags]\n"
           "\n"
           "Holds the keys of one service's sidecar, watches its configuration, and runs its "
           "proxy.\n"
           "\n"
           "  --config PATH        mesh.yaml\n"
           "  --proxy PATH         the proxy program (tabard-proxy beside this one)\n"
           "  --workers N          worker threads of the proxy, 1 to " CONTRACT_WORKERS_MAX_TEXT
           " (the CPUs it may use)\n"
           "  --proxy-uid N        the user the proxy runs as (" CONTRACT_PROXY_UID_TEXT
           " if started by root)\n"
           "  --caller-addresses   leaves the proxy CAP_NET_RAW, which service_source CALLER "
           "needs\n"
           "  --sandbox MODE       on; off: system calls and files stay open, for debugging; "
           "required:\n"
           "                       don't start without all that it takes away (on)\n"
           "  --metrics ADDR:PORT  serves /metrics (loopback and the address that the host calls "
           "from,\n"
           "                       port " CONTRACT_METRICS_PORT_TEXT
           "; [::]:PORT is every address)\n"
           "  --health ADDR:PORT   serves /healthz/ready and /healthz/live (the same addresses, "
           "port\n"
           "                       " CONTRACT_HEALTH_PORT_TEXT ")\n"
           "  --probes PATH        probes.yaml: the application's probes, served as pages of "
           "--health\n"
           "  --admin PATH         socket of the operator's status (" CONTRACT_ADMIN_PATH ")\n"
           "  --log-level LEVEL    debug, info, warn or error (info)\n"
           "  --version            prints the version\n"
           "  --help               prints this\n"
           "\n"
           "SIGHUP reloads; SIGTERM drains and ends. Exit status: 0 after a drain, 1 when the "
           "start\n"
           "failed, 2 for a wrong flag.\n";
}

// Only root may switch the proxy's user, and never to root.
static bool set_uid(void *ctx, const char *text, struct err *err)
{
    struct bootstrap *out = ctx;
    uint32_t uid = 0;
    if (!flags_number(&uid, text, 1, UINT32_MAX - 1, NULL)) {
        return err_set(err, "\"%.100s\" is no user id from 1 on; the proxy does not run as root",
                       text);
    }
    if (geteuid() != 0 && uid != geteuid()) {
        return err_set(err, "only root may switch the user, and this is user %u",
                       (unsigned)geteuid());
    }
    out->proxy_uid = geteuid() == 0 ? (int64_t)uid : -1;
    return true;
}

static bool set_sandbox(void *ctx, const char *text, struct err *err)
{
    return sandbox_mode_parse(ctx, text, err);
}

static void set_defaults(struct bootstrap *out)
{
    unsigned num_cpus = cpus_available();
    *out = (struct bootstrap){.num_workers =
                                  num_cpus < CONTRACT_WORKERS_MAX ? num_cpus : CONTRACT_WORKERS_MAX,
                              .proxy_uid = geteuid() == 0 ? CONTRACT_PROXY_UID : -1,
                              .metrics = listen_own(CONTRACT_METRICS_PORT),
                              .health = listen_own(CONTRACT_HEALTH_PORT),
                              .admin_path = CONTRACT_ADMIN_PATH,
                              .log_level = LOG_LEVEL_INFO};
    char own[PATH_MAX] = "";
    ssize_t len = readlink("/proc/self/exe", own, sizeof own - 1);
    own[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(own, '/');
    snprintf(out->proxy_path, sizeof out->proxy_path, "%.*s" PROXY_PROGRAM,
             slash != NULL ? (int)(slash - own) + 1 : 0, own);
}

bool bootstrap_parse(struct bootstrap *out, int argc, char **argv, struct err *err)
{
    set_defaults(out);
    const char *proxy_path = NULL;
    struct addr metrics;
    struct addr health;
    bool has_metrics = false;
    bool has_health = false;
    const struct flag flags[] = {
        {.name = "config", .value = &out->config_path, .needed = "the mesh.yaml of this service"},
        {.name = "proxy", .value = &proxy_path},
        {.name = "workers", .number = &out->num_workers, .min = 1, .max = CONTRACT_WORKERS_MAX},
        {.name = "proxy-uid", .set = set_uid, .ctx = out},
        {.name = "caller-addresses", .out_given = &out->has_caller_addresses},
        {.name = "sandbox",
         .set = set_sandbox,
         .ctx = &out->sandbox,
         .values = SANDBOX_MODES_TEXT,
         .is_once = true},
        {.name = "metrics", .addr = &metrics, .out_given = &has_metrics},
        {.name = "health", .addr = &health, .out_given = &has_health},
        {.name = "probes", .value = &out->probes_path},
        {.name = "admin", .value = &out->admin_path},
        {.name = "log-level", .log_level = &out->log_level, .value = &out->log_level_text},
        FLAGS_ASKED_ROWS(&out->asked),
    };
    bool good = flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, NULL, 0, NULL, err);
    if (has_metrics) {
        out->metrics = (struct listen_addrs){.addrs = {metrics}, .num = 1};
    }
    if (has_health) {
        out->health = (struct listen_addrs){.addrs = {health}, .num = 1};
    }
    if (proxy_path != NULL) {
        snprintf(out->proxy_path, sizeof out->proxy_path, "%s", proxy_path);
    }
    return good;
}
