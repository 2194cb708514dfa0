// SPDX-License-Identifier: Apache-2.0
#include "proxy/limits/gate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/must.h"

// How many tickets the functions that evict look at, from the oldest on.
enum { LOOKS_MAX = 64 };

struct crowd {
    struct crowd *next; // in its bucket
    struct addr of;     // a prefix with zeros behind it and port 0, or a destination
    struct list rank;   // in one of the gate's ranks while it has tickets at HELLO
    struct list ready;  // in the gate's list while somebody who waits may go
    struct list hellos; // tickets, the oldest first
    struct list waiting;
    uint32_t num[NUM_TICKET_STATES];
    uint32_t window; // outbound: how many may be IN_FLIGHT
    uint64_t shrunk_ms;
    uint64_t progress_ms;
};

void gate_init(struct gate *gate, bool is_outbound, const struct gate_hooks *hooks, void *ctx)
{
    *gate = (struct gate){.hooks = hooks, .ctx = ctx, .is_outbound = is_outbound};
    // A stranger who could tell the buckets could fill one of them.
    invariant(getrandom(&gate->seed, sizeof gate->seed, 0) == sizeof gate->seed);
    list_init(&gate->ready);
    list_init(&gate->in_flight);
    for (size_t i = 0; i < GATE_RANKS; i++) {
        list_init(&gate->ranks[i]);
    }
}

void gate_cleanup(struct gate *gate)
{
    for (size_t i = 0; i < GATE_BUCKETS; i++) {
        invariant(gate->buckets[i] == NULL);
    }
}

// The key of a remote address: for those who call, a prefix that one of them can be expected to
// have alone (RFC 6177: an IPv6 site has no less than a /64).
static struct addr key_of(const struct gate *gate, const struct addr *remote)
{
    struct addr key = *remote;
    if (!gate->is_outbound) {
        key.port = 0;
        if (!ip_is_v4(&key.ip)) {
            memset(key.ip.bytes + 8, 0, 8);
        }
    }
    return key;
}

static struct crowd **bucket_of(struct gate *gate, const struct addr *key)
{
    uint64_t halves[2];
    memcpy(halves, key->ip.bytes, sizeof halves);
    uint64_t hash = (halves[0] ^ gate->seed) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 32 ^ halves[1] ^ key->port) * UINT64_C(0xd6e8feb86659fd93);
    hash = (hash ^ hash >> 32 ^ gate->seed) * UINT64_C(0xd6e8feb86659fd93);
    return &gate->buckets[(hash >> 32) % GATE_BUCKETS];
}

static struct crowd *crowd_get(struct gate *gate, const struct addr *remote)
{
    struct addr key = key_of(gate, remote);
    struct crowd **bucket = bucket_of(gate, &key);
    for (struct crowd *at = *bucket; at != NULL; at = at->next) {
        if (addr_equal(&at->of, &key)) {
            return at;
        }
    }
    struct crowd *crowd = must_alloc(1, sizeof *crowd);
    crowd->of = key;
    crowd->window = GATE_WINDOW_START;
    list_init(&crowd->hellos);
    list_init(&crowd->waiting);
    crowd->next = *bucket;
    *bucket = crowd;
    return crowd;
}

static void crowd_free(struct gate *gate, struct crowd *crowd)
{
    struct crowd **at = bucket_of(gate, &crowd->of);
    while (*at != crowd) {
        at = &(*at)->next;
    }
    *at = crowd->next;
    free(crowd);
}

// Returns how many bits a number has: crowds of one rank differ by less than a factor of two.
static unsigned rank_of(uint32_t num)
{
    return num == 0 ? 0 : 32 - (unsigned)__builtin_clz(num);
}

static void rank_sync(struct gate *gate, struct crowd *crowd, uint32_t num_before)
{
    unsigned rank = rank_of(crowd->num[TICKET_HELLO]);
    if (rank != rank_of(num_before)) {
        list_remove(&crowd->rank);
        if (rank > 0) {
            list_push(&gate->ranks[rank - 1], &crowd->rank);
        }
    }
}

