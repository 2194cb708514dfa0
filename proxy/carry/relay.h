// SPDX-License-Identifier: Apache-2.0
//
// Moves bytes one way between the two sides of a connection, with or without TLS on either, and
// passes the end on. A conn embeds two flows and calls relay_step for both whenever something has
// happened to a side. It closes no side: it says that the flow is done, or why the connection must
// end.
#ifndef TABARD_PROXY_CARRY_RELAY_H
#define TABARD_PROXY_CARRY_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/rules/reason.h"
#include "proxy/carry/side.h"

// Zero state with both sides set.
struct flow {
    struct side *source; // borrowed: the conn's
    struct side *target; // borrowed: the conn's
    uint64_t num_bytes;  // of the application, moved so far
    bool is_ending;      // the source's clean end was met and passed on
};

// relay_step moves what can be moved in one turn (tls_is_interrupted says whether there is more to
// do), flushes the target, and passes a clean end on: a FIN to a plain target; to a TLS target a
// close_notify, then a FIN. It returns REASON_NONE, or why the connection must end; *out_detail
// then has words for the log, or NULL.
enum reason relay_step(struct flow *flow, const char **out_detail);

// relay_wants_read says whether the flow's source should be read: what came before has been taken.
bool relay_wants_read(const struct flow *flow);

// relay_reset_of returns the reason for the failure of a side: the peer's reset, or the service's.
enum reason relay_reset_of(const struct side *side);

// relay_is_done says whether the end has been passed on and sent.
bool relay_is_done(const struct flow *flow);

// relay_is_parting says whether a reset of a side, which is the reason, is only how an application
// parts: it got all that the other one had to say, and its end, and resets where others close. A
// program does that when it closes before it has read everything, as PostgreSQL's do with the last
// record of their own TLS. The other one is told by an alert or a reset all the same, since an
// answer to a caller that has ended may be cut.
bool relay_is_parting(const struct flow *up, const struct flow *down, enum reason reason);

#endif
