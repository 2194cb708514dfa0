// SPDX-License-Identifier: Apache-2.0
//
// What the process may use, of memory by its control group and of descriptors by RLIMIT_NOFILE, and
// the limits that fit into it: a small container is served within its size, instead of being killed
// at limits that were meant for a large one. The proxy reads it once, at its start; the rest is
// pure.
#ifndef TABARD_PROXY_LIMITS_ROOM_H
#define TABARD_PROXY_LIMITS_ROOM_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/rules/route.h"

// What room_fit counts with, in bytes: of the kernel's memory too.
#define ROOM_CONNECTION_BYTES (8u << 10)
#define ROOM_HELLO_BYTES      (4u << 10)
#define ROOM_HANDSHAKE_BYTES  (64u << 10)

// What room_for_connections counts with, in descriptors.
#define ROOM_CONNECTION_FDS 2u
#define ROOM_PROCESS_FDS    16u // standard ones, the log's, the main thread's loop and sockets
#define ROOM_WORKER_FDS     8u  // a loop, the socket for signatures, the one that watches addresses
#define ROOM_LISTENER_FDS   2u  // in each worker: its own, and the one that a new plan puts there

struct room {
    uint64_t memory_bytes; // UINT64_MAX: no limit is known
    uint32_t descriptors;
};

// room_read reads RLIMIT_NOFILE and the least memory limit of this process's control group and
// those above it, of version 1 or 2. `list` is /proc/self/cgroup and `root` /sys/fs/cgroup, but in
// tests.
void room_read(struct room *out, const char *list, const char *root);

// room_for_connections returns what is left of a process's descriptors beside those that its
// workers and listeners take, and for each worker one connection's at the least.
struct room room_for_connections(const struct room *process, unsigned num_workers,
                                 size_t num_listeners);

// room_fit lowers the limits of a whole process to what there is room for, and none below 1: of the
// memory a quarter each for buffers and connections, a sixteenth each for callers without
// ClientHello and for handshakes; of the descriptors two for each connection, and three fifths at
// the most for callers without ClientHello.
void room_fit(struct limits *limits, const struct room *room);

#endif
