// SPDX-License-Identifier: Apache-2.0
#include "proxy/trust/peer.h"

#include <openssl/pool.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"

static void chain_digest(uint8_t out[32], CRYPTO_BUFFER *const *chain, size_t num_certs)
{
    SHA256_CTX sha;
    SHA256_Init(&sha);
    for (size_t i = 0; i < num_certs; i++) {
        uint64_t len = CRYPTO_BUFFER_len(chain[i]);
        SHA256_Update(&sha, &len,
                      sizeof len); // so that no two chains share a digest by their seams
        SHA256_Update(&sha, CRYPTO_BUFFER_data(chain[i]), len);
    }
    SHA256_Final(out, &sha);
}

static size_t bucket_number(const uint8_t digest[32])
{
    return ((unsigned)digest[0] << 8 | digest[1]) % PEERS_BUCKETS;
}

// Returns where the identity of this text stands in its bucket, or where the bucket ends.
static struct peer_identity **identity_at(struct peers *peers, const char *text)
{
    uint8_t digest[32];
    SHA256((const uint8_t *)text, strlen(text), digest);
    struct peer_identity **at = &peers->identities[bucket_number(digest)];
    while (*at != NULL && strcmp((*at)->text, text) != 0) {
        at = &(*at)->next;
    }
    return at;
}

static struct peer_identity *identity_ref(struct peers *peers, const char *text)
{
    struct peer_identity **at = identity_at(peers, text);
    if (*at == NULL) {
        *at = must_alloc(1, sizeof **at);
        (*at)->text = must_strdup(text);
    }
    (*at)->num_peers++;
    return *at;
}

static void identity_unref(struct peers *peers, struct peer_identity *identity)
{
    if (--identity->num_peers > 0) {
        return;
    }
    invariant(identity->num_entered == 0);
    *identity_at(peers, identity->text) = identity->next;
    free(identity->text);
    free(identity);
}

static void peer_free(struct peers *peers, struct peer *peer)
{
    for (size_t i = 0; i < peer->num_certs; i++) {
        CRYPTO_BUFFER_free(peer->chain[i]);
    }
    free(peer->chain);
    identity_unref(peers, peer->identity);
    free(peer);
}

// Takes the peers that no connection holds out of the table.
static void forget_unused(struct peers *peers)
{
    for (size_t i = 0; i < PEERS_BUCKETS; i++) {
        struct peer **at = &peers->buckets[i];
        while (*at != NULL) {
            struct peer *peer = *at;
            if (peer->num_refs == 0) {
                *at = peer->next;
                peer_free(peers, peer);
            } else {
                at = &peer->next;
            }
        }
    }
    peers->num_unused = 0;
    peers->unused_bytes = 0;
}

void peers_cleanup(struct peers *peers)
{
    forget_unused(peers);
    for (size_t i = 0; i < PEERS_BUCKETS; i++) {
        invariant(peers->buckets[i] == NULL && peers->identities[i] == NULL);
    }
}

static struct peer *peer_ref(struct peers *peers, struct peer *peer)
{
    if (peer->num_refs++ == 0) {
        peers->num_unused--;
        peers->unused_bytes -= peer->chain_bytes;
    }
    return peer;
}

void peer_unref(struct peers *peers, struct peer *peer)
{
    if (peer == NULL) {
        return;
    }
    invariant(peer->num_refs > 0);
    if (--peer->num_refs > 0) {
        return;
    }
    peers->num_unused++;
    peers->unused_bytes += peer->chain_bytes;
    if (peers->num_unused > PEERS_UNUSED_MAX || peers->unused_bytes > PEERS_UNUSED_BYTES_MAX) {
        forget_unused(peers);
    }
}

bool peer_enter(struct peer *peer, uint32_t num_max)
{
    if (peer->identity->num_entered >= num_max) {
        return false;
    }
    peer->identity->num_entered++;
    return true;
}

void peer_leave(struct peer *peer)
{
    invariant(peer->identity->num_entered > 0);
    peer->identity->num_entered--;
}

static void set_end(struct peer *peer, time_t not_after, struct now now)
{
    peer->not_after = not_after;
    peer->ends = now_end_at(not_after + 1, now);
}

