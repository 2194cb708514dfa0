// SPDX-License-Identifier: Apache-2.0
//
// tabard-proxy: the data plane. It takes over its descriptors from the agent, gives up its
// privileges, and runs.
#define _GNU_SOURCE // setresuid
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/flags.h"
#include "base/log.h"
#include "base/process.h"
#include "base/program/program.h"
#include "base/version.h"
#include "proto/contract.h"
#include "proxy/carry/socket.h"
#include "proxy/plane.h"

static const struct program program = {
    .name = "tabard-proxy",
    .version = TABARD_VERSION,
    .libraries = {library_boringssl, library_libuv, library_protobuf_c},
};

static const char usage[] =
    "Usage: tabard-proxy --workers N [--uid N] [--log-level debug|info|warn|error]\n"
    "                    [--caller-addresses]\n"
    "\n"
    "The data plane of Tabard. tabard-agent starts it, with its control socket as "
    "descriptor " CONTRACT_CONTROL_FD_TEXT "\n"
    "and a signing socket for each worker on those that follow; it is of no use by itself.\n"
    "\n"
    "  --workers N      threads that serve connections, 1 to " CONTRACT_WORKERS_MAX_TEXT "\n"
    "  --uid N          user and group to become before anything is read (needs root)\n"
    "  --log-level L    the least level that is logged (info)\n"
    "  --caller-addresses  keep CAP_NET_RAW, to call the service from its callers' addresses\n"
    "  --help, --version\n";

struct options {
    uint32_t num_workers;
    uint32_t uid; // 0: not changed
    bool has_caller_addresses;
    enum log_level log_level;
    struct flags_asked asked;
};

static bool set_uid(void *ctx, const char *text, struct err *err)
{
    return flags_number(ctx, text, 1, UINT32_MAX - 1, NULL) ||
           err_set(err, "\"%.100s\" is no user id of 1 and more; the proxy never runs as root",
                   text);
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
        FLAGS_ASKED_ROWS(&out->asked),
    };
    return flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, NULL, 0, NULL, err);
}

// Whether the agent's sockets are there. It is asked before a file of our own can be opened as one
// of these descriptors and taken for it.
static bool has_sockets(unsigned num_workers, struct err *err)
{
    for (int fd = CONTRACT_CONTROL_FD; fd <= CONTRACT_CONTROL_FD + (int)num_workers; fd++) {
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

// Keeps CAP_NET_RAW of the capabilities there are, which setresuid was told to leave, and no other.
static bool keep_net_raw(struct err *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {
        {.effective = 1u << CAP_NET_RAW, .permitted = 1u << CAP_NET_RAW}};
    return syscall(SYS_capset, &header, sets) == 0 ||
           err_set(err, "--caller-addresses: %s: the capability CAP_NET_RAW is missing",
                   strerror(errno));
}

static bool has_capability(unsigned capability)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{0}};
    return syscall(SYS_capget, &header, sets) == 0 &&
           (sets[capability / 32].effective & 1u << capability % 32) != 0;
}

// Says why another user couldn't be become, from errno. A root without capabilities, as containers
// have it, can't either.
static bool fail_user(uid_t uid, unsigned capability, const char *name, struct err *err)
{
    const char *why = strerror(errno);
    return has_capability(capability)
               ? err_set(err, "cannot become user %u: %s", uid, why)
               : err_set(err, "cannot become user %u: %s: the capability %s is missing", uid, why,
                         name);
}

static bool become(uid_t uid, struct err *err)
{
    if (setgroups(0, NULL) != 0 || setresgid(uid, uid, uid) != 0) {
        return fail_user(uid, CAP_SETGID, "CAP_SETGID", err);
    }
    return setresuid(uid, uid, uid) == 0 || fail_user(uid, CAP_SETUID, "CAP_SETUID", err);
}

// Becomes an ordinary user that nobody can trace. It need not ask for a signal when the agent dies,
// since the control socket tells.
static bool give_up_privileges(const struct options *options, struct err *err)
{
    if (options->uid != 0) {
        prctl(PR_SET_KEEPCAPS, options->has_caller_addresses, 0, 0, 0);
        if (!become(options->uid, err)) {
            return false;
        }
    }
    if (options->has_caller_addresses && !keep_net_raw(err)) {
        return false;
    }
    process_harden();
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ||
           err_set(err, "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
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
    process_begin(program.name, options.log_level);
    // Whoever signals all of a service's processes signals the agent too, which says when to drain.
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    socket_keep_alive_by_conntrack();
    if (!has_agent || !give_up_privileges(&options, &err) ||
        !plane_run(&program, CONTRACT_CONTROL_FD, options.num_workers, &err)) {
        char text[1024];
        char quoted[1024];
        log_error("msg=\"the proxy cannot start\" error=%s",
                  log_quote(quoted, sizeof quoted, err_text(&err, text, sizeof text)));
        return 1;
    }
    log_info("msg=stopped");
    return 0;
}
