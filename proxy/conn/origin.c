// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/origin.h"

#include <ifaddrs.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/must.h"

enum {
    HOST_ADDRS_LIFE_MS = 10000,
    HOST_ADDRS_MISS_MS = 1000,
    SO_ORIGINAL_DST_BOTH =
        80, // SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST, of linux/netfilter_ipv4.h and _ipv6
};

void host_addrs_cleanup(struct host_addrs *addrs)
{
    free(addrs->ips);
    *addrs = (struct host_addrs){0};
}

static void host_addrs_read(struct host_addrs *addrs, uint64_t now_ms)
{
    struct ifaddrs *list = NULL;
    addrs->read_ms = now_ms;
    addrs->is_read = true;
    if (getifaddrs(&list) != 0) {
        return; // what was known stays known
    }
    size_t num = 0;
    for (const struct ifaddrs *at = list; at != NULL && num < HOST_ADDRS_MAX; at = at->ifa_next) {
        num++;
    }
    free(addrs->ips);
    addrs->ips = must_alloc(num, sizeof *addrs->ips);
    addrs->num = 0;
    for (const struct ifaddrs *at = list; at != NULL && addrs->num < num; at = at->ifa_next) {
        struct addr addr;
        if (at->ifa_addr != NULL && addr_from_sockaddr(&addr, at->ifa_addr)) {
            addrs->ips[addrs->num++] = addr.ip;
        }
    }
    freeifaddrs(list);
}

static bool host_addrs_holds(const struct host_addrs *addrs, const struct ip *ip)
{
    for (size_t i = 0; i < addrs->num; i++) {
        if (ip_equal(&addrs->ips[i], ip)) {
            return true;
        }
    }
    return false;
}

bool host_addrs_has(struct host_addrs *addrs, const struct ip *ip, uint64_t now_ms)
{
    if (!addrs->is_read || now_ms - addrs->read_ms > HOST_ADDRS_LIFE_MS) {
        host_addrs_read(addrs, now_ms);
    }
    if (host_addrs_holds(addrs, ip)) {
        return true;
    }
    if (now_ms - addrs->read_ms > HOST_ADDRS_MISS_MS) {
        host_addrs_read(addrs, now_ms);
        return host_addrs_holds(addrs, ip);
    }
    return false;
}

static bool original_destination(struct addr *out, int fd, bool is_v4)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int level = is_v4 ? IPPROTO_IP : IPPROTO_IPV6;
    return getsockopt(fd, level, SO_ORIGINAL_DST_BOTH, &sa, &len) == 0 &&
           addr_from_sockaddr(out, (const struct sockaddr *)&sa);
}

bool origin_read(struct origin *out, int fd, bool is_intercepted)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    if (getpeername(fd, (struct sockaddr *)&sa, &len) != 0 ||
        !addr_from_sockaddr(&out->peer, (const struct sockaddr *)&sa)) {
        return false;
    }
    if (!is_intercepted) {
        return true;
    }
    len = sizeof sa;
    if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0 ||
        !addr_from_sockaddr(&out->local, (const struct sockaddr *)&sa)) {
        return false;
    }
    // Without connection tracking there is no answer: that connection was not redirected.
    return original_destination(&out->original, fd, ip_is_v4(&out->peer.ip));
}
