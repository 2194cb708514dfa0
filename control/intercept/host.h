// SPDX-License-Identifier: Apache-2.0
//
// What interception needs to know of this network namespace: its interfaces, and which families of
// IP they have. `intercept up` reads it once, checks it, and makes its routes of it. The number of
// interfaces bounds it.
#ifndef TABARD_CONTROL_INTERCEPT_HOST_H
#define TABARD_CONTROL_INTERCEPT_HOST_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/data/array.h"
#include "base/err.h"
#include "control/intercept/ruleset.h"
#include "net/rtnl/rtnl.h"

#define ROUTES_PROTOCOL                                                                            \
    133 // of the routes that are interception's own (control/intercept/routes.h)

struct host_interface {
    uint32_t index;
    uint32_t master; // the interface that this one is a part of (a bridge, a VRF); 0: none
    char name[IF_NAMESIZE];
    bool is_up;
    bool is_loopback;
    bool is_vrf;
    bool has_ip[2]; // an address, of IPv6 and of IPv4
    bool takes_ip6; // IPv6 isn't turned off for it
};

// Zero state: nothing known.
struct host {
    struct array interfaces; // struct host_interface
    bool is_reached[2];      // by an address that isn't its own alone, of IPv6 and of IPv4; or by
                             // a block that a route makes this host's
    struct ip reached[2];    // one of these
    bool has_ip6;            // ::1 is there
};

// host_read asks the kernel. false sets err.
bool host_read(struct host *out, struct rtnl *rtnl, struct err *err);
void host_cleanup(struct host *host);

// host_check refuses a host on which redirected connections would be lost: without loopback, with
// an interface that belongs to a VRF, or with one that has no address of a family by which the host
// is reached, since nftables redirects to the address of the interface that a packet came in by.
// Interfaces that are down, that the ruleset leaves alone, or that are part of a bridge don't
// count. false sets err.
bool host_check(const struct host *host, const struct ruleset *ruleset, struct err *err);

#endif