static void ready_sync(struct gate *gate, struct crowd *crowd)
{
    bool is_ready = !list_is_empty(&crowd->waiting) &&
                    (!gate->is_outbound || crowd->num[TICKET_IN_FLIGHT] < crowd->window);
    if (is_ready && !list_is_linked(&crowd->ready)) {
        list_push(&gate->ready, &crowd->ready);
    } else if (!is_ready) {
        list_remove(&crowd->ready);
    }
}

static bool is_place(enum ticket_state state)
{
    return state == TICKET_HELLO || state == TICKET_WAITING || state == TICKET_IN_FLIGHT;
}

static struct list *list_of(struct gate *gate, struct crowd *crowd, enum ticket_state state)
{
    return state == TICKET_HELLO     ? &crowd->hellos
           : state == TICKET_WAITING ? &crowd->waiting
                                     : &gate->in_flight;
}

static bool is_empty(const struct crowd *crowd)
{
    return crowd->num[TICKET_HELLO] + crowd->num[TICKET_WAITING] + crowd->num[TICKET_IN_FLIGHT] ==
           0;
}

// Moves a ticket from its place, if it has one, to that of another state, if that is one. The crowd
// goes with the last ticket.
static void move(struct gate *gate, struct ticket *ticket, enum ticket_state state, uint64_t now_ms)
{
    struct crowd *crowd = ticket->crowd;
    uint32_t num_hellos = crowd->num[TICKET_HELLO];
    if (is_place(ticket->state)) {
        list_remove(&ticket->link);
        gate->num[ticket->state]--;
        crowd->num[ticket->state]--;
    }
    ticket->state = state;
    ticket->since_ms = now_ms;
    if (is_place(state)) {
        list_push(list_of(gate, crowd, state), &ticket->link);
        gate->num[state]++;
        crowd->num[state]++;
    } else {
        ticket->crowd = NULL;
    }
    rank_sync(gate, crowd, num_hellos);
    ready_sync(gate, crowd);
    if (is_empty(crowd)) {
        crowd_free(gate, crowd);
    }
}

static void evict(struct gate *gate, struct ticket *ticket, uint64_t now_ms)
{
    ticket->evicted_from = ticket->state;
    move(gate, ticket, TICKET_EVICTED, now_ms);
    gate->hooks->on_change(ticket);
}

void gate_enter(struct gate *gate, struct ticket *ticket, const struct addr *remote,
                uint64_t now_ms)
{
    ticket->crowd = crowd_get(gate, remote);
    move(gate, ticket, TICKET_HELLO, now_ms);
}

static bool has_slot(const struct gate *gate)
{
    return gate->num[TICKET_IN_FLIGHT] < gate->limits.handshakes &&
           gate->hooks->has_room(gate->ctx);
}

void gate_wait(struct gate *gate, struct ticket *ticket, const struct addr *remote, uint64_t now_ms)
{
    if (ticket->crowd == NULL) {
        ticket->crowd = crowd_get(gate, remote);
    }
    bool has_free_way =
        list_is_empty(&gate->ready) && has_slot(gate) && !gate->hooks->is_turn_over(gate->ctx);
    move(gate, ticket, TICKET_WAITING, now_ms);
    if (has_free_way && list_is_linked(&ticket->crowd->ready)) {
        move(gate, ticket, TICKET_IN_FLIGHT, now_ms);
    }
}

// Fits the number of handshakes that may be under way with a destination to how long they take: one
// more for each that is done in a quarter of the time it has, half of them when one takes more than
// half of it. So a slow destination does as many as it can, and none of them in vain.
static void window_sync(struct gate *gate, struct crowd *crowd, uint64_t took_ms, bool is_done,
                        uint64_t now_ms)
{
    uint64_t time_ms = gate->limits.handshake_ms;
    if (is_done && took_ms <= time_ms / 4) {
        if (crowd->window < gate->limits.handshakes) {
            crowd->window++;
        }
    } else if (took_ms > time_ms / 2 && now_ms - crowd->shrunk_ms > time_ms / 4) {
        crowd->shrunk_ms = now_ms;
        crowd->window = crowd->window / 2 > GATE_WINDOW_MIN ? crowd->window / 2 : GATE_WINDOW_MIN;
    }
}

