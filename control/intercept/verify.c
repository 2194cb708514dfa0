// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // accept4
#include "control/intercept/verify.h"

#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "control/intercept/expected.h"
#include "control/intercept/host.h"
#include "control/intercept/nft.h"

#define WAIT_MS 3000 // for a call that never leaves this host

static bool check_rules(const struct ruleset *ruleset, struct err *err)
{
    char *have = NULL;
    char *want = NULL;
    if (!nft_list(&have, RULESET_TABLE, err)) {
        return err_prefix(err, "there is no table " RULESET_TABLE);
    }
    bool good = expected_list(&want, ruleset, RULESET_EXPECTED_TABLE, err) &&
                expected_compare(have, want, err);
    free(want);
    free(have);
    return good;
}

// An address of the family that is to be caught: one that belongs to documentation (RFC 5737, RFC
// 3849), or else one of a block that the flags name. false: none of the family is caught.
static bool choose_target(struct addr *out, const struct ruleset *ruleset, bool is_v4)
{
    static const char *const documentation[] = {"[2001:db8::1]:1", "192.0.2.1:1"};
    const struct cidr_list *blocks = &ruleset->include_outbound_cidrs;
    const struct number_ranges *ports = &ruleset->include_outbound_ports;
    addr_parse(out, documentation[is_v4], false, NULL);
    for (size_t block = 0; block <= blocks->num; block++) {
        if (block > 0) {
            out->ip = blocks->cidrs[block - 1].ip;
            out->ip.bytes[15] |= blocks->cidrs[block - 1].prefix_bits < 128; // not the first one
        }
        for (uint32_t port = 1; ip_is_v4(&out->ip) == is_v4 && port <= 1024; port++) {
            out->port = (uint16_t)port;
            if (ruleset_catches_outbound(ruleset, out)) {
                return true;
            }
        }
        for (size_t i = 0; ip_is_v4(&out->ip) == is_v4 && i < ports->num; i++) {
            out->port = (uint16_t)ports->ranges[i].first;
            if (ruleset_catches_outbound(ruleset, out)) {
                return true;
            }
        }
    }
    return false;
}

