// SPDX-License-Identifier: Apache-2.0
//
// One TLS handshake with a peer, up to the proof of who it is, for a conn and any other holder of a
// mesh session. The gate of handshakes (proxy/limits/gate.h), the agent's signatures and trust
// attach here and nowhere else. The holder calls handshake_begin; a client then asks
// handshake_admit until it says yes, and dials; a server may first find out by handshake_look whose
// ClientHello it is; then handshake_step until it is no longer HANDSHAKE_WAIT; then handshake_over.
// Embedded in its holder, which outlives the side's TLS object; a worker's thread. It does not
// decide whether the peer may do what it wants (proxy/conn/authorize.h), and sets no timer.
#ifndef TABARD_PROXY_CONN_HANDSHAKE_H
#define TABARD_PROXY_CONN_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "certs/tls/context.h"
#include "proxy/carry/side.h"
#include "proxy/limits/gate.h"
#include "proxy/conn/env.h"
#include "proxy/trust/peer.h"
#include "proxy/link/signer.h"
#include "proxy/rules/reason.h"
#include "proxy/trust/snapshot.h"

// What the TLS contexts of every snapshot are built with.
extern const struct context_hooks handshake_hooks;

enum handshake_result {
    HANDSHAKE_WAIT,   // for bytes, for room, for its turn, or for the agent's signature
    HANDSHAKE_DONE,   // the peer has proved who it is
    HANDSHAKE_FAILED, // `reason` and `detail` say why
};

enum handshake_hello { HELLO_WAIT, HELLO_OURS, HELLO_FOREIGN, HELLO_FAILED };

// Zero state before handshake_begin and after handshake_over.
struct handshake {
    struct conn_env *env;       // borrowed from the worker
    struct side *side;          // borrowed from the holder
    const struct addr *remote;  // borrowed from the holder: the peer's address. A client's
                                // destination: who answers there must be one of its identities
    uint16_t port;              // of a server: the application's, as policies name it
    const struct addr *reached; // borrowed from the holder. Of a server: the address by which the
                                // caller came
    struct snapshot *snapshot;  // counted: the one whose certificate is shown, once TLS has begun
    struct ticket ticket;
    struct sign_job sign;
    struct peer *peer;  // counted, see handshake_take_peer
    char *made_detail;  // owned; of `detail`, where it is no static text
    const char *detail; // words for the log, or NULL; borrowed until handshake_over
    enum reason reason; // REASON_NONE until it has failed
    bool is_server : 1;
    bool is_looking : 1; // in handshake_look
    bool is_our_hello : 1;
    bool is_done : 1;
};

// handshake_begin only fills the handshake in, with the side's owner and on_change, and gives a
// server its place. A client's side gets its TLS object, of the snapshot then in force, by the
// first handshake_step; a server's when it is its turn, and the whole ClientHello is in `in`, which
// is to be read meanwhile. `port` is the application's, and a server's only.
void handshake_begin(struct handshake *handshake, struct conn_env *env, struct side *side,
                     const struct addr *remote, const struct addr *reached, uint16_t port);

// handshake_admit asks for a client's turn. false: not yet, or never (handshake_refusal says so);
// on_change is called then.
bool handshake_admit(struct handshake *handshake);

// handshake_refusal returns why the handshake lost its place, REASON_NONE: it did not.
enum reason handshake_refusal(const struct handshake *handshake);

// handshake_look reads the ClientHello and leaves it where it is, so that it can still be relayed
// as it came. HELLO_OURS: handshake_step goes on with it. HELLO_FOREIGN: the TLS object is gone.
enum handshake_hello handshake_look(struct handshake *handshake);

// handshake_step goes as far as the bytes at hand allow, and flushes the side. With a server it
// stops at the complete ClientHello until it is its turn.
enum handshake_result handshake_step(struct handshake *handshake);

// handshake_is_signing says whether the agent has yet to sign: the delay is ours, not the peer's.
bool handshake_is_signing(const struct handshake *handshake);

// handshake_claimed returns the id in the peer's certificate, whose chain is valid, while the peer
// has yet to prove that it holds the key; borrowed until handshake_over. NULL: there is none.
const char *handshake_claimed(const struct handshake *handshake);

// handshake_take_peer hands over the reference to the peer that has proved who it is. NULL: the
// handshake is not done, or it was taken before.
struct peer *handshake_take_peer(struct handshake *handshake);

// handshake_over gives back all that the handshake holds but the side's TLS object. It may be
// called at any time, and twice.
void handshake_over(struct handshake *handshake);

#endif
