// SPDX-License-Identifier: Apache-2.0
//
// The control programs' listening sockets: TCP, a Unix socket in the file system, and a name that
// only one process of a network namespace can hold. Descriptors belong to the caller. It accepts no
// connections.
#ifndef TABARD_CONTROL_HOST_LISTEN_H
#define TABARD_CONTROL_HOST_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

#define LISTEN_ADDRS_MAX 4

struct listen_addrs {
    struct addr addrs[LISTEN_ADDRS_MAX];
    size_t num;
    bool is_own; // by listen_own, which may give others when it is asked later
};

// listen_own gives the addresses on which a port of the host's own is to be served: its loopback
// addresses, and the address of each family from which the host calls others (a pod's address), or
// without a route to others its first one.
struct listen_addrs listen_own(uint16_t port);

// listen_tcp listens on an address, [::] for IPv4 and IPv6 alike, and on 0.0.0.0 instead where the
// host has no IPv6. *out_bound is the address with the port that the kernel chose for port 0.
// Returns the descriptor, non-blocking and close-on-exec, or -1 with err set.
int listen_tcp(const struct addr *addr, struct addr *out_bound, struct err *err);

// listen_unix listens on a socket file of mode 0600. It makes the file's folder (0755), but none
// above it. A stale socket file, on which nobody listens, is replaced; one with a listener, and any
// other file, is an error. Returns the descriptor, or -1 with err set.
int listen_unix(const char *path, struct err *err);

// listen_unix_remove removes the socket file once its descriptor is closed, unless somebody else
// listens there now.
void listen_unix_remove(const char *path);

// listen_netns_lock takes the right to intercept on these ports in this network namespace: the name
// of an abstract Unix socket (unix(7)), which only one process can hold. Returns the descriptor,
// which holds it until it is closed, or -1 with err set, which names the holder.
int listen_netns_lock(uint16_t outbound_port, uint16_t inbound_port, struct err *err);

#endif
