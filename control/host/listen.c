// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // struct ucred
#include "control/host/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <libgen.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int tcp_once(const struct addr *addr, struct addr *out_bound)
{
    struct sockaddr_storage storage;
    socklen_t len = addr_to_sockaddr(addr, &storage);
    int on = 1;
    int off = 0;
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (storage.ss_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (bind(fd, (struct sockaddr *)&storage, len) != 0 || listen(fd, SOMAXCONN) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    len = sizeof storage;
    if (getsockname(fd, (struct sockaddr *)&storage, &len) != 0 ||
        !addr_from_sockaddr(out_bound, (struct sockaddr *)&storage)) {
        *out_bound = *addr;
    }
    return fd;
}

int listen_tcp(const struct addr *addr, struct addr *out_bound, struct err *err)
{
    int fd = tcp_once(addr, out_bound);
    if (fd < 0 && ip_is_unspecified(&addr->ip) && !ip_is_v4(&addr->ip) &&
        (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
        struct addr any4 = {.ip = {{0}}, .port = addr->port};
        any4.ip.bytes[10] = any4.ip.bytes[11] = 0xff; // ::ffff:0.0.0.0
        fd = tcp_once(&any4, out_bound);
    }
    if (fd < 0) {
        char text[ADDR_TEXT_MAX];
        err_set(err, "cannot listen on %s: %s", addr_text(addr, text), strerror(errno));
    }
    return fd;
}

// Finds the address from which the host would call another, if it could. Nothing is sent.
static bool source_towards(struct addr *out, const char *other)
{
    struct addr towards = {.port = 9};
    struct sockaddr_storage storage;
    ip_parse(&towards.ip, other, NULL);
    socklen_t len = addr_to_sockaddr(&towards, &storage);
    int fd = socket(storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&storage, len) == 0 &&
              getsockname(fd, (struct sockaddr *)&storage, &len) == 0 &&
              addr_from_sockaddr(out, (struct sockaddr *)&storage);
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

// Finds the first address of a family that is neither loopback nor link-local.
static bool first_address(struct addr *out, int family)
{
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) != 0) {
        return false;
    }
    for (const struct ifaddrs *one = all; one != NULL && !found; one = one->ifa_next) {
        found = one->ifa_addr != NULL && one->ifa_addr->sa_family == family &&
                (one->ifa_flags & IFF_UP) != 0 && (one->ifa_flags & IFF_LOOPBACK) == 0 &&
                addr_from_sockaddr(out, one->ifa_addr) &&
                !(out->ip.bytes[0] == 0xfe && (out->ip.bytes[1] & 0xc0) == 0x80);
    }
    freeifaddrs(all);
    return found;
}

struct listen_addrs listen_own(uint16_t port)
{
    // Those of documentation (RFC 5737, RFC 3849) stand for any other host.
    static const struct {
        const char *loopback;
        const char *other;
        int family;
    } families[] = {{"127.0.0.1", "192.0.2.1", AF_INET}, {"::1", "2001:db8::1", AF_INET6}};
    struct listen_addrs out = {.is_own = true};
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        struct addr own = {.port = 0};
        if (families[i].family == AF_INET || source_towards(&own, families[i].loopback)) {
            ip_parse(&out.addrs[out.num++].ip, families[i].loopback, NULL);
        }
        if (source_towards(&own, families[i].other) || first_address(&own, families[i].family)) {
            out.addrs[out.num++].ip = own.ip;
        }
    }
    for (size_t i = 0; i < out.num; i++) {
        out.addrs[i].port = port;
    }
    return out;
}

// Returns the id of the process that listens on a Unix socket, 0 if one does whose id we can't see,
// or -1 with errno set (ECONNREFUSED: nobody listens).
static pid_t listener_of(const struct sockaddr *address, socklen_t address_len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    struct ucred peer = {0};
    socklen_t peer_len = sizeof peer;
    pid_t pid = -1;
    int error = 0;
    if (connect(fd, address, address_len) == 0) {
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len);
        pid = peer.pid;
    } else {
        error = errno;
        // A listener with a full queue listens all the same.
        pid = error == EAGAIN ? 0 : -1;
    }
    close(fd);
    errno = error;
    return pid;
}

