// SPDX-License-Identifier: Apache-2.0
//
// Whose handshake goes on next, and who must go when there are too many: a worker has one gate for
// those who call it and one for those that its service calls, so that neither takes the other's
// place. Each handshake holds a ticket. It begins at HELLO (inbound: nothing is proved, and no
// complete ClientHello is here), then is WAITING for its turn, and IN_FLIGHT once it costs
// computation and a signature. Tickets of one source prefix (inbound: an IPv4 address, an IPv6 /64)
// or of one destination (outbound) are a crowd; crowds take turns, and within a crowd the oldest
// goes first. Only proxy/conn/queue.c and conn_has_room call these functions. One worker's thread;
// gate_limits bounds it.
#ifndef TABARD_PROXY_LIMITS_GATE_H
#define TABARD_PROXY_LIMITS_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/data/list.h"

#define GATE_BUCKETS 1024
#define GATE_RANKS   32

// How many handshakes with one destination may be under way before any is done, and while they take
// too long.
#define GATE_WINDOW_START 64
#define GATE_WINDOW_MIN   16

// For how long a caller may be without its ClientHello before it may be ended for another one: what
// a connection has just brought may still be on its way.
#define GATE_YOUNG_MS 50

// For how long a handshake that is in flight must have waited for the peer to be given up for
// another.
#define GATE_SILENT_MS 1000

enum ticket_state {
    TICKET_NONE,      // zero state
    TICKET_HELLO,     // its ClientHello is not complete
    TICKET_WAITING,   // for its turn
    TICKET_IN_FLIGHT, // it has a slot
    TICKET_EVICTED,   // it must end, and holds no place any more
    NUM_TICKET_STATES
};

struct crowd; // of proxy/limits/gate.c

struct ticket {
    struct list link;    // in the list of its state
    struct crowd *crowd; // borrowed: one of the gate's; NULL in NONE and EVICTED
    uint64_t since_ms;   // loop time at which its state began
    enum ticket_state state : 8;
    enum ticket_state evicted_from : 8; // in EVICTED
};

struct gate_hooks {
    // The ticket is IN_FLIGHT or EVICTED now. Called by gate_pump, and by the functions that
    // evict; the ticket may leave inside.
    void (*on_change)(struct ticket *ticket);
    // Since when the peer of a ticket IN_FLIGHT has let us wait, in loop time; UINT64_MAX: it is
    // not the peer for whom it waits.
    uint64_t (*waits_since_ms)(const struct ticket *ticket);
    // Whether the peer of a ticket at HELLO or IN_FLIGHT has sent nothing that is yet to be read: a
    // loop that is slow takes nobody for silent.
    bool (*is_silent)(const struct ticket *ticket);
    // Whether one more handshake may begin: the agent keeps pace with what it is asked to sign.
    bool (*has_room)(void *ctx);
    // Whether this turn of the loop has taken so long that the next handshake waits for the next.
    bool (*is_turn_over)(void *ctx);
};

struct gate_limits {
    uint32_t hellos;       // tickets at HELLO
    uint32_t handshakes;   // tickets IN_FLIGHT
    uint32_t handshake_ms; // what a handshake may take
};

struct gate {
    const struct gate_hooks *hooks;
    void *ctx; // of has_room and is_turn_over
    struct gate_limits limits;
    bool is_outbound;
    uint64_t seed;                       // of the buckets
    struct list ready;                   // crowds with somebody WAITING who may go
    struct list in_flight;               // tickets, the oldest first
    struct list ranks[GATE_RANKS];       // crowds by the bits of their number of tickets at HELLO
    struct crowd *buckets[GATE_BUCKETS]; // owned
    uint32_t num[NUM_TICKET_STATES];
};

// gate_init makes an empty gate; gate_cleanup needs one without tickets.
void gate_init(struct gate *gate, bool is_outbound, const struct gate_hooks *hooks, void *ctx);
void gate_cleanup(struct gate *gate);

// gate_has_hello_room says whether one more ticket may be at HELLO. At the limit the oldest silent
// one goes (gate_evict_hello).
bool gate_has_hello_room(struct gate *gate, uint64_t now_ms);

// gate_enter gives a ticket a place at HELLO.
void gate_enter(struct gate *gate, struct ticket *ticket, const struct addr *remote,
                uint64_t now_ms);

// gate_wait moves a ticket at HELLO, or in outbound's case at NONE, on: it is IN_FLIGHT on
// return if nobody has to wait, and else WAITING.
void gate_wait(struct gate *gate, struct ticket *ticket, const struct addr *remote,
               uint64_t now_ms);

// gate_leave takes back the place of a ticket in any state. is_done: the handshake ended well,
// so that more of its crowd may be under way at once.
void gate_leave(struct gate *gate, struct ticket *ticket, bool is_done, uint64_t now_ms);

// gate_pump lets those go on who may, the crowds in turns, until the turn of the loop is over.
// Returns whether somebody could go on in the next turn.
bool gate_pump(struct gate *gate, uint64_t now_ms);

// gate_evict_hello ends the oldest silent ticket at HELLO of a crowd that holds the most of them,
// give or take a factor of two. false: nobody has been silent there for GATE_YOUNG_MS.
bool gate_evict_hello(struct gate *gate, uint64_t now_ms);

// gate_evict_silent ends a handshake IN_FLIGHT whose peer has let it wait for
// GATE_SILENT_MS: of the oldest such one of the largest crowd among them. false: there is
// none.
bool gate_evict_silent(struct gate *gate, uint64_t now_ms);

// gate_progress_ms returns when a handshake of the ticket's crowd ended well for the last
// time, in loop time; 0: none did while the crowd was there.
uint64_t gate_progress_ms(const struct ticket *ticket);

#endif
