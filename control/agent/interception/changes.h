// SPDX-License-Identifier: Apache-2.0
//
// Hears from the kernel that somebody changed what interception stands on: nf_tables' table `inet
// tabard` (which the kernel tells only those with CAP_NET_ADMIN), and routes, rules and interfaces
// (which it tells anybody). The owner calls changes_open, waits until a descriptor is readable,
// calls changes_read for it, and at the end changes_close. One thread. What others do is passed
// over; where the kernel had to drop notices, everything may have changed.
#ifndef TABARD_CONTROL_AGENT_INTERCEPTION_CHANGES_H
#define TABARD_CONTROL_AGENT_INTERCEPTION_CHANGES_H

#include <stdbool.h>

#include "net/rtnl/rtnl.h"

enum { CHANGES_RULES = 1, CHANGES_ROUTES = 2 };

enum { CHANGES_OF_ROUTES, CHANGES_OF_RULES, CHANGES_NUM }; // the sockets

// Zero state: not open.
struct changes {
    struct mnl_socket *sockets[CHANGES_NUM]; // owned; NULL: the kernel doesn't tell
};

// changes_open returns 0, or an errno value if the kernel tells of the table not at all (EPERM:
// without CAP_NET_ADMIN). The routes are then told of all the same, if their socket is there.
int changes_open(struct changes *changes);
void changes_close(struct changes *changes);

// changes_fd returns the descriptor of one of the two; -1: there is none.
int changes_fd(const struct changes *changes, int which);

// changes_read takes what has come, up to a limit, and returns CHANGES_RULES and CHANGES_ROUTES for
// what may have changed; 0: nothing of interception's.
int changes_read(struct changes *changes, int which);

#endif
