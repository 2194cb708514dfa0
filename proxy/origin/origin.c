// SPDX-License-Identifier: Apache-2.0
#include "proxy/origin/origin.h"

#include <sys/socket.h>

enum {
    SO_ORIGINAL_DST_BOTH =
        80, // SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST, of linux/netfilter_ipv4.h and _ipv6
};

// Gives a link-local address the interface that the connection came in by. The kernel names it only
// where the caller's address is link-local, too.
static void complete_scope(struct addr *addr, int fd)
{
    int interface = 0;
    socklen_t len = sizeof interface;
    // Of an accepted socket, what IPV6_MULTICAST_IF begins with is the interface of its first
    // segment.
    if (ip_is_link_local6(&addr->ip) && addr->scope == 0 &&
        getsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &interface, &len) == 0) {
        addr->scope = (uint32_t)interface;
    }
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
    len = sizeof sa;
    if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0 ||
        !addr_from_sockaddr(&out->local, (const struct sockaddr *)&sa)) {
        return false;
    }
    if (!is_intercepted) {
        return true;
    }
    // Without connection tracking there is no answer: that connection was not redirected.
    if (!original_destination(&out->original, fd, ip_is_v4(&out->peer.ip))) {
        return false;
    }
    complete_scope(&out->local, fd);
    complete_scope(&out->original, fd);
    return true;
}
