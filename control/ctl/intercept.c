// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/flags.h"
#include "base/must.h"
#include "control/ctl/ctl.h"
#include "control/ctl/host.h"
#include "control/ctl/routes.h"
#include "control/ctl/ruleset.h"
#include "proto/contract.h"

const char ctl_intercept_usage[] =
    "usage: tabardctl intercept print|up|down [flags]\n"
    "\n"
    "Redirects the TCP traffic of this network namespace, IPv4 and IPv6, to its sidecar: what "
    "comes\n"
    "in to the inbound port, what goes out to the outbound port. One nftables table, inet tabard, "
    "and\n"
    "the routes of the addresses from which the sidecar calls the service (protocol 133). print "
    "shows\n"
    "both and touches nothing; up loads them, whatever was there before; down removes them. "
    "Loopback\n"
    "and the proxy's own traffic are left alone; calls to IPv6 link-local addresses are refused.\n"
    "\n"
    "  --outbound-port N              where the sidecar takes what goes out "
    "(" CONTRACT_OUTBOUND_PORT_TEXT ")\n"
    "  --inbound-port N               where it takes what comes in (" CONTRACT_INBOUND_PORT_TEXT
    ")\n"
    "  --proxy-uid N                  the user the proxy runs as; its traffic is exempt "
    "(" CONTRACT_PROXY_UID_TEXT ")\n"
    "  --exclude-uids LIST            other users whose traffic is exempt\n"
    "  --exclude-inbound-ports LIST   reached directly, besides " CONTRACT_METRICS_PORT_TEXT
    " and " CONTRACT_HEALTH_PORT_TEXT "\n"
    "  --include-inbound-ports LIST   only these are caught\n"
    "  --exclude-inbound-cidrs LIST   callers from there reach the service directly\n"
    "  --exclude-outbound-ports LIST  called directly\n"
    "  --include-outbound-ports LIST  only these are caught\n"
    "  --exclude-outbound-cidrs LIST  called directly\n"
    "  --include-outbound-cidrs LIST  only these are caught\n"
    "  --exclude-inbound-interfaces LIST  what comes in by them reaches the service directly\n"
    "  --service-sources LIST         addresses of settings.service_source, to make them this "
    "host's\n"
    "  --caller-addresses             for its mode CALLER: brings answers to callers' addresses "
    "back\n"
    "\n"
    "LIST: 22,9000-9010 or 10.0.0.0/8,fd00::/8 or eth1,wg0; a flag may be repeated. What is "
    "excluded\n"
    "and included is excluded. Exit status: 0 done, 1 not done, 2 for a wrong flag.\n";

static bool set_port(void *out, const char *value, struct err *err)
{
    return ruleset_set_port(out, value, err);
}

static bool set_uid(void *out, const char *value, struct err *err)
{
    return ruleset_set_uid(out, value, err);
}

static bool add_ports(void *list, const char *value, struct err *err)
{
    return ruleset_add_ports(list, value, err);
}

static bool add_uids(void *list, const char *value, struct err *err)
{
    return ruleset_add_uids(list, value, err);
}

static bool add_cidrs(void *list, const char *value, struct err *err)
{
    return ruleset_add_cidrs(list, value, err);
}

static bool add_interfaces(void *list, const char *value, struct err *err)
{
    return ruleset_add_interfaces(list, value, err);
}

static bool add_addresses(void *list, const char *value, struct err *err)
{
    return ruleset_add_addresses(list, value, err);
}

// Asks nf_tables for its generation, which changes nothing, and returns the errno of the answer.
static int probe(int fd)
{
    struct {
        struct nlmsghdr header;
        struct nfgenmsg message;
    } request = {
        .header = {.nlmsg_len = sizeof request,
                   .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN,
                   .nlmsg_flags = NLM_F_REQUEST},
        .message = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0},
    };
    union {
        struct nlmsghdr header;
        char bytes[4096];
    } answer;
    if (send(fd, &request, sizeof request, 0) < 0) {
        return errno;
    }
    ssize_t len = recv(fd, &answer, sizeof answer, 0);
    if (len < (ssize_t)sizeof answer.header) {
        return len < 0 ? errno : EPROTO;
    }
    if (answer.header.nlmsg_type != NLMSG_ERROR) {
        return 0;
    }
    const struct nlmsgerr *error = NLMSG_DATA(&answer.header);
    return len >= (ssize_t)NLMSG_LENGTH(sizeof *error) ? -error->error : EPROTO;
}

