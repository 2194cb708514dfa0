// SPDX-License-Identifier: Apache-2.0
//
// The sockets on which a snapshot listens. The main thread opens them, one for each worker
// (SO_REUSEPORT), before it publishes the snapshot, so that an occupied port refuses the snapshot.
// A listen_plan belongs to a generation; once that is published the workers read it, and each takes
// its own descriptors out. It accepts nothing.
#ifndef TABARD_PROXY_LISTEN_H
#define TABARD_PROXY_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/err.h"
#include "proxy/rules/route.h"

#define LISTEN_BACKLOG 4096 // connections that the kernel holds until they are accepted

// One address to listen on. Sockets of two plans are the same if `bound` is: a plan takes over the
// socket that an earlier one has bound to the address that it wants, or, for port 0, one that was
// configured with the same address and kind. It takes each over once, and the addresses with a port
// choose first.
struct listen_socket {
    struct listen_spec spec;
    struct addr configured;
    struct addr bound; // port 0 as the kernel chose
    // Owned, one for each worker, and listening; -1: the worker has it, of this or an earlier plan.
    int *fds;
};

struct listen_plan {
    struct listen_socket *sockets; // owned
    size_t num;
    size_t num_workers;
};

// listen_plan_init binds the addresses of `routes` that are not open in `current` (may be NULL).
// Interception listens on 127.0.0.1 and ::1 for outbound, on every address for inbound; there a
// host without IPv6 is fine. An address is never shared with another process, nor a port between
// one address and the wildcard. false: an address can't be bound (err names it, and who may hold
// it); nothing stays open.
bool listen_plan_init(struct listen_plan *out, const struct route_index *routes,
                      const struct listen_plan *current, size_t num_workers, struct err *err);

// listen_plan_cleanup closes the descriptors that nobody took.
void listen_plan_cleanup(struct listen_plan *plan);

const char *listen_kind_text(enum listen_kind kind);

#endif
