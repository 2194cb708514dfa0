// SPDX-License-Identifier: Apache-2.0
//
// What all connections of a worker share. Owned by the worker, which outlives them; its thread
// alone.
#ifndef TABARD_PROXY_CONN_ENV_H
#define TABARD_PROXY_CONN_ENV_H

#include <stdint.h>
#include <uv.h>

#include "base/bucket.h"
#include "base/now.h"
#include "proxy/carry/hangup.h"
#include "proxy/carry/pool.h"
#include "proxy/limits/gate.h"
#include "proxy/limits/room.h"
#include "proxy/origin/host_addrs.h"
#include "proxy/trust/peer.h"
#include "proxy/link/denials.h"
#include "proxy/link/stats.h"
#include "proxy/conn/turns.h"
#include "proxy/link/signer.h"
#include "proxy/rules/reason.h"
#include "proxy/rules/route.h"
#include "proxy/trust/snapshot.h"

struct conn;

// The last search for a free local port that found none.
struct port_search {
    struct addr to;
    struct ip from;    // mode CALLER: each caller's address has ports of its own; else zero
    uint64_t until_ms; // nobody searches again before
};

// How many lines of a kind may still be logged. Zero state: as many as at most.
struct thinned {
    struct bucket lines;
    uint64_t num_passed_over; // since the last line
};

struct conn_env {
    uv_loop_t *loop;
    struct now now;            // as read last, see env_now
    struct snapshot *snapshot; // counted: the one in force; never NULL once listeners are open
    struct limits limits;      // this worker's share of the snapshot's
    struct room room;          // of the whole process
    uint32_t descriptors_max;  // this worker's share of those that connections may have
    struct pool pool;
    struct hangup hangup;
    struct turns turns;
    struct peers peers;
    struct stats stats;
    struct denials denials;
    struct signer signer;
    struct host_addrs host_addrs;
    struct port_search search;
    uint64_t classical_until_ms; // a server took no X25519MLKEM768 lately; see handshake.c
    uint16_t outbound_port;      // the interception's own ports; 0: none
    uint16_t inbound_port;
    struct conn *conns; // the list's head
    uint32_t num_conns;
    uint32_t num_open[NUM_DIRECTIONS]; // of num_conns
    struct gate gates[NUM_DIRECTIONS];
    bool is_draining;                    // no more inbound connections are accepted
    bool is_full;                        // callers wait for room: the worker accepts nobody
    struct thinned thinned[NUM_REASONS]; // of ends whose lines a stranger can bring
    uint64_t next_id; // the newest; workers count in steps, each from its own index
    uint64_t id_step;
    void (*on_conn_gone)(void *ctx);
    void (*wake)(void *ctx); // somebody may go on who waits for a handshake, for room, or his turn
    void *ctx;               // of both
};

// env_now returns the loop's time and the date. It looks at the clocks once in ENV_NOW_MS and goes
// on from there, because a connection asks at each of its turns.
#define ENV_NOW_MS 500
static inline struct now env_now(struct conn_env *env)
{
    uint64_t ms = uv_now(env->loop);
    if (env->now.ms == 0 || ms - env->now.ms >= ENV_NOW_MS) {
        env->now = now_read(ms);
    }
    struct now now = env->now;
    now.unix_ms += (int64_t)(ms - now.ms);
    now.boot_ms += (int64_t)(ms - now.ms);
    now.ms = ms;
    return now;
}

#endif