// Checks first what libnftables doesn't report: without the capability or without nf_tables it
// writes to standard error or ends the process.
static bool check_nf_tables(struct err *err)
{
    static const struct timeval patience = {.tv_sec = 5};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0) {
        return err_set(err, "this kernel has no nf_tables (netlink: %s)", strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int error = probe(fd);
    close(fd);
    if (error == EPERM) {
        return err_set(err, "needs CAP_NET_ADMIN in this network namespace: %s", strerror(error));
    }
    return error == 0 || err_set(err, "this kernel has no nf_tables (%s)", strerror(error));
}

// The first line of what libnftables said, without its "Error: ".
static const char *first_line(const char *said, char *buf, size_t buf_len)
{
    const char *at = strstr(said, "Error: ");
    at = at == NULL ? said : at + strlen("Error: ");
    snprintf(buf, buf_len, "%.*s", (int)strcspn(at, "\n"), at);
    return buf;
}

static bool fail_nft(const char *said, struct err *err)
{
    char line[256];
    first_line(said, line, sizeof line);
    if (strstr(said, strerror(EOPNOTSUPP)) != NULL ||
        strstr(said, strerror(EAFNOSUPPORT)) != NULL || strstr(said, strerror(ENOENT)) != NULL) {
        return err_set(err,
                       "this kernel lacks a part of nf_tables' NAT for IPv4 and IPv6 (nf_tables, "
                       "nft_chain_nat, nft_redir, nft_ct): %s",
                       line);
    }
    return err_set(err, "nftables: %s", line[0] == '\0' ? "refused without saying why" : line);
}

static bool load(const char *text, struct err *err)
{
    struct nft_ctx *nft = must_have(nft_ctx_new(NFT_CTX_DEFAULT));
    bool is_buffered = nft_ctx_buffer_output(nft) == 0 && nft_ctx_buffer_error(nft) == 0;
    must_have(is_buffered ? nft : NULL);
    bool good = true;
    if (nft_run_cmd_from_buffer(nft, text) != 0) {
        good = fail_nft(nft_ctx_get_error_buffer(nft), err);
    }
    nft_ctx_free(nft);
    return good;
}

// Reads this host and makes the routes that the ruleset wants, or removes all with is_down.
static bool change_routes(bool is_down, const struct ruleset *ruleset, struct err *err)
{
    struct rtnl rtnl;
    struct host host = {0};
    int error = rtnl_open(&rtnl);
    if (error != 0) {
        return err_set(err, "this host's routes can't be asked for: %s", strerror(error));
    }
    bool good = is_down ? routes_down(&rtnl, err)
                        : host_read(&host, &rtnl, err) && host_check(&host, ruleset, err) &&
                              routes_up(&rtnl, &host, ruleset, err);
    host_cleanup(&host);
    rtnl_close(&rtnl);
    return good;
}

static bool up(const struct ruleset *ruleset, const char *text, struct err *err)
{
    return check_nf_tables(err) && change_routes(false, ruleset, err) && load(text, err);
}

static bool down(const char *text, struct err *err)
{
    return check_nf_tables(err) && load(text, err) && change_routes(true, NULL, err);
}

static int run(const char *action, const struct ruleset *ruleset)
{
    struct err err = {{0}, {0}};
    bool is_print = strcmp(action, "print") == 0;
    bool is_down = strcmp(action, "down") == 0;
    if (!is_print && !is_down && strcmp(action, "up") != 0) {
        err_set(&err, "intercept: \"%s\" is none of print, up, down", action);
        return ctl_fail(CTL_USAGE, &err);
    }
    char *text = is_down ? ruleset_down() : ruleset_up(ruleset);
    bool good = true;
    if (is_print) {
        printf("%s", text);
        routes_print(stdout, ruleset);
    } else {
        good = (is_down ? down(text, &err) : up(ruleset, text, &err)) ||
               err_prefix(&err, "intercept %s", action);
    }
    free(text);
    return good ? CTL_OK : ctl_fail(CTL_FAILED, &err);
}

int ctl_intercept(int argc, char **argv)
{
    static struct ruleset ruleset; // large for a stack
    ruleset_init(&ruleset);
    const struct flag flags[] = {
        {.name = "outbound-port", .set = set_port, .ctx = &ruleset.outbound_port},
        {.name = "inbound-port", .set = set_port, .ctx = &ruleset.inbound_port},
        {.name = "proxy-uid", .set = set_uid, .ctx = &ruleset.proxy_uid},
        {.name = "exclude-uids", .set = add_uids, .ctx = &ruleset.exclude_uids},
        {.name = "exclude-inbound-ports", .set = add_ports, .ctx = &ruleset.exclude_inbound_ports},
        {.name = "include-inbound-ports", .set = add_ports, .ctx = &ruleset.include_inbound_ports},
        {.name = "exclude-inbound-cidrs", .set = add_cidrs, .ctx = &ruleset.exclude_inbound_cidrs},
        {.name = "exclude-outbound-ports",
         .set = add_ports,
         .ctx = &ruleset.exclude_outbound_ports},
        {.name = "include-outbound-ports",
         .set = add_ports,
         .ctx = &ruleset.include_outbound_ports},
        {.name = "exclude-outbound-cidrs",
         .set = add_cidrs,
         .ctx = &ruleset.exclude_outbound_cidrs},
        {.name = "include-outbound-cidrs",
         .set = add_cidrs,
         .ctx = &ruleset.include_outbound_cidrs},
        {.name = "exclude-inbound-interfaces",
         .set = add_interfaces,
         .ctx = &ruleset.exclude_inbound_interfaces},
        {.name = "service-sources", .set = add_addresses, .ctx = &ruleset.service_sources},
        {.name = "caller-addresses", .out_given = &ruleset.has_caller_addresses},
    };
    const char *action = NULL;
    size_t num_operands = 0;
    struct err err = {{0}, {0}};
    if (!flags_parse(flags, sizeof flags / sizeof flags[0], argc, argv, &action, 1, &num_operands,
                     &err) ||
        !ruleset_check(&ruleset, &err)) {
        err_prefix(&err, "intercept");
        return ctl_fail(CTL_USAGE, &err);
    }
    if (num_operands == 0) {
        err_set(&err, "intercept: one of print, up, down is missing");
        return ctl_fail(CTL_USAGE, &err);
    }
    return run(action, &ruleset);
}
