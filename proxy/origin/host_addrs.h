// SPDX-License-Identifier: Apache-2.0
//
// Which addresses are this host's: those that its routing calls local, be they an interface's, a
// load balancer's on lo, or of a block (`ip route add local 10.0.0.0/8 dev lo`). What it calls
// anycast, broadcast or multicast is not: nobody serves TCP there.
// STEP_ORIGIN and the dialing ask. Each worker owns one host_addrs, opens it at its start and asks
// the kernel for each address at most once in HOST_ADDRS_LIFE_MS; the table of answers is of fixed
// size, and a new one takes the place of an older one with the same hash.
#ifndef TABARD_PROXY_ORIGIN_HOST_ADDRS_H
#define TABARD_PROXY_ORIGIN_HOST_ADDRS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "net/rtnl/rtnl.h"

#define HOST_ADDRS_LIFE_MS 1000
#define HOST_ADDRS_SLOTS   256

enum host_addrs_answer {
    HOST_ADDRS_NO,
    HOST_ADDRS_YES,
    HOST_ADDRS_UNKNOWN, // the kernel doesn't say; whoever asks refuses what depends on it
};

struct host_addrs_slot {
    struct ip ip;
    uint32_t scope;
    uint32_t mark;
    uint64_t asked_ms;
    bool is_used;
    bool is_local;
};

// Zero state: not open, and every answer is unknown.
struct host_addrs {
    struct rtnl rtnl;
    struct host_addrs_slot slots[HOST_ADDRS_SLOTS];
    int error; // why the last answer was unknown, an errno value
};

// host_addrs_init opens the socket to the kernel; where that fails, every answer is unknown.
void host_addrs_init(struct host_addrs *addrs);
void host_addrs_cleanup(struct host_addrs *addrs);

// host_addrs_ask says whether a packet to `addr` stays on this host; its port plays no part. With a
// mark other than 0 it asks about a packet that carries this mark (`ip rule`, fwmark).
enum host_addrs_answer host_addrs_ask(struct host_addrs *addrs, const struct addr *addr,
                                      uint32_t mark, uint64_t now_ms);

#endif
