// SPDX-License-Identifier: Apache-2.0
//
// Looks whether interception holds in this network namespace, and makes it hold again: what the
// agent does from its start on, and whenever something changed. `tabardctl intercept up` says by
// its record (control/intercept/record.h) which rules and routes there must be; only these are put
// back. Rules without a record, made by hand of `tabardctl intercept print` say, and a process
// without CAP_NET_ADMIN, are looked at as well as they can be. The owner calls upkeep_init, then
// upkeep_look as often as it likes, from one thread at a time, and upkeep_cleanup. It may wait for
// the kernel, and is for a thread that serves nobody.
#ifndef TABARD_CONTROL_INTERCEPT_UPKEEP_H
#define TABARD_CONTROL_INTERCEPT_UPKEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/data/array.h"
#include "base/err.h"
#include "control/intercept/asked.h"

enum upkeep_state {
    UPKEEP_UNSEEN, // not up yet: neither rules nor a sign that there were any
    UPKEEP_HOLDS,
    UPKEEP_TAKEN_DOWN, // by `tabardctl intercept down`
    UPKEEP_LOST,
};

// Zero state: nothing known.
struct upkeep {
    uint16_t outbound_port; // where the sidecar listens: the rules must lead there
    uint16_t inbound_port;
    bool may_change;        // CAP_NET_ADMIN: the rules can be read, and put back
    uint32_t num_unsettled; // looks in a row that judged nothing
    bool was_up;            // was seen to hold
    bool is_lost;           // at the last look
    struct array passing;   // connections that passed by at the last count
    bool is_taken_down;     // there was a record, and there is none any more
    char *words;            // owned; of the record that `asked` and `expected` are made of
    struct asked *asked;    // owned; NULL: there is no record
    char *expected;         // owned; NULL: not made yet
    // At the last look at the routes.
    bool had_routes; // at that one or an earlier one
    bool has_lost_routes;
    bool lacks_routes;
    bool has_traces; // routes of interception's own, which outlive a table that was not `down`'s
    struct err routes_why;
};

struct upkeep_found {
    enum upkeep_state state; // at the end of the look
    bool was_lost;           // at its beginning, but for what was not judged
    bool is_put_back;        // and holds
    bool is_unsettled;       // an `up` or `down` was under way: look again soon
    bool puts_back;          // what may be lost: there is a record of it, and the capability
    size_t num_passed;       // at the end of a loss: connections that passed by and are still open
    struct err why;          // of was_lost, or of what can't be put back
    struct err goes_on;      // why what passed may go on, at the end of a loss; empty: it doesn't
};

void upkeep_init(struct upkeep *upkeep, uint16_t outbound_port, uint16_t inbound_port);
void upkeep_cleanup(struct upkeep *upkeep);

// upkeep_is_suspect says whether a datagram passes that the rules must stop, so that a look is due
// whether or not the kernel told of a change. It takes two system calls; any thread.
bool upkeep_is_suspect(void);

// upkeep_look looks at the rules and, with `routes`, at the routes too, which takes longer; with
// can_put_back it puts back what a record asks for.
void upkeep_look(struct upkeep *upkeep, bool routes, bool can_put_back, struct upkeep_found *out);

#endif
