// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/flags.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "certs/identity.h"
#include "control/policyd/stream/token.h"

enum flag {
    FLAG_DIR = 256,
    FLAG_UNIX,
    FLAG_LISTEN,
    FLAG_METRICS,
    FLAG_LOG_LEVEL,
    FLAG_ID,
    FLAG_MINUTES,
    FLAG_HELP,
    FLAG_VERSION
};

static const struct option run_options[] = {
    {"dir", required_argument, NULL, FLAG_DIR},
    {"unix", required_argument, NULL, FLAG_UNIX},
    {"listen", required_argument, NULL, FLAG_LISTEN},
    {"metrics", required_argument, NULL, FLAG_METRICS},
    {"log-level", required_argument, NULL, FLAG_LOG_LEVEL},
    {"help", no_argument, NULL, FLAG_HELP},
    {"version", no_argument, NULL, FLAG_VERSION},
    {NULL, 0, NULL, 0},
};

static const struct option token_options[] = {
    {"dir", required_argument, NULL, FLAG_DIR},
    {"id", required_argument, NULL, FLAG_ID},
    {"minutes", required_argument, NULL, FLAG_MINUTES},
    {"help", no_argument, NULL, FLAG_HELP},
    {NULL, 0, NULL, 0},
};

const char *flags_usage(void)
{
    return "usage: tabard-policyd --dir DIR [flags]\n"
           "       tabard-policyd token --dir DIR --id spiffe://... [--minutes N]\n"
           "\n"
           "Steers a fleet of sidecars from a folder: DIR/fleet/*.yaml says who there is and who "
           "may\n"
           "call whom (proto/tabard/v1/fleet.proto), DIR/ca is a CA made by tabard-ca init. Both "
           "are\n"
           "watched. Several may share a folder.\n"
           "\n"
           "  --dir DIR            the folder\n"
           "  --unix PATH          Unix socket for sidecars (DIR/policyd.sock without --listen)\n"
           "  --listen ADDR:PORT   TCP for sidecars, TLS 1.3\n"
           "  --metrics ADDR:PORT  serves /metrics\n"
           "  --log-level LEVEL    debug, info, warn or error (info)\n"
           "  --version            prints the version\n"
           "  --help               prints this\n"
           "\n"
           "token prints a join token, once: it admits one sidecar as --id, within --minutes "
           "(60).\n"
           "\n"
           "SIGHUP reloads; SIGTERM ends. Exit status: 0 after SIGTERM, 1 when the start failed, 2 "
           "for a\n"
           "wrong flag.\n";
}

static bool set_minutes(struct flags *out, const char *text, struct err *err)
{
    char *end = NULL;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < 1 ||
        number > TOKEN_MINUTES_MAX) {
        return err_set(err, "--minutes: \"%s\" is not a number from 1 to %d", text,
                       TOKEN_MINUTES_MAX);
    }
    out->minutes = (uint32_t)number;
    return true;
}

static bool set(struct flags *out, int flag, const char *text, struct err *err)
{
    struct spiffe_id id;
    switch (flag) {
    case FLAG_DIR:
        out->dir = text;
        return text[0] != '\0' || err_set(err, "--dir: the path is empty");
    case FLAG_UNIX:
        out->unix_path = text;
        return text[0] != '\0' || err_set(err, "--unix: the path is empty");
    case FLAG_LISTEN:
        out->has_listen = true;
        return addr_parse(&out->listen, text, true, err) || err_prefix(err, "--listen");
    case FLAG_METRICS:
        out->has_metrics = true;
        return addr_parse(&out->metrics, text, true, err) || err_prefix(err, "--metrics");
    case FLAG_ID:
        out->id = text;
        return spiffe_workload_parse(&id, text, strlen(text), err) || err_prefix(err, "--id");
    case FLAG_MINUTES:
        return set_minutes(out, text, err);
    default:
        return log_level_parse(&out->log_level, text) ||
               err_set(err, "--log-level: \"%s\" is none of debug, info, warn, error", text);
    }
}

enum flags_result flags_parse(struct flags *out, int argc, char **argv, struct err *err)
{
    *out = (struct flags){.log_level = LOG_LEVEL_INFO, .minutes = TOKEN_MINUTES};
    out->is_token = argc > 1 && strcmp(argv[1], "token") == 0;
    argc -= out->is_token;
    argv += out->is_token;
    optind = 0;
    opterr = 0;
    for (int flag; (flag = getopt_long(argc, argv, ":", out->is_token ? token_options : run_options,
                                       NULL)) != -1;) {
        switch (flag) {
        case FLAG_HELP:
            return FLAGS_HELP;
        case FLAG_VERSION:
            return FLAGS_VERSION_ASKED;
        case ':':
            err_set(err, "%s wants a value", argv[optind - 1]);
            return FLAGS_WRONG;
        case '?':
            err_set(err, "%s is not known; --help lists the flags", argv[optind - 1]);
            return FLAGS_WRONG;
        default:
            if (!set(out, flag, optarg, err)) {
                return FLAGS_WRONG;
            }
        }
    }
    if (optind < argc) {
        err_set(err, "\"%s\" is not a flag; --help lists them", argv[optind]);
        return FLAGS_WRONG;
    }
    if (out->dir == NULL || (out->is_token && out->id == NULL)) {
        err_set(err, out->dir == NULL ? "--dir is missing: the folder of the fleet"
                                      : "--id is missing: whom the token admits");
        return FLAGS_WRONG;
    }
    return FLAGS_RUN;
}
