// SPDX-License-Identifier: Apache-2.0
#include "proxy/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/must.h"
#include "proxy/carry/socket.h"

const char *listen_kind_text(enum listen_kind kind)
{
    static const char *const texts[] = {[LISTEN_OUTBOUND] = "outbound",
                                        [LISTEN_INBOUND] = "inbound",
                                        [LISTEN_FORWARD] = "forward",
                                        [LISTEN_INBOUND_PORT] = "inbound_port"};
    return texts[kind];
}

// Returns a bound socket, or -1 with errno. With is_shared others of this user may bind the same.
static int bind_one(const struct addr *addr, bool is_shared)
{
    static const int on = 1;
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(addr, &sa);
    int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (is_shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
        (sa.ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) ||
        bind(fd, (const struct sockaddr *)&sa, sa_len) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

// Says whether nobody else listens there; false sets errno. A shared bind alone would quietly join
// another process of the same user.
static bool probe(const struct addr *addr)
{
    int fd = bind_one(addr, false);
    if (fd < 0) {
        return false;
    }
    bool ok = listen(fd, 1) == 0; // the kernel tells of another listener here at the latest
    int saved = errno;
    close(fd);
    errno = saved;
    return ok;
}

// Says whether one of the plan's sockets has the same port, and one of the two the wildcard
// address. The kernel would let both be bound as shared ones, but then others of this user could
// join, too.
static bool overlaps(const struct listen_plan *plan, const struct addr *addr)
{
    for (size_t i = 0; plan != NULL && i < plan->num; i++) {
        const struct addr *bound = &plan->sockets[i].bound;
        if (bound->port == addr->port && ip_is_v4(&bound->ip) == ip_is_v4(&addr->ip) &&
            (ip_is_unspecified(&bound->ip) || ip_is_unspecified(&addr->ip))) {
            return true;
        }
    }
    return false;
}

static bool socket_open(struct listen_socket *sock, size_t num_workers)
{
    sock->bound = sock->configured;
    if (sock->configured.port != 0 && !probe(&sock->configured)) {
        return false;
    }
    for (size_t i = 0; i < num_workers; i++) {
        int fd = bind_one(&sock->bound, true);
        sock->fds[i] = fd;
        if (fd < 0) {
            return false;
        }
        struct sockaddr_storage sa;
        socklen_t sa_len = sizeof sa;
        if (getsockname(fd, (struct sockaddr *)&sa, &sa_len) != 0 ||
            !addr_from_sockaddr(&sock->bound, (const struct sockaddr *)&sa)) {
            return false;
        }
        socket_set_options(fd); // accepted sockets inherit them
        if (listen(fd, LISTEN_BACKLOG) != 0) {
            return false;
        }
    }
    return true;
}

static bool has_bound(const struct listen_plan *plan, const struct addr *bound)
{
    for (size_t i = 0; i < plan->num; i++) {
        if (addr_equal(&plan->sockets[i].bound, bound)) {
            return true;
        }
    }
    return false;
}

// Returns the open socket that serves a configured address, of either kind: a forward's may become
// an inbound port's. Of port 0 there may be several, and `plan` takes each once.
static const struct listen_socket *find(const struct listen_plan *current,
                                        const struct listen_plan *plan, enum listen_kind kind,
                                        const struct addr *configured)
{
    for (size_t i = 0; current != NULL && i < current->num; i++) {
        const struct listen_socket *sock = &current->sockets[i];
        bool is_it = configured->port != 0
                         ? addr_equal(&sock->bound, configured)
                         : addr_equal(&sock->configured, configured) && sock->spec.kind == kind;
        if (is_it && !has_bound(plan, &sock->bound)) {
            return sock;
        }
    }
    return NULL;
}

static bool is_missing_ipv6(int error)
{
    return error == EAFNOSUPPORT || error == EADDRNOTAVAIL;
}

// Adds one address to the plan.
static bool plan_add(struct listen_plan *plan, const struct listen_spec *spec,
                     const struct addr *configured, const struct listen_plan *current,
                     bool may_be_missing, struct err *err)
{
    char buf[ADDR_TEXT_MAX];
    if (configured->port != 0 && overlaps(plan, configured)) {
        return err_set(err,
                       "cannot listen on %s (%s): another entry of this configuration listens on "
                       "the same port, and one of the two on all addresses",
                       addr_text(configured, buf), listen_kind_text(spec->kind));
    }
    const struct listen_socket *open = find(current, plan, spec->kind, configured);
    struct listen_socket *sock = &plan->sockets[plan->num];
    *sock = (struct listen_socket){.spec = *spec, .configured = *configured};
    sock->fds = must_alloc(plan->num_workers, sizeof *sock->fds);
    for (size_t i = 0; i < plan->num_workers; i++) {
        sock->fds[i] = -1;
    }
    plan->num++;
    if (open != NULL) {
        sock->bound = open->bound;
        return true;
    }
    if (socket_open(sock, plan->num_workers)) {
        return true;
    }
    if (may_be_missing && is_missing_ipv6(errno)) {
        free(sock->fds);
        plan->num--;
        return true;
    }
    const char *hint = "";
    if (errno == EADDRINUSE) {
        hint =
            overlaps(current, configured) || (current != NULL && has_bound(current, configured))
                ? "; this sidecar itself listens there until the change: take the old entry out in "
                  "one update and put the new one in with the next"
                : "; another process, or another sidecar in this network namespace, holds it";
    } else if (errno == EADDRNOTAVAIL) {
        hint = "; no interface of this host has that address";
    }
    return err_set(err, "cannot listen on %s (%s): %s%s", addr_text(configured, buf),
                   listen_kind_text(spec->kind), strerror(errno), hint);
}

static bool plan_add_spec(struct listen_plan *plan, const struct listen_spec *spec,
                          const struct listen_plan *current, struct err *err)
{
    static const struct ip v4_loopback = {{[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};
    static const struct ip v6_loopback = {{[15] = 1}};
    static const struct ip v4_any = {{[10] = 0xff, [11] = 0xff}};
    static const struct ip v6_any = {{0}};
    if (spec->kind == LISTEN_FORWARD || spec->kind == LISTEN_INBOUND_PORT) {
        return plan_add(plan, spec, &spec->listen, current, false, err);
    }
    bool is_outbound = spec->kind == LISTEN_OUTBOUND;
    struct addr v4 = {.ip = is_outbound ? v4_loopback : v4_any, .port = spec->listen.port};
    struct addr v6 = {.ip = is_outbound ? v6_loopback : v6_any, .port = spec->listen.port};
    return plan_add(plan, spec, &v4, current, false, err) &&
           plan_add(plan, spec, &v6, current, true, err);
}

bool listen_plan_init(struct listen_plan *out, const struct route_index *routes,
                      const struct listen_plan *current, size_t num_workers, struct err *err)
{
    size_t num_specs = route_num_listens(routes);
    const struct listen_spec *specs = route_listens(routes);
    *out = (struct listen_plan){.num_workers = num_workers};
    out->sockets = must_alloc(num_specs * 2, sizeof *out->sockets);
    // Addresses with a port come first: the kernel may have chosen that port before.
    for (int is_chosen = 0; is_chosen <= 1; is_chosen++) {
        for (size_t i = 0; i < num_specs; i++) {
            if ((specs[i].listen.port == 0) == is_chosen &&
                !plan_add_spec(out, &specs[i], current, err)) {
                listen_plan_cleanup(out);
                return false;
            }
        }
    }
    return true;
}

void listen_plan_cleanup(struct listen_plan *plan)
{
    for (size_t i = 0; i < plan->num; i++) {
        for (size_t w = 0; w < plan->num_workers; w++) {
            if (plan->sockets[i].fds[w] >= 0) {
                close(plan->sockets[i].fds[w]);
            }
        }
        free(plan->sockets[i].fds);
    }
    free(plan->sockets);
    *plan = (struct listen_plan){0};
}