static struct peer *peer_new(struct peers *peers, const struct verified_peer *found,
                             const uint8_t digest[32], CRYPTO_BUFFER *const *chain,
                             size_t num_certs, struct now now)
{
    struct peer *peer = must_alloc(1, sizeof *peer);
    peer->identity = identity_ref(peers, found->id);
    peer->text = peer->identity->text;
    peer->chain = must_alloc(num_certs, sizeof(CRYPTO_BUFFER *));
    invariant(spiffe_workload_parse(&peer->id, peer->text, found->id_len, NULL));
    for (size_t i = 0; i < num_certs; i++) {
        CRYPTO_BUFFER_up_ref(chain[i]);
        peer->chain[peer->num_certs++] = chain[i];
        peer->chain_bytes += CRYPTO_BUFFER_len(chain[i]);
    }
    memcpy(peer->digest, digest, sizeof peer->digest);
    memcpy(peer->bundle_digest, found->bundle_digest, sizeof peer->bundle_digest);
    set_end(peer, found->not_after, now);
    peer->seen_at = now_unix_s(now);
    return peer;
}

static const struct trust_bundle *bundle_of(const struct peer *peer,
                                            const struct trust_bundles *bundles)
{
    return trust_bundles_find(bundles, peer->id.domain, peer->id.domain_len);
}

// Says whether what the table says of a peer still holds.
static bool is_fresh(const struct peer *peer, const struct trust_bundles *bundles, struct now now)
{
    const struct trust_bundle *bundle = bundle_of(peer, bundles);
    return peer->failure == VERIFY_OK && now_end_left_ms(peer->ends, now) > 0 && bundle != NULL &&
           memcmp(trust_bundle_digest(bundle), peer->bundle_digest, 32) == 0 &&
           now_unix_s(now) <= trust_bundle_next_update(bundle);
}

enum verify_failure peers_verify(struct peers *peers, struct peer **out_peer, bool *out_is_cached,
                                 CRYPTO_BUFFER *const *chain, size_t num_certs,
                                 const struct trust_bundles *bundles, struct now now,
                                 struct err *err)
{
    *out_is_cached = false;
    uint8_t digest[32];
    chain_digest(digest, chain, num_certs);
    struct peer **bucket = &peers->buckets[bucket_number(digest)];
    struct peer *peer = *bucket;
    while (peer != NULL && memcmp(peer->digest, digest, sizeof digest) != 0) {
        peer = peer->next;
    }
    if (peer != NULL && is_fresh(peer, bundles, now)) {
        *out_is_cached = true;
        peer->seen_at = now_unix_s(now);
        *out_peer = peer_ref(peers, peer);
        return VERIFY_OK;
    }
    struct verified_peer found;
    enum verify_failure failure =
        verify_peer(&found, chain, num_certs, bundles, now_unix_s(now), err);
    if (failure != VERIFY_OK) {
        return failure;
    }
    if (peer != NULL && now_end_left_ms(peer->ends, now) == 0) {
        err_set(err, "the chain had ended before the wall clock was set back");
        return VERIFY_EXPIRED;
    }
    if (peer != NULL) {
        memcpy(peer->bundle_digest, found.bundle_digest, sizeof peer->bundle_digest);
        if (peer->not_after != found.not_after) {
            set_end(peer, found.not_after, now);
        }
        peer->failure = VERIFY_OK;
        peer->seen_at = now_unix_s(now);
    } else {
        peer = peer_new(peers, &found, digest, chain, num_certs, now);
        peer->next = *bucket;
        *bucket = peer;
        peers->num_unused++; // until the reference below
        peers->unused_bytes += peer->chain_bytes;
    }
    *out_peer = peer_ref(peers, peer);
    return VERIFY_OK;
}

static void recheck_one(struct peer *peer, const struct trust_bundles *bundles, struct now now)
{
    const struct trust_bundle *bundle = bundle_of(peer, bundles);
    if (bundle == NULL) {
        peer->failure = VERIFY_UNKNOWN_TRUST_DOMAIN;
        return;
    }
    const uint8_t *digest = trust_bundle_digest(bundle);
    if (memcmp(digest, peer->bundle_digest, 32) == 0) {
        return;
    }
    struct verified_peer found;
    peer->failure = verify_peer(&found, peer->chain, peer->num_certs, bundles, peer->seen_at, NULL);
    if (peer->failure != VERIFY_OK && verify_peer(&found, peer->chain, peer->num_certs, bundles,
                                                  now_unix_s(now), NULL) == VERIFY_OK) {
        peer->failure = VERIFY_OK; // as a new handshake would find it
    }
    memcpy(peer->bundle_digest, digest, sizeof peer->bundle_digest);
    if (peer->failure == VERIFY_OK && peer->not_after != found.not_after) {
        set_end(peer, found.not_after, now);
    }
}

void peers_recheck(struct peers *peers, const struct trust_bundles *bundles, struct now now)
{
    forget_unused(peers);
    for (size_t i = 0; i < PEERS_BUCKETS; i++) {
        for (struct peer *peer = peers->buckets[i]; peer != NULL; peer = peer->next) {
            recheck_one(peer, bundles, now);
        }
    }
}
