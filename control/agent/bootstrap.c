// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // CPU_COUNT
#include "control/agent/bootstrap.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/contract.h"

#define PROXY_PROGRAM "tabard-proxy"

enum flag {
    FLAG_CONFIG = 256,
    FLAG_PROXY,
    FLAG_WORKERS,
    FLAG_UID,
    FLAG_METRICS,
    FLAG_HEALTH,
    FLAG_ADMIN,
    FLAG_LOG_LEVEL,
    FLAG_HELP,
    FLAG_VERSION
};

static const struct option options[] = {
    {"config", required_argument, NULL, FLAG_CONFIG},
    {"proxy", required_argument, NULL, FLAG_PROXY},
    {"workers", required_argument, NULL, FLAG_WORKERS},
    {"proxy-uid", required_argument, NULL, FLAG_UID},
    {"metrics", required_argument, NULL, FLAG_METRICS},
    {"health", required_argument, NULL, FLAG_HEALTH},
    {"admin", required_argument, NULL, FLAG_ADMIN},
    {"log-level", required_argument, NULL, FLAG_LOG_LEVEL},
    {"help", no_argument, NULL, FLAG_HELP},
    {"version", no_argument, NULL, FLAG_VERSION},
    {NULL, 0, NULL, 0},
};

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
           " (the cores)\n"
           "  --proxy-uid N        the user the proxy runs as (" CONTRACT_PROXY_UID_TEXT
           " if started by root)\n"
           "  --metrics ADDR:PORT  serves /metrics ([::]:" CONTRACT_METRICS_PORT_TEXT ")\n"
           "  --health ADDR:PORT   serves /healthz/ready and /healthz/live "
           "([::]:" CONTRACT_HEALTH_PORT_TEXT ")\n"
           "  --admin PATH         socket of the operator's status (" CONTRACT_ADMIN_PATH ")\n"
           "  --log-level LEVEL    debug, info, warn or error (info)\n"
           "  --version            prints the version\n"
           "  --help               prints this\n"
           "\n"
           "SIGHUP reloads; SIGTERM drains and ends. Exit status: 0 after a drain, 1 when the "
           "start\n"
           "failed, 2 for a wrong flag.\n";
}

static bool parse_number(uint32_t *out, const char *text, uint32_t min, uint32_t max)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < min ||
        number > max) {
        return false;
    }
    *out = (uint32_t)number;
    return true;
}

static bool set_uid(struct bootstrap *out, const char *text, struct err *err)
{
    uint32_t uid = 0;
    if (!parse_number(&uid, text, 1, UINT32_MAX - 1)) {
        return err_set(err,
                       "--proxy-uid: \"%s\" is no user id of 1 and more; the proxy does not run "
                       "as root",
                       text);
    }
    if (geteuid() != 0 && uid != geteuid()) {
        return err_set(err, "--proxy-uid: only root may switch the user, and this is user %u",
                       (unsigned)geteuid());
    }
    out->proxy_uid = geteuid() == 0 ? (int64_t)uid : -1;
    return true;
}

static bool set_address(struct addr *out, const char *flag, const char *text, struct err *err)
{
    return addr_parse(out, text, true, err) || err_prefix(err, "--%s", flag);
}

static bool set(struct bootstrap *out, int flag, const char *text, struct err *err)
{
    switch (flag) {
    case FLAG_CONFIG:
        out->config_path = text;
        return text[0] != '\0' || err_set(err, "--config: the path of mesh.yaml is empty");
    case FLAG_PROXY:
        snprintf(out->proxy_path, sizeof out->proxy_path, "%s", text);
        return text[0] != '\0' || err_set(err, "--proxy: the path is empty");
    case FLAG_WORKERS:
        return parse_number(&out->num_workers, text, 1, CONTRACT_WORKERS_MAX) ||
               err_set(err, "--workers: \"%s\" is not a number from 1 to %d", text,
                       CONTRACT_WORKERS_MAX);
    case FLAG_UID:
        return set_uid(out, text, err);
    case FLAG_METRICS:
        return set_address(&out->metrics, "metrics", text, err);
    case FLAG_HEALTH:
        return set_address(&out->health, "health", text, err);
    case FLAG_ADMIN:
        out->admin_path = text;
        return text[0] != '\0' || err_set(err, "--admin: the path is empty");
    default:
        out->log_level_text = text;
        return log_level_parse(&out->log_level, text) ||
               err_set(err, "--log-level: \"%s\" is none of debug, info, warn, error", text);
    }
}

static void set_defaults(struct bootstrap *out)
{
    *out = (struct bootstrap){.num_workers = 1,
                              .proxy_uid = geteuid() == 0 ? CONTRACT_PROXY_UID : -1,
                              .metrics = {.port = CONTRACT_METRICS_PORT},
                              .health = {.port = CONTRACT_HEALTH_PORT},
                              .admin_path = CONTRACT_ADMIN_PATH,
                              .log_level = LOG_LEVEL_INFO};
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 0) {
        int num = CPU_COUNT(&cpus);
        out->num_workers = num < CONTRACT_WORKERS_MAX ? (uint32_t)num : CONTRACT_WORKERS_MAX;
    }
    char own[PATH_MAX] = "";
    ssize_t len = readlink("/proc/self/exe", own, sizeof own - 1);
    own[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(own, '/');
    snprintf(out->proxy_path, sizeof out->proxy_path, "%.*s" PROXY_PROGRAM,
             slash != NULL ? (int)(slash - own) + 1 : 0, own);
}

enum bootstrap_result bootstrap_parse(struct bootstrap *out, int argc, char **argv, struct err *err)
{
    set_defaults(out);
    optind = 0; // GNU: starts anew
    opterr = 0;
    for (;;) {
        int at = optind > 0 ? optind : 1;
        int flag = getopt_long(argc, argv, ":", options, NULL);
        if (flag == -1) {
            break;
        }
        if (flag == FLAG_HELP) {
            return BOOTSTRAP_HELP;
        }
        if (flag == FLAG_VERSION) {
            return BOOTSTRAP_VERSION_ASKED;
        }
        if (flag == '?') {
            err_set(err, "%s: no such flag; --help lists them", argv[at]);
            return BOOTSTRAP_WRONG;
        }
        if (flag == ':') {
            err_set(err, "%s: needs a value; --help says which", argv[at]);
            return BOOTSTRAP_WRONG;
        }
        if (!set(out, flag, optarg, err)) {
            return BOOTSTRAP_WRONG;
        }
    }
    if (optind < argc) {
        err_set(err, "\"%s\" belongs to no flag; --help lists them", argv[optind]);
        return BOOTSTRAP_WRONG;
    }
    if (out->config_path == NULL) {
        err_set(err, "--config: missing; name the mesh.yaml of this service");
        return BOOTSTRAP_WRONG;
    }
    return BOOTSTRAP_RUN;
}
