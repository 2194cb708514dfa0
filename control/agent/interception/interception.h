// SPDX-License-Identifier: Apache-2.0
//
// Watches the rules and routes that catch the service's traffic, while the configuration asks for
// interception: whether they hold, how often they were lost and for how long, and what may have
// passed meanwhile. It looks when the kernel tells of a change; where the kernel tells nothing
// (without CAP_NET_ADMIN), twice a second. What `tabardctl intercept up` made and somebody else
// took away it puts back, at once and then less and less often while it doesn't stay. The agent
// calls interception_start, interception_want whenever a snapshot comes into force, and
// interception_stop at the end. The loop's thread, and one libuv worker while it looks
// (control/intercept/upkeep.h).
#ifndef TABARD_CONTROL_AGENT_INTERCEPTION_H
#define TABARD_CONTROL_AGENT_INTERCEPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/log.h"
#include "control/agent/interception/changes.h"
#include "control/intercept/upkeep.h"

#define INTERCEPTION_TICK_MS         500 // a look without CAP_NET_ADMIN; a sample of what is opened
#define INTERCEPTION_APART_MS        100 // between two looks, however much changes
#define INTERCEPTION_PUT_BACK_MS     250 // until a second try to put back; doubled for each further one
#define INTERCEPTION_PUT_BACK_MS_MAX 8000  // and no more than this
#define INTERCEPTION_CALM_MS         30000 // after which what was put back has stayed
#define INTERCEPTION_LOG_MS          10000 // between two lines of one kind

enum interception_state {
    INTERCEPTION_OFF,    // the configuration asks for none
    INTERCEPTION_UNSEEN, // `tabardctl intercept up` was not called yet
    INTERCEPTION_HOLDS,
    INTERCEPTION_TAKEN_DOWN, // by `tabardctl intercept down`
    INTERCEPTION_LOST,
};

// What there is to show.
struct interception_facts {
    enum interception_state state;
    const char *why;       // it doesn't hold, borrowed; "": it does
    bool puts_back;        // what is lost: it has CAP_NET_ADMIN and a record of what to make
    uint64_t num_losses;   // since the start
    uint64_t num_put_back; // by this agent
    uint64_t lost_ms;      // in all
    uint64_t num_passed;   // at least so many connections passed by: open when it was back
    uint64_t num_opened;   // at most so many connections were opened meanwhile
    int64_t lost_unix_ms;  // when it was last lost; 0: never
};

// Zero state: interception_stop does nothing.
struct interception {
    uv_loop_t *loop;  // borrowed; NULL: not started
    uv_timer_t timer; // the next look
    uv_timer_t tick;
    uv_poll_t polls[CHANGES_NUM];
    bool is_polled[CHANGES_NUM]; // the poll handle is open
    uv_work_t work;
    struct changes changes;
    struct upkeep upkeep;      // the worker's while is_looking
    struct upkeep_found found; // the worker's too
    bool looks_at_routes;      // the look under way
    bool can_put_back;         // it may
    bool is_looking;
    bool is_stopping;
    bool is_due; // something changed since the last look began
    bool are_routes_due;
    bool is_renewed;        // other ports are wanted: begin anew after the look
    uint16_t outbound_port; // wanted; 0: none
    uint16_t inbound_port;
    bool listens;  // to the kernel's notices
    bool is_first; // nothing was found yet
    bool puts_back;
    enum interception_state state;
    struct err why;
    uint64_t looked_ms;  // when the last look began
    uint64_t settles_ms; // no look before this: an `up` is under way
    uint64_t noticed_ms; // when the first change that was not looked at was told of
    uint64_t lost_since_ms;
    uint64_t lost_last_ms;   // when a look last found it lost
    uint64_t put_back_at_ms; // not before this
    uint32_t num_tries;      // to put back, since it last stayed
    uint64_t opens_before;   // of the last sample while it held
    struct interception_facts facts;
    struct log_limit lost_log;
    struct log_limit back_log;
};

void interception_start(struct interception *interception, uv_loop_t *loop);

// interception_want begins to watch that the rules lead to these ports; 0: stops watching. The same
// ports as before change nothing.
void interception_want(struct interception *interception, uint16_t outbound_port,
                       uint16_t inbound_port);

struct interception_facts interception_show(const struct interception *interception);

// interception_not_ready_because writes why the sidecar must get no traffic, as far as interception
// goes; "": it may.
void interception_not_ready_because(const struct interception *interception, char *buf,
                                    size_t buf_len);

// interception_state_text returns the state in a word.
const char *interception_state_text(enum interception_state state);

// interception_stop closes its handles; the memory is reusable once the loop has run out, and then
// interception_cleanup frees the rest.
void interception_stop(struct interception *interception);
void interception_cleanup(struct interception *interception);

#endif
