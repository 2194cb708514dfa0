// SPDX-License-Identifier: Apache-2.0
//
// The connections of a server that have not proved who they are, oldest first, and those of each
// source together: an IPv4 address, an IPv6 /64, or the user at the other end of a Unix socket.
// server.c joins each connection and asks whose turn it is to go. Embedded in the server; the
// loop's thread only. Sources share STRANGERS_SLOTS places by a hash that nobody can foresee, so
// two of them may count as one.
#ifndef TABARD_NET_GRPC_STRANGERS_H
#define TABARD_NET_GRPC_STRANGERS_H

#include <stdint.h>

#include "base/data/list.h"
#include "net/http2/transport.h"

#define STRANGERS_SLOTS 4096

// What the connections of one source are counted by.
struct strangers_slot {
    struct list all;
    uint32_t num;
};

struct strangers {
    struct list all;
    uint32_t num;
    struct strangers_slot *slots; // owned, STRANGERS_SLOTS
    uint64_t key[2];
};

// Embedded by a connection. Zero state: it is no stranger.
struct stranger {
    struct list link;      // of all
    struct list slot_link; // of its source
    struct strangers_slot *slot;
    uint64_t since_ms;
};

void strangers_init(struct strangers *strangers);
void strangers_cleanup(struct strangers *strangers);

void strangers_join(struct strangers *strangers, struct stranger *stranger,
                    const struct h2_peer *peer, uint64_t now_ms);
void strangers_leave(struct strangers *strangers, struct stranger *stranger); // twice is fine

// strangers_oldest returns the one that has been here for longest, or NULL.
struct stranger *strangers_oldest(const struct strangers *strangers);

// strangers_oldest_of returns the same of a stranger's own source.
struct stranger *strangers_oldest_of(const struct stranger *stranger);

#endif
