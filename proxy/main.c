// SPDX-License-Identifier: Apache-2.0
//
// tabard-proxy: the data plane. It takes over its descriptors from the agent, gives up its
// privileges, and runs.
#define _GNU_SOURCE // closefrom
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/flags.h"
#include "base/log.h"
#include "base/process.h"
#include "base/program/program.h"
#include "base/version.h"
#include "proto/contract.h"
#include "proxy/carry/socket.h"
#include "proxy/plane.h"
#include "proxy/proxy_sandbox.h"

static const struct program program = {
    .name = "tabard-proxy",
    .version = TABARD_VERSION,
    .libraries = {library_boringssl, library_libuv, library_protobuf_c},
};

static const char usage[] =
    "usage: tabard-proxy --workers N [flags]\n"
    "\n"
    "The data plane of Tabard. tabard-agent starts it, with its control socket as "
    "descriptor " CONTRACT_CONTROL_FD_TEXT ",\n"
    "a signing socket for each worker on those that follow, and one for its last words; it is of\n"
    "no use by itself.\n"
    "\n"
    "  --workers N         threads that serve connections, 1 to " CONTRACT_WORKERS_MAX_TEXT "\n"
    "  --uid N             user and group to become before anything is read (needs root)\n"
    "  --caller-addresses  keep CAP_NET_RAW, to call the service from its callers' addresses\n"
    "  --sandbox MODE      on; off: system calls, files and ports stay open, for debugging;\n"
    "                      required: don't start without all that it takes away (on)\n"
    "  --log-level LEVEL   debug, info, warn or error (info)\n"
    "  --version           prints the version\n"
    "  --help              prints this\n";

struct options {
    uint32_t num_workers;
    uint32_t uid; // 0: not changed
    bool has_caller_addresses;
    enum sandbox_mode sandbox;
    enum log_level log_level;
    struct flags_asked asked;
};

static bool set_uid(void *ctx, const char *text, struct err *err)
{
    return flags_number(ctx, text, 1, UINT32_MAX - 1, NULL) ||
           err_set(err, "\"%.100s\" is no user id of 1 and more; the proxy never runs as root",
                   text);
}

static bool set_sandbox(void *ctx, const char *text, struct err *err)
{
    return sandbox_mode_parse(ctx, text, err);
}

static bool options_parse(struct options *out, int argc, char **argv, struct err *err)
{
    *out = (struct options){.log_level = LOG_LEVEL_INFO};
    const struct flag flags[] = {
        {.name = "workers",
         .number = &out->num_workers,
         .min = 1,
         .max = CONTRACT_WORKERS_MAX,
         .needed = "the number of threads that serve connections"},
        {.name = "uid", .set = set_uid, .ctx = &out->uid},
        {.name = "log-level", .log_level = &out->log_level},
        {.name = "caller-addresses", .out_given = &out->has_caller_addresses},
        {.name = "sandbox",
         .set = set_sandbox,
         .ctx = &out->sandbox,
         .values = SANDBOX_MODES_TEXT,
         .is_once = true},
        FLAGS_ASKED_ROWS(&out->asked),
    };
    return flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, NULL, 0, NULL, err);
}

// Whether the agent's sockets are there. It is asked before a file of our own can be opened as one
// of these descriptors and taken for it.
static bool has_sockets(unsigned num_workers, struct err *err)
{
    for (int fd = CONTRACT_CONTROL_FD; fd <= CONTRACT_TELL_FD(num_workers); fd++) {
        struct stat st;
        if (fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode)) {
            return err_set(err,
                           "descriptor %d is no socket to tabard-agent, which alone starts "
                           "tabard-proxy",
                           fd);
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options;
    struct err err = {0};
    bool is_good = options_parse(&options, argc, argv, &err);
    int status = flags_answer(&program, usage, is_good, &options.asked, &err);
    if (status >= 0) {
        return status;
    }
    bool has_agent = has_sockets(options.num_workers, &err);
    if (has_agent) {
        // What whoever started the agent left open.
        closefrom(CONTRACT_TELL_FD(options.num_workers) + 1);
    }
    process_begin(program.name, options.log_level);
    // Whoever signals all of a service's processes signals the agent too, which says when to drain.
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    setenv("UV_USE_IO_URING", "0", 1); // past which no filter sees
    tzset();                           // opens a file, which a line of the log would do later
    socket_keep_alive_by_conntrack();
    struct proxy_sandbox sandbox;
    const struct proxy_sandbox_spec spec = {.mode = options.sandbox,
                                            .uid = options.uid,
                                            .has_caller_addresses = options.has_caller_addresses,
                                            .tell_fd = CONTRACT_TELL_FD(options.num_workers)};
    if (!has_agent || !proxy_sandbox_begin(&sandbox, &spec, &err) ||
        !plane_run(&program, CONTRACT_CONTROL_FD, options.num_workers, &sandbox, &err)) {
        char text[1024];
        char quoted[1024];
        log_error("msg=\"the proxy cannot start\" error=%s",
                  log_quote(quoted, sizeof quoted, err_text(&err, text, sizeof text)));
        return 1;
    }
    log_info("msg=stopped");
    return 0;
}
