// SPDX-License-Identifier: Apache-2.0
//
// One TLS handshake with a peer, up to the proof of who it is, for a conn and any other holder of a
// mesh session. The limit on handshakes, the agent's signatures and trust attach here and nowhere
// else. The holder calls handshake_begin once its side is open; a server may first find out by
// handshake_look whose ClientHello it is; then handshake_step until it is no longer HANDSHAKE_WAIT;
// then handshake_over. Embedded in its holder, which outlives the side's TLS object; a worker's
// thread. It does not decide whether the peer may do what it wants (proxy/conn/authorize.h), and
// sets no timer.
#ifndef TABARD_PROXY_CONN_HANDSHAKE_H
#define TABARD_PROXY_CONN_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "certs/tls/context.h"
#include "proxy/carry/side.h"
#include "proxy/conn/env.h"
#include "proxy/trust/peer.h"
#include "proxy/link/signer.h"
#include "proxy/rules/reason.h"
#include "proxy/trust/snapshot.h"

// What the TLS contexts of every snapshot are built with.
extern const struct context_hooks handshake_hooks;

enum handshake_result {
    HANDSHAKE_WAIT,   // for bytes, for room, or for the agent's signature
    HANDSHAKE_DONE,   // the peer has proved who it is
    HANDSHAKE_FAILED, // `reason` and `detail` say why
};

enum handshake_hello { HELLO_WAIT, HELLO_OURS, HELLO_FOREIGN, HELLO_FAILED };

// Zero state before handshake_begin and after handshake_over.
struct handshake {
    struct conn_env *env;           // borrowed from the worker
    struct side *side;              // borrowed from the holder
    const struct addr *destination; // borrowed from the holder: who answers there must be one of
                                    // its identities. NULL: we are the server, any peer will do
    uint16_t port;                  // of a server: the application's, as policies name it
    struct snapshot *snapshot; // counted: the one whose certificate is shown, once TLS has begun
    struct sign_job sign;
    struct peer *peer;   // counted, see handshake_take_peer
    char *verify_detail; // owned
    const char *detail;  // words for the log, or NULL; borrowed until handshake_over
    enum reason reason;  // REASON_NONE until it has failed
    bool is_counted : 1; // in env->num_handshakes
    bool is_looking : 1; // in handshake_look
    bool is_our_hello : 1;
    bool has_first_byte : 1;
};

// handshake_begin only fills the handshake in. A client's side gets its TLS object, of the snapshot
// then in force, by the first handshake_step; a server's once the whole ClientHello is in `in`,
// which is to be read meanwhile. `port` is the application's, and a server's only.
void handshake_begin(struct handshake *handshake, struct conn_env *env, struct side *side,
                     const struct addr *destination, uint16_t port);

// handshake_look reads the ClientHello and leaves it where it is, so that it can still be relayed
// as it came. HELLO_OURS: handshake_step goes on with it. HELLO_FOREIGN: the TLS object is gone.
enum handshake_hello handshake_look(struct handshake *handshake);

// handshake_step goes as far as the bytes at hand allow, and flushes the side. The first one counts
// against Limits.handshakes.
enum handshake_result handshake_step(struct handshake *handshake);

// handshake_is_signing says whether the agent has yet to sign: the delay is ours, not the peer's.
bool handshake_is_signing(const struct handshake *handshake);

// handshake_take_peer hands over the reference to the peer whose chain was verified. NULL: there is
// none, or it was taken before.
struct peer *handshake_take_peer(struct handshake *handshake);

// handshake_over gives back all that the handshake holds but the side's TLS object. It may be
// called at any time, and twice.
void handshake_over(struct handshake *handshake);

#endif
