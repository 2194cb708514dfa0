// SPDX-License-Identifier: Apache-2.0
//
// One end of a connection: the bytes that came in, the bytes that wait to go out, what has
// happened, and at most one TLS object between the two rings and the application's bytes. A carrier
// moves the bytes, and is all that knows what they travel over (proxy/carry/socket.h is one). A
// side is a member of its carrier's own struct. The carrier's constructor makes it; then conn,
// relay and tls use it until side_close. Carriers record facts and call on_change; the connection
// decides. One worker's thread; a side borrows two blocks of the pool at most, and none before it
// is_relaying: until then a piece for each ring does.
#ifndef TABARD_PROXY_CARRY_SIDE_H
#define TABARD_PROXY_CARRY_SIDE_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/carry/pool.h"
#include "proxy/carry/ring.h"

struct side;

// The functions of a kind of carrier; constant, one for each kind. None of them calls on_change:
// what they find out at once stands in the side when they return. "Our end" and "the peer's end"
// are the ends of the two byte streams: for a socket, a FIN.
struct carrier {
    // Takes what it can of `out`, tells side_wait_for_peer what has to wait, and sends our end once
    // `out` is empty and wants_finish is set. Called only while connected, without an error and
    // with nothing waiting.
    void (*flush)(struct side *side);
    // Starts or stops filling `in`; called once each turn of the connection, while connected. Where
    // side_room has nothing the carrier stops by itself.
    void (*set_reading)(struct side *side, bool wants_read);
    // Looks at a carrier of which nothing may be read: records that the peer's host has long been
    // silent, or that the peer has reset after its end. A later reset it then tells by itself.
    // Called while connected.
    void (*look)(struct side *side);
    // Returns how many bytes of ours the peer has not taken, of `out` and on their way.
    size_t (*untaken)(const struct side *side);
    // Closes the carrier, with a reset if so told, and calls on_closed later.
    void (*close)(struct side *side, bool with_reset);
    // Whether the peer has sent something, its end included, that `in` doesn't hold yet.
    bool (*has_unread)(const struct side *side);
};

struct side {
    const struct carrier *carrier;
    struct ring in;
    struct ring out;
    SSL *ssl;          // owned by proxy/carry/tls.h; NULL: the bytes are the application's
    struct pool *pool; // borrowed from the worker
    void *owner;       // borrowed: the conn
    void (*on_change)(void *owner);
    void (*on_closed)(void *owner);
    uint64_t moved_ms;   // loop time of the last byte in or out, or of the peer's end
    uint64_t waiting_ms; // loop time since which `writing_len` bytes wait for the peer
    uint32_t writing_len;
    uint32_t key_records;               // sealed by TLS with one key at most; 0: any number
    uint32_t peeked_len;                // of `in`: what TLS has seen while is_peeking
    struct list waiting[NUM_POOL_USES]; // for a block, `in` or `out`: in a queue of the pool
    struct list writing;                // in the pool's, while writing_len is not 0
    uint64_t stalled_ms;                // loop time since which the peer takes too little of them
    uint64_t seen_ms;                   // loop time at which num_untaken was seen; 0: never
    size_t num_untaken;
    int error;            // the first failure, an errno value, or 0
    uint8_t turn_reads;   // how often TLS may still read from `in` in this turn
    uint8_t reads_in_row; // by the carrier, each of all the room that there was
    bool is_mesh : 1;     // towards the peer, with or without TLS; else towards the service
    bool is_peeking : 1;  // TLS reads `in` without taking from it
    bool is_relaying : 1; // borrows blocks
    bool is_open : 1;     // made and not closed
    bool is_connected : 1;
    bool is_reading : 1;
    bool is_eof : 1;           // the peer's end came
    bool has_close_notify : 1; // TLS: the peer's close_notify came
    bool has_alert : 1;        // TLS: a fatal alert of ours is in `out`, or was
    bool wants_finish : 1;     // to send our end once `out` is empty
    bool is_finishing : 1;     // our end is on its way
    bool is_finished : 1;      // our end is sent
    bool is_watched : 1;       // the carrier tells of a failure although nothing is read
};

