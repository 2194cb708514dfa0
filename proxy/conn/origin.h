// SPDX-License-Identifier: Apache-2.0
//
// Finds out where a redirected connection was going, and which addresses are this host's.
// STEP_ORIGIN asks, and refuses a destination that may not be followed. Each worker owns one
// host_addrs.
#ifndef TABARD_PROXY_CONN_ORIGIN_H
#define TABARD_PROXY_CONN_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define HOST_ADDRS_MAX 4096

// The addresses of this network namespace. Zero state: none known yet.
struct host_addrs {
    struct ip *ips; // owned
    size_t num;
    uint64_t read_ms;
    bool is_read;
};
void host_addrs_cleanup(struct host_addrs *addrs);

// host_addrs_has says whether `ip` is one of this host's. The list is read again when it is older
// than 10 seconds, or on a miss when it is older than one (getifaddrs(3), about 50 us).
bool host_addrs_has(struct host_addrs *addrs, const struct ip *ip, uint64_t now_ms);

// The three addresses of an accepted socket. original equals local when the connection was not
// redirected: the kernel then answers with the socket's own address.
struct origin {
    struct addr peer;
    struct addr local;
    struct addr original;
};

// origin_read asks the kernel for `peer` and, with is_intercepted, for `local` and `original`
// (SO_ORIGINAL_DST or IP6T_SO_ORIGINAL_DST). false sets errno: the peer is gone, or the kernel
// knows no original destination.
bool origin_read(struct origin *out, int fd, bool is_intercepted);

#endif