void gate_leave(struct gate *gate, struct ticket *ticket, bool is_done, uint64_t now_ms)
{
    struct crowd *crowd = ticket->crowd;
    if (crowd != NULL) {
        if (is_done) {
            crowd->progress_ms = now_ms;
        }
        if (ticket->state == TICKET_IN_FLIGHT) {
            window_sync(gate, crowd, now_ms - ticket->since_ms, is_done, now_ms);
        }
        move(gate, ticket, TICKET_NONE, now_ms);
    }
    *ticket = (struct ticket){0};
}

bool gate_pump(struct gate *gate, uint64_t now_ms)
{
    while (!list_is_empty(&gate->ready) && has_slot(gate)) {
        struct crowd *crowd = LIST_OF(list_pop(&gate->ready), struct crowd, ready);
        struct ticket *ticket = LIST_OF(crowd->waiting.next, struct ticket, link);
        move(gate, ticket, TICKET_IN_FLIGHT, now_ms); // the crowd goes behind the others
        gate->hooks->on_change(ticket);
        if (gate->hooks->is_turn_over(gate->ctx)) {
            return !list_is_empty(&gate->ready) && has_slot(gate);
        }
    }
    return false;
}

// Returns the oldest silent ticket at HELLO of a crowd. *looks counts down how many it looked at.
static struct ticket *first_silent(const struct gate *gate, struct crowd *crowd, uint64_t now_ms,
                                   unsigned *looks)
{
    LIST_EACH_SAFE(link, &crowd->hellos) {
        struct ticket *ticket = LIST_OF(link, struct ticket, link);
        if (*looks == 0 || now_ms - ticket->since_ms < GATE_YOUNG_MS) {
            return NULL; // those behind it are younger
        }
        --*looks;
        if (gate->hooks->is_silent(ticket)) {
            return ticket;
        }
    }
    return NULL;
}

bool gate_evict_hello(struct gate *gate, uint64_t now_ms)
{
    unsigned looks = LOOKS_MAX;
    for (size_t i = GATE_RANKS; i-- > 0;) {
        LIST_EACH_SAFE(link, &gate->ranks[i]) {
            struct crowd *crowd = LIST_OF(link, struct crowd, rank);
            struct ticket *ticket = first_silent(gate, crowd, now_ms, &looks);
            if (ticket != NULL) {
                evict(gate, ticket, now_ms);
                return true;
            }
            if (looks == 0) {
                return false;
            }
        }
    }
    return false;
}

bool gate_has_hello_room(struct gate *gate, uint64_t now_ms)
{
    return gate->num[TICKET_HELLO] < gate->limits.hellos || gate_evict_hello(gate, now_ms);
}

bool gate_evict_silent(struct gate *gate, uint64_t now_ms)
{
    struct ticket *chosen = NULL;
    unsigned num_looked_at = 0;
    LIST_EACH_SAFE(link, &gate->in_flight) {
        struct ticket *ticket = LIST_OF(link, struct ticket, link);
        uint64_t since_ms = gate->hooks->waits_since_ms(ticket);
        if (since_ms <= now_ms && now_ms - since_ms >= GATE_SILENT_MS &&
            (chosen == NULL ||
             ticket->crowd->num[TICKET_IN_FLIGHT] > chosen->crowd->num[TICKET_IN_FLIGHT]) &&
            gate->hooks->is_silent(ticket)) {
            chosen = ticket;
        }
        if (++num_looked_at == LOOKS_MAX) {
            break;
        }
    }
    if (chosen != NULL) {
        evict(gate, chosen, now_ms);
    }
    return chosen != NULL;
}

uint64_t gate_progress_ms(const struct ticket *ticket)
{
    return ticket->crowd != NULL ? ticket->crowd->progress_ms : 0;
}
