// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/queue.h"

enum {
    // A turn of the loop that has lasted so long begins no further handshake, so that those which
    // have begun, and all else, go first.
    TURN_MS = 8,
    // Signatures that may be waited for at once while another caller's handshake begins. It keeps
    // the agent busy; more would only lengthen its queue.
    SIGNING_MAX = 64,
    // Of the connections, the part that is kept free for the other direction.
    RESERVED_PART = 8,
};

static enum direction direction_of(const struct handshake *handshake)
{
    return handshake->is_server ? DIRECTION_INBOUND : DIRECTION_OUTBOUND;
}

static struct gate *gate_of(const struct handshake *handshake)
{
    return &handshake->env->gates[direction_of(handshake)];
}

static void count(struct conn_env *env, enum direction direction)
{
    const struct gate *gate = &env->gates[direction];
    struct stats *stats = &env->stats;
    stats_set(&stats->handshakes_in_flight[direction], gate->num[TICKET_IN_FLIGHT]);
    stats_set(&stats->handshakes_waiting[direction], gate->num[TICKET_WAITING]);
    if (direction == DIRECTION_INBOUND) {
        stats_set(&stats->hellos_awaited, gate->num[TICKET_HELLO]);
    }
}

void queue_wake(struct conn_env *env)
{
    if (env->is_full || !list_is_empty(&env->gates[DIRECTION_INBOUND].ready) ||
        !list_is_empty(&env->gates[DIRECTION_OUTBOUND].ready)) {
        env->wake(env->ctx);
    }
}

static void on_ticket_change(struct ticket *ticket)
{
    struct handshake *handshake = LIST_OF(ticket, struct handshake, ticket);
    count(handshake->env, direction_of(handshake));
    handshake->side->on_change(handshake->side->owner);
}

static uint64_t waits_since_ms(const struct ticket *ticket)
{
    const struct handshake *handshake = LIST_OF(ticket, const struct handshake, ticket);
    return handshake_is_signing(handshake) ? UINT64_MAX : handshake->side->moved_ms;
}

static bool is_silent(const struct ticket *ticket)
{
    const struct side *side = LIST_OF(ticket, const struct handshake, ticket)->side;
    return !side->is_eof && side->error == 0 && !side->carrier->has_unread(side);
}

// What is left of a number of connections; a handshake may have another holder.
static uint32_t without(uint32_t num, uint32_t num_apart)
{
    return num > num_apart ? num - num_apart : 0;
}

uint32_t queue_descriptors(const struct conn_env *env)
{
    const struct gate *inbound = &env->gates[DIRECTION_INBOUND];
    return without(2 * env->num_conns, inbound->num[TICKET_HELLO] + inbound->num[TICKET_WAITING]);
}

bool queue_is_full(const struct conn_env *env, enum direction direction, uint32_t num_apart)
{
    uint32_t num = env->num_open[direction];
    uint32_t max = env->limits.connections;
    num = direction == DIRECTION_INBOUND ? without(num, num_apart) : num;
    return without(env->num_conns, num_apart) >= max || num >= max - max / RESERVED_PART;
}

// There may be one connection more, and its connection to the service will have a descriptor.
bool queue_has_place(const struct conn_env *env)
{
    const struct gate *gate = &env->gates[DIRECTION_INBOUND];
    uint32_t num_before = gate->num[TICKET_HELLO] + gate->num[TICKET_WAITING];
    return !queue_is_full(env, DIRECTION_INBOUND, num_before) &&
           queue_descriptors(env) < env->descriptors_max;
}

// A caller may go on if there is a place, and if the agent keeps pace.
static bool has_inbound_room(void *ctx)
{
    const struct conn_env *env = ctx;
    return queue_has_place(env) && signer_num_pending(&env->signer) < SIGNING_MAX;
}

static bool has_outbound_room(void *ctx)
{
    (void)ctx; // a client asks for its signature last: the window on its destination bounds them
    return true;
}

static bool is_turn_over(void *ctx)
{
    const struct conn_env *env = ctx;
    return uv_hrtime() / 1000000 >= uv_now(env->loop) + TURN_MS;
}

static const struct gate_hooks inbound_hooks = {on_ticket_change, waits_since_ms, is_silent,
                                                has_inbound_room, is_turn_over};
static const struct gate_hooks outbound_hooks = {on_ticket_change, waits_since_ms, is_silent,
                                                 has_outbound_room, is_turn_over};

void queue_init(struct conn_env *env)
{
    gate_init(&env->gates[DIRECTION_INBOUND], false, &inbound_hooks, env);
    gate_init(&env->gates[DIRECTION_OUTBOUND], true, &outbound_hooks, env);
}

void queue_cleanup(struct conn_env *env)
{
    gate_cleanup(&env->gates[DIRECTION_INBOUND]);
    gate_cleanup(&env->gates[DIRECTION_OUTBOUND]);
}

void queue_limit(struct conn_env *env)
{
    for (unsigned i = 0; i < NUM_DIRECTIONS; i++) {
        env->gates[i].limits = (struct gate_limits){.hellos = env->limits.hellos,
                                                    .handshakes = env->limits.handshakes,
                                                    .handshake_ms = env->limits.handshake_ms};
    }
}

bool queue_pump(struct conn_env *env)
{
    bool has_more = false;
    for (unsigned i = 0; i < NUM_DIRECTIONS; i++) {
        has_more |= gate_pump(&env->gates[i], uv_now(env->loop));
        count(env, (enum direction)i);
    }
    return has_more;
}

void queue_enter(struct handshake *handshake)
{
    gate_enter(gate_of(handshake), &handshake->ticket, handshake->remote,
               uv_now(handshake->env->loop));
    count(handshake->env, direction_of(handshake));
}

void queue_ask(struct handshake *handshake)
{
    struct conn_env *env = handshake->env;
    gate_wait(gate_of(handshake), &handshake->ticket, handshake->remote, uv_now(env->loop));
    count(env, direction_of(handshake));
    if (handshake->ticket.state == TICKET_WAITING) {
        env->wake(env->ctx); // the turn of the loop may be all that it waits for
    }
}

void queue_leave(struct handshake *handshake)
{
    struct conn_env *env = handshake->env;
    gate_leave(gate_of(handshake), &handshake->ticket, handshake->is_done, uv_now(env->loop));
    count(env, direction_of(handshake));
    queue_wake(env);
}