// side_init is for a carrier's constructor. The side is zero but for is_mesh.
// on_change is called after each new fact, on_closed once, after side_close.
void side_init(struct side *side, const struct carrier *carrier, struct pool *pool, void *owner,
               void (*on_change)(void *owner), void (*on_closed)(void *owner), uint64_t now_ms);

// side_fail records an errno value; the first stands. side_error_text says it in words.
void side_fail(struct side *side, int error);
const char *side_error_text(const struct side *side);

// side_borrow lends `ring` (one of the side's) memory, if it has none. false: the side waits for it
// in the pool's queue, and on_change comes once the ring has it. side_borrow_piece lends a piece,
// for the few bytes that TLS itself has to say, and never waits. side_grow gives a ring with a
// piece a larger one; false: there is none. side_settle gives the memory back if the ring is empty.
// side_borrow_memory and side_give_back are slow halves.
bool side_borrow_memory(struct side *side, struct ring *ring);
void side_borrow_piece(struct side *side, struct ring *ring);
bool side_grow(struct side *side, struct ring *ring);
void side_give_back(struct side *side, struct ring *ring);

static inline bool side_borrow(struct side *side, struct ring *ring)
{
    return ring->bytes != NULL || side_borrow_memory(side, ring);
}

static inline void side_settle(struct side *side, struct ring *ring)
{
    if (ring->bytes != NULL && ring->len == 0) {
        side_give_back(side, ring);
    }
}

// side_lend_next lends what the pool has to the side that has waited longest, and returns that
// side. The caller calls its on_change, then side_settle_idle. NULL: pool_lend_next had nothing.
struct side *side_lend_next(struct pool *pool);

// side_settle_idle gives back what side_lend_next has lent, if no use is left for it.
void side_settle_idle(struct side *side);

// side_room returns where a carrier puts the next bytes of `in`, and how many at most. NULL: none
// now; side_is_waiting says whether for want of a block. ring_push counts the bytes.
uint8_t *side_room(struct side *side, size_t *out_len);

static inline bool side_is_waiting(const struct side *side, enum pool_use use)
{
    return list_is_linked(&side->waiting[use]);
}

// side_wait_for_peer is for a carrier: what `out` holds by now is on its way, but the peer has yet
// to take it. side_peer_took ends that. side_see_progress looks how much the peer has taken, now
// and again meanwhile: who takes SIDE_PROGRESS_BYTES in SIDE_PROGRESS_MS goes to the end of the
// pool's list. side_is_stalled says whether the peer took less when it was looked at.
#define SIDE_PROGRESS_BYTES 8192u
#define SIDE_PROGRESS_MS    500u
void side_wait_for_peer(struct side *side, uint64_t now_ms);
void side_peer_took(struct side *side);
void side_see_progress(struct side *side, uint64_t now_ms);
bool side_is_stalled(const struct side *side, uint64_t now_ms);

// side_set_reading starts or stops the filling of `in`. It does not start while there is no block
// for it, nor after an end or an error, at which a carrier stops by itself.
static inline void side_set_reading(struct side *side, bool wants_read)
{
    if (wants_read != side->is_reading &&
        !(wants_read && (side->is_eof || side->error != 0 || side_is_waiting(side, POOL_READ)))) {
        side->carrier->set_reading(side, wants_read);
    }
}

// side_flush sends what `out` holds as far as the carrier takes it, then our end if wants_finish.
// What it can't take now it takes later by itself.
static inline void side_flush(struct side *side)
{
    if (side->out.bytes == NULL && (!side->wants_finish || side->is_finishing)) {
        return; // nothing to send
    }
    if (side->writing_len == 0 && side->error == 0 && side->is_connected) {
        side->carrier->flush(side);
    }
}

// side_close drops the bytes that are left and closes the carrier; call tls_stop before.
void side_close(struct side *side, bool with_reset);

#endif
