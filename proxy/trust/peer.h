// SPDX-License-Identifier: Apache-2.0
//
// The peers that a worker knows. A handshake verifies a peer's chain once for a trust bundle, and
// all connections of that peer share what was found: each handshake proves again that the peer
// holds the key, but the chain's signatures need checking once. A worker owns the table; its
// handshakes and connections hold counted references. Peers without a reference stay cached, up to
// PEERS_UNUSED_MAX of them and PEERS_UNUSED_BYTES_MAX of chains. This says who a peer is, and how
// many connections its identity has; policy says whether it may.
#ifndef TABARD_PROXY_TRUST_PEER_H
#define TABARD_PROXY_TRUST_PEER_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/now.h"
#include "certs/identity.h"
#include "certs/path/verify.h"

#define PEERS_BUCKETS    1024
#define PEERS_UNUSED_MAX 1024
// Of their chains: a peer may send a long one, in as many variants as it likes.
#define PEERS_UNUSED_BYTES_MAX (2u << 20)

// What all peers of one SPIFFE id share: a renewed certificate makes another peer, and no other
// identity.
struct peer_identity {
    struct peer_identity *next; // borrowed: in its bucket
    char *text;                 // owned: the id, NUL-terminated
    uint32_t num_peers;         // that hold it; the last one frees it
    uint32_t num_entered;       // connections, see peer_enter
};

struct peer {
    struct peer *next;              // borrowed: in its bucket
    uint8_t digest[32];             // SHA-256 over the chain
    uint8_t bundle_digest[32];      // of the bundle that proved it last
    struct peer_identity *identity; // counted
    const char *text;               // borrowed from the identity: the id, NUL-terminated
    struct spiffe_id id;            // of text
    time_t not_after;
    struct now_end ends; // after not_after, by the clock that is ahead since it was first seen
    time_t seen_at;      // when a handshake last proved it: the time at which a re-check asks
    enum verify_failure failure; // VERIFY_OK, or what a re-check found since
    CRYPTO_BUFFER **chain;       // counted each
    size_t num_certs;
    size_t chain_bytes;
    uint32_t num_refs;
};

struct peers {
    struct peer *buckets[PEERS_BUCKETS];             // owned
    struct peer_identity *identities[PEERS_BUCKETS]; // owned
    size_t num_unused;
    size_t unused_bytes;
};

// peers_cleanup frees the table; no connection may hold a peer.
void peers_cleanup(struct peers *peers);

// peers_verify finds out who sent `chain` at `now`, from the table if that chain was verified
// against the same bundle before; *out_is_cached says whether it was, so that no signature was
// checked. A chain in the table that has ended stays so, also where the wall clock was set back. On
// VERIFY_OK the caller holds a reference to *out_peer.
enum verify_failure peers_verify(struct peers *peers, struct peer **out_peer, bool *out_is_cached,
                                 CRYPTO_BUFFER *const *chain, size_t num_certs,
                                 const struct trust_bundles *bundles, struct now now,
                                 struct err *err);
void peer_unref(struct peers *peers, struct peer *peer);

// peer_enter counts one more connection of the peer's identity, whichever of its certificates the
// others showed. false: it has num_max already, and nothing is counted. peer_leave counts one less;
// call it before peer_unref.
bool peer_enter(struct peer *peer, uint32_t num_max);
void peer_leave(struct peer *peer);

// peers_recheck verifies again every peer in use whose trust domain's bundle has changed. It judges
// by the time of the peer's handshake, because a certificate that has expired since ends by its own
// deadline; if that fails it judges by `now`, because a root may be younger than the handshake. The
// result is in peer->failure. Peers not in use are forgotten.
void peers_recheck(struct peers *peers, const struct trust_bundles *bundles, struct now now);

#endif