static int socket_of(const struct addr *addr, struct sockaddr_storage *out_sa, socklen_t *out_len)
{
    *out_len = addr_to_sockaddr(addr, out_sa);
    return socket(out_sa->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

// Listens where the sidecar will. -1: it does already, or sets err.
static int listen_at(const struct ruleset *ruleset, bool is_v4, struct err *err)
{
    struct addr addr;
    struct sockaddr_storage sa;
    socklen_t len = 0;
    const int on = 1; // also where an earlier call's end is still remembered
    addr_parse(&addr, is_v4 ? "127.0.0.1:0" : "[::1]:0", true, NULL);
    addr.port = ruleset->outbound_port;
    int fd = socket_of(&addr, &sa, &len);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 1) == 0) {
        return fd;
    }
    if (fd < 0 || errno != EADDRINUSE) {
        char text[ADDR_TEXT_MAX];
        err_set(err, "nothing can listen on %s, where what goes out is redirected to: %s",
                addr_text(&addr, text), strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

static bool wait_for(int fd, short events)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    return poll(&poll_fd, 1, WAIT_MS) == 1;
}

// Whether what was accepted is the call itself, with the address that it called.
static bool is_the_call(int accepted, int call, const struct addr *target)
{
    struct sockaddr_storage peer = {0};
    struct sockaddr_storage caller = {0};
    struct sockaddr_storage origin = {0};
    socklen_t peer_len = sizeof peer;
    socklen_t caller_len = sizeof caller;
    socklen_t origin_len = sizeof origin;
    struct addr addrs[3] = {0};
    bool is_v4 = ip_is_v4(&target->ip);
    int level = is_v4 ? SOL_IP : SOL_IPV6;
    int option = is_v4 ? SO_ORIGINAL_DST : IP6T_SO_ORIGINAL_DST;
    return getpeername(accepted, (struct sockaddr *)&peer, &peer_len) == 0 &&
           getsockname(call, (struct sockaddr *)&caller, &caller_len) == 0 &&
           getsockopt(accepted, level, option, &origin, &origin_len) == 0 &&
           addr_from_sockaddr(&addrs[0], (struct sockaddr *)&peer) &&
           addr_from_sockaddr(&addrs[1], (struct sockaddr *)&caller) &&
           addr_from_sockaddr(&addrs[2], (struct sockaddr *)&origin) &&
           addr_equal(&addrs[0], &addrs[1]) && addr_equal(&addrs[2], target);
}

static int connect_error(int call)
{
    int error = ETIMEDOUT;
    socklen_t len = sizeof error;
    if (wait_for(call, POLLOUT)) {
        getsockopt(call, SOL_SOCKET, SO_ERROR, &error, &len);
    }
    return error;
}

// Calls the target. `listener` is ours, or -1 where the sidecar answers.
static bool try_call(int listener, int call, const struct addr *target, struct err *err)
{
    char text[ADDR_TEXT_MAX];
    addr_text(target, text);
    int error = connect_error(call);
    if (error != 0) {
        return err_set(err, "a call to %s was not redirected: %s", text, strerror(error));
    }
    if (listener < 0) {
        return true;
    }
    int accepted = wait_for(listener, POLLIN) ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
    bool good = accepted >= 0 && is_the_call(accepted, call, target);
    if (accepted >= 0) {
        close(accepted);
    }
    return good ||
           err_set(err, "a call to %s was answered by somebody else: it passed by the sidecar",
                   text);
}

// Calls, and says what came of it.
static bool check_call(const struct ruleset *ruleset, int listener, const struct addr *target,
                       const char *family, struct err *err)
{
    struct sockaddr_storage sa;
    socklen_t len = 0;
    char text[ADDR_TEXT_MAX];
    int call = socket_of(target, &sa, &len);
    addr_text(target, text);
    if (call < 0) {
        return err_set(err, "no socket of %s: %s", family, strerror(errno));
    }
    bool is_begun = connect(call, (struct sockaddr *)&sa, len) == 0 || errno == EINPROGRESS;
    bool good = true;
    if (!is_begun && errno == ENETUNREACH) {
        printf("%s: no route leads out\n", family);
    } else if (!is_begun) {
        good = err_set(err, "a call to %s was not redirected: %s", text, strerror(errno));
    } else if ((good = try_call(listener, call, target, err))) {
        printf("%s: a call to %s came to port %u\n", family, text, ruleset->outbound_port);
    }
    close(call);
    return good;
}

static bool check_family(const struct ruleset *ruleset, const struct host *host, bool is_v4,
                         struct err *err)
{
    static const char *const families[] = {"IPv6", "IPv4"};
    struct addr target;
    struct err why = {{0}, {0}};
    if (!host->is_reached[is_v4]) {
        printf("%s: this host has no address\n", families[is_v4]);
        return true;
    }
    if (!choose_target(&target, ruleset, is_v4)) {
        printf("%s: no call is to be redirected\n", families[is_v4]);
        return true;
    }
    int listener = listen_at(ruleset, is_v4, &why);
    if (listener < 0 && why.text[0] != '\0') {
        return err_set(err, "%s", why.text);
    }
    bool good = check_call(ruleset, listener, &target, families[is_v4], err);
    if (listener >= 0) {
        close(listener);
    }
    return good;
}

bool verify(const struct ruleset *ruleset, struct err *err)
{
    struct rtnl rtnl;
    struct host host = {0};
    if (ruleset_exempts_user(ruleset, geteuid())) {
        return err_set(err, "calls of user %u are not redirected: run this as another user",
                       geteuid());
    }
    if (!nft_check(err) || !check_rules(ruleset, err)) {
        return false;
    }
    printf("the rules in the kernel are those of these flags\n");
    int error = rtnl_open(&rtnl);
    if (error != 0) {
        return err_set(err, "this host's addresses can't be asked for: %s", strerror(error));
    }
    bool good = host_read(&host, &rtnl, err) && check_family(ruleset, &host, true, err) &&
                check_family(ruleset, &host, false, err);
    host_cleanup(&host);
    rtnl_close(&rtnl);
    return good;
}
