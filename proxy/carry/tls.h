// SPDX-License-Identifier: Apache-2.0
//
// TLS between a side's two rings and the application's bytes: BoringSSL reads `in` and writes
// `out`, so it never sees what carries them, and no state of reading that waits for writing can
// exist. A handshake (proxy/conn/handshake.h) calls tls_start and tls_handshake; then relay calls
// tls_read, tls_write and tls_close_notify; tls_stop comes before side_close. These functions
// report what happened, and tls_reason the reason with which a connection then ends; proxy/conn
// decides what to do.
#ifndef TABARD_PROXY_CARRY_TLS_H
#define TABARD_PROXY_CARRY_TLS_H

#include <openssl/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/rules/reason.h"
#include "proxy/carry/side.h"

// The bytes of the application that one record holds at most (RFC 8446, section 5.1).
#define TLS_RECORD_MAX 16384u

enum tls_result {
    TLS_OK,        // done, or bytes moved
    TLS_WAIT,      // for bytes, for room, or for the signature
    TLS_PAUSED,    // a hook asked for it while the ClientHello was looked at
    TLS_EOF,       // the peer's close_notify
    TLS_TRUNCATED, // the peer's FIN without one (RFC 8446, section 6.1)
    TLS_FAILED,    // tls_reason says why
};

// tls_start gives the side a TLS object of `ctx`; the hooks of the context find `app` by
// SSL_get_app_data. tls_stop frees it, if there is one.
void tls_start(struct side *side, SSL_CTX *ctx, bool is_server, void *app);
void tls_stop(struct side *side);

// tls_send_share lets a client's ClientHello carry a key of X25519MLKEM768 alone, if it offers that
// group, whatever others it offers. A server that takes another one asks for a key of that by a
// HelloRetryRequest, a round trip (RFC 8446, section 4.1.4).
void tls_send_share(struct side *side);

// tls_handshake goes as far as the bytes at hand and a turn allow.
enum tls_result tls_handshake(struct side *side);

// A turn ends after so many records, whatever they hold: a peer may fill a ring with records of one
// byte, of none, or of KeyUpdates, each of which costs as much as a large one. tls_begin_turn
// begins one for what follows; tls_handshake does by itself. tls_is_interrupted says whether bytes
// were left because a turn was over: the caller comes back once others had theirs.
#define TLS_TURN_RECORDS 64
static inline void tls_begin_turn(struct side *side)
{
    side->turn_reads = 2 * TLS_TURN_RECORDS; // BoringSSL reads a record's header, then the rest
}

static inline bool tls_is_interrupted(const struct side *side)
{
    return side->turn_reads == 0 && side->ssl != NULL && side->in.len > 0;
}

// tls_peek makes TLS read without taking bytes from `in`, so that they can still be relayed as they
// came (a ClientHello that is the application's own); tls_keep takes what was read and goes on as
// usual.
void tls_peek(struct side *side);
void tls_keep(struct side *side);

// tls_read moves plaintext into `to`, which belongs to `other`, until it is full or nothing is
// left. *out_len counts.
enum tls_result tls_read(struct side *side, struct side *other, struct ring *to, size_t *out_len);

// tls_write seals the bytes of `from` into the side's `out` as far as whole records fit. *out_len
// counts. A key that has sealed `key_records` records is renewed first (RFC 8446, sections 4.6.3
// and 5.5).
enum tls_result tls_write(struct side *side, struct ring *from, size_t *out_len);

// tls_has_bytes says whether tls_read could move something before another byte of the peer comes.
bool tls_has_bytes(const struct side *side);

// tls_close_notify sends close_notify (RFC 8446, section 6.1); false while there is no room for it
// in `out`.
bool tls_close_notify(struct side *side);

// tls_alert sends a fatal alert (RFC 8446, section 6.2), for which tls_write leaves room in `out`.
// It returns whether one is on its way: this one, or BoringSSL's own of before. false: none can be
// sent, as after our close_notify, so that only a reset tells the peer.
bool tls_alert(struct side *side, enum tls_alert alert);

// tls_group names the group on which the keys were agreed, "X25519MLKEM768" say. NULL: on none yet.
const char *tls_group(const struct side *side);

// tls_is_post_quantum says whether a quantum computer can't find out the keys by that group.
bool tls_is_post_quantum(const struct side *side);

// tls_reason returns the reason for the failure that a tls_ function has just reported. *out_detail
// gets words for the log: static text, or NULL.
enum reason tls_reason(const char **out_detail);

#endif
