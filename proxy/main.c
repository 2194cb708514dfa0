// SPDX-License-Identifier: Apache-2.0
//
// tabard-proxy: the data plane. It takes its descriptors from the agent, gives up what it doesn't
// need, and runs.
#define _GNU_SOURCE // setresuid
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/version.h"
#include "proto/contract.h"
#include "proxy/plane.h"

static const char usage[] =
    "Usage: tabard-proxy --workers N [--uid N] [--log-level debug|info|warn|error]\n"
    "\n"
    "The data plane of Tabard. tabard-agent starts it, with its control socket as "
    "descriptor " CONTRACT_CONTROL_FD_TEXT "\n"
    "and a signing socket for each worker on those that follow; it is of no use by itself.\n"
    "\n"
    "  --workers N      threads that serve connections, 1 to " CONTRACT_WORKERS_MAX_TEXT "\n"
    "  --uid N          user and group to become before anything is read (needs root)\n"
    "  --log-level L    the least level that is logged (info)\n"
    "  --help, --version\n";

struct options {
    unsigned num_workers;
    bool has_uid;
    uid_t uid;
    enum log_level log_level;
};

static bool parse_number(unsigned long *out, const char *text, unsigned long min, unsigned long max)
{
    char *end;
    errno = 0;
    *out = strtoul(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *out >= min &&
           *out <= max;
}

static int usage_error(const char *what, const char *value)
{
    fprintf(stderr, "tabard-proxy: %s%s%s (see --help)\n", what, value != NULL ? ": " : "",
            value != NULL ? value : "");
    return 2;
}

// Reads the command line; returns -1 to go on, or the exit code.
static int options_parse(struct options *out, int argc, char **argv)
{
    static const struct option longs[] = {
        {"workers", required_argument, NULL, 'w'},   {"uid", required_argument, NULL, 'u'},
        {"log-level", required_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},         {NULL, 0, NULL, 0}};
    unsigned long number;
    int option;
    *out = (struct options){.log_level = LOG_LEVEL_INFO};
    while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (option) {
        case 'w':
            if (!parse_number(&number, optarg, 1, CONTRACT_WORKERS_MAX)) {
                return usage_error("--workers takes a number from 1 to " CONTRACT_WORKERS_MAX_TEXT,
                                   optarg);
            }
            out->num_workers = (unsigned)number;
            break;
        case 'u':
            if (!parse_number(&number, optarg, 1, UINT32_MAX - 1)) {
                return usage_error("--uid takes a number from 1; the proxy never runs as root",
                                   optarg);
            }
            out->has_uid = true;
            out->uid = (uid_t)number;
            break;
        case 'l':
            if (!log_level_parse(&out->log_level, optarg)) {
                return usage_error("--log-level takes debug, info, warn or error", optarg);
            }
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        case 'v':
            puts("tabard-proxy " TABARD_VERSION);
            return 0;
        default:
            return 2; // getopt has named the flag
        }
    }
    if (optind < argc) {
        return usage_error("takes no argument", argv[optind]);
    }
    return out->num_workers == 0 ? usage_error("--workers is required", NULL) : -1;
}

// Becomes an ordinary user that nobody can trace. (When the agent dies its socket says so.)
static bool give_up_privileges(const struct options *options, struct err *err)
{
    if (options->has_uid &&
        (setgroups(0, NULL) != 0 || setresgid(options->uid, options->uid, options->uid) != 0 ||
         setresuid(options->uid, options->uid, options->uid) != 0)) {
        return err_set(err, "cannot become user %u: %s; only root can", (unsigned)options->uid,
                       strerror(errno));
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
        return err_set(err, "prctl: %s", strerror(errno));
    }
    return true;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    struct err err = {0};
    int code = options_parse(&options, argc, argv);
    if (code >= 0) {
        return code;
    }
    log_init("tabard-proxy", options.log_level);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    if (!give_up_privileges(&options, &err) || !plane_run(options.num_workers, &err)) {
        char text[1024];
        char quoted[1024];
        log_error("msg=\"the proxy cannot start\" error=%s",
                  log_quote(quoted, sizeof quoted, err_text(&err, text, sizeof text)));
        return 1;
    }
    log_info("msg=stopped");
    return 0;
}
