// SPDX-License-Identifier: Apache-2.0
//
// Whose turn it is among a worker's handshakes: its two gates (proxy/limits/gate.h), how
// much of a turn of the loop handshakes may take, and how many signatures may be waited for at
// once. A handshake calls queue_enter (a server), queue_ask and queue_leave; the worker calls
// queue_pump in a turn of its own after each env->wake, never inside a connection's callback, and
// queue_wake when something has changed for those who wait. The worker's thread.
#ifndef TABARD_PROXY_CONN_QUEUE_H
#define TABARD_PROXY_CONN_QUEUE_H

#include <stdbool.h>

#include "proxy/conn/env.h"
#include "proxy/conn/handshake.h"

// queue_init makes the gates of a worker, queue_cleanup frees them; queue_limit takes over the
// limits of env, which are new.
void queue_init(struct conn_env *env);
void queue_cleanup(struct conn_env *env);
void queue_limit(struct conn_env *env);

// queue_pump lets those go on whose turn it is. Returns whether more could in the next turn of the
// loop.
bool queue_pump(struct conn_env *env);

// queue_descriptors returns how many descriptors the connections have at the most: one each before
// a server's turn has come, and then two.
uint32_t queue_descriptors(const struct conn_env *env);

// queue_is_full says whether a direction has as many connections as it may. `num_apart` of the
// inbound ones don't count: those that have not sent their ClientHello, or wait for their turn.
bool queue_is_full(const struct conn_env *env, enum direction direction, uint32_t num_apart);

// queue_has_place says whether one more of those callers may become a connection.
bool queue_has_place(const struct conn_env *env);

// queue_wake wakes the worker if somebody waits who may go on.
void queue_wake(struct conn_env *env);

// queue_enter gives a server's handshake its place before its ClientHello is complete. queue_ask
// asks for its turn: it has come if the ticket is IN_FLIGHT then. queue_leave gives the place back.
void queue_enter(struct handshake *handshake);
void queue_ask(struct handshake *handshake);
void queue_leave(struct handshake *handshake);

#endif