// Makes way for a new socket file. The folder is locked meanwhile, so that two processes that start
// together don't both find the file stale.
static bool make_way(const struct sockaddr_un *address, struct err *err)
{
    struct stat st;
    if (lstat(address->sun_path, &st) != 0) {
        return errno == ENOENT || err_set(err, "%s: %s", address->sun_path, strerror(errno));
    }
    if (!S_ISSOCK(st.st_mode)) {
        return err_set(err, "%s: a file that is no socket is in the way", address->sun_path);
    }
    pid_t pid = listener_of((const struct sockaddr *)address, sizeof *address);
    if (pid > 0) {
        return err_set(err, "%s: another process (%d) listens there", address->sun_path, (int)pid);
    }
    if (pid == 0 || errno != ECONNREFUSED) {
        return err_set(err, "%s: %s", address->sun_path,
                       pid == 0 ? "another process listens there" : strerror(errno));
    }
    if (unlink(address->sun_path) != 0) {
        return err_set(err, "%s: the stale socket can't be removed: %s", address->sun_path,
                       strerror(errno));
    }
    return true;
}

static int open_folder(const char *path, struct err *err)
{
    char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
    snprintf(copy, sizeof copy, "%s", path);
    const char *folder = dirname(copy);
    if (mkdir(folder, 0755) != 0 && errno != EEXIST) {
        err_set(err, "%s: the folder can't be made: %s", folder, strerror(errno));
        return -1;
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        err_set(err, "%s: %s", folder, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}

int listen_unix(const char *path, struct err *err)
{
    struct sockaddr_un address;
    if (!addr_unix(&address, path, err)) {
        err_prefix(err, "%s", path);
        return -1;
    }
    int folder_fd = open_folder(path, err);
    if (folder_fd < 0) {
        return -1;
    }
    int fd = -1;
    bool ok = make_way(&address, err);
    if (ok) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        // The mode goes from the socket to its file, so there is no moment at which others may
        // connect.
        ok = fd >= 0 && fchmod(fd, 0600) == 0 &&
             bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
             listen(fd, SOMAXCONN) == 0;
        if (!ok) {
            err_set(err, "cannot listen on %s: %s", path, strerror(errno));
        }
    }
    close(folder_fd);
    if (!ok && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

void listen_unix_remove(const char *path)
{
    struct sockaddr_un address;
    struct stat st;
    if (!addr_unix(&address, path, NULL) || lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return;
    }
    int folder_fd = open_folder(path, NULL);
    if (folder_fd < 0) {
        return;
    }
    if (listener_of((struct sockaddr *)&address, sizeof address) < 0 && errno == ECONNREFUSED) {
        unlink(path);
    }
    close(folder_fd);
}

int listen_netns_lock(uint16_t outbound_port, uint16_t inbound_port, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int name_len = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "tabard-agent-%u-%u",
                            outbound_port, inbound_port);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)name_len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        err_set(err, "no socket for the lock of this network namespace: %s", strerror(errno));
        return -1;
    }
    if (bind(fd, (struct sockaddr *)&address, len) == 0 && listen(fd, 1) == 0) {
        return fd;
    }
    int error = errno;
    close(fd);
    if (error != EADDRINUSE) {
        err_set(err, "the lock of this network namespace: %s", strerror(error));
        return -1;
    }
    pid_t pid = listener_of((struct sockaddr *)&address, len);
    char who[32] = "";
    if (pid > 0) {
        snprintf(who, sizeof who, " (process %d)", (int)pid);
    }
    err_set(err, "another agent%s already intercepts on ports %u and %u in this network namespace",
            who, outbound_port, inbound_port);
    return -1;
}
