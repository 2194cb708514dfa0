// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/handshake.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/now.h"
#include "certs/chain.h"
#include "proxy/carry/hello.h"
#include "proxy/carry/tls.h"
#include "proxy/conn/protocol.h"
#include "proxy/conn/queue.h"

static struct handshake *handshake_of(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

static enum ssl_private_key_result_t on_sign(SSL *ssl, uint8_t *out, size_t *out_len,
                                             size_t max_out, uint16_t algorithm, const uint8_t *in,
                                             size_t in_len)
{
    (void)out;
    (void)out_len;
    (void)max_out;
    struct handshake *handshake = handshake_of(ssl);
    const struct trust *trust = handshake->snapshot->trust;
    const uint8_t *key_id = context_shows_fallback(ssl) ? trust->fallback_key_id : trust->key_id;
    return signer_ask(&handshake->env->signer, &handshake->sign, key_id, algorithm, in, in_len)
               ? ssl_private_key_retry
               : ssl_private_key_failure;
}

static enum ssl_private_key_result_t on_complete(SSL *ssl, uint8_t *out, size_t *out_len,
                                                 size_t max_out)
{
    struct handshake *handshake = handshake_of(ssl);
    if (handshake_is_signing(handshake)) {
        return ssl_private_key_retry;
    }
    return signer_take(&handshake->sign, out, out_len, max_out) ? ssl_private_key_success
                                                                : ssl_private_key_failure;
}

// Says whether the peer may answer for the destination, by the snapshot in force. A server takes
// any peer.
static bool is_expected(const struct handshake *handshake)
{
    if (handshake->is_server) {
        return true;
    }
    struct route route = route_outbound(handshake->env->snapshot->routes, handshake->remote);
    return route.mode == ROUTE_MTLS && route_expects(&route, &handshake->peer->id);
}

// Verifies the peer's chain. A client also asks here whether the server is one of the identities
// that its destination must prove, so that no other server learns our certificate.
static enum reason verify(struct handshake *handshake, CRYPTO_BUFFER *const *chain,
                          size_t num_certs)
{
    struct conn_env *env = handshake->env;
    struct err err = {0};
    bool is_cached;
    enum verify_failure failure =
        peers_verify(&env->peers, &handshake->peer, &is_cached, chain, num_certs,
                     env->snapshot->trust->bundles, now_read(uv_now(env->loop)), &err);
    if (failure != VERIFY_OK) {
        handshake->made_detail = must_strdup(err.text);
        return reason_of_failure(failure);
    }
    stats_add(is_cached ? &env->stats.chains_cached : &env->stats.chains_checked, 1);
    return is_expected(handshake) ? REASON_NONE : REASON_WRONG_IDENTITY;
}

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    struct handshake *handshake = handshake_of(ssl);
    const struct chain chain = chain_lent(SSL_get0_peer_certificates(ssl));
    handshake->reason = verify(handshake, chain.certs, chain.num);
    if (handshake->reason == REASON_NONE && !protocol_is_good(handshake)) {
        handshake->reason = REASON_UNBOUND; // before our own certificate is shown
    }
    if (handshake->reason == REASON_NONE) {
        return ssl_verify_ok;
    }
    *out_alert = (uint8_t)reason_alert(handshake->reason);
    return ssl_verify_invalid;
}

// handshake_look only asks whose ClientHello this is, so the handshake pauses here. If it is ours,
// handshake_step goes on with it when it is its turn.
static enum ssl_select_cert_result_t on_client_hello(const SSL_CLIENT_HELLO *hello)
{
    struct handshake *handshake = handshake_of(hello->ssl);
    if (!handshake->is_looking) {
        return ssl_select_cert_success;
    }
    handshake->is_our_hello = context_has_mesh_alpn(hello);
    return ssl_select_cert_retry;
}

// There is nothing to decrypt: TLS 1.3 has no RSA key exchange.
static const SSL_PRIVATE_KEY_METHOD key_method = {.sign = on_sign, .complete = on_complete};

const struct context_hooks handshake_hooks = {
    .key_method = &key_method,
    .on_verify = on_verify,
    .on_client_hello = on_client_hello,
    .on_alpn = protocol_on_alpn,
};

void handshake_begin(struct handshake *handshake, struct conn_env *env, struct side *side,
                     const struct addr *remote, const struct addr *reached, uint16_t port)
{
    *handshake = (struct handshake){
        .env = env,
        .side = side,
        .remote = remote,
        .reached = reached,
        .port = port,
        .is_server = reached != NULL,
        .sign = {.owner = side->owner,
                 .on_done = side->on_change,
                 .lane = reached != NULL ? SIGN_FOR_CALLERS : SIGN_FOR_CALLS},
    };
    if (handshake->is_server) {
        queue_enter(handshake);
    }
}

bool handshake_admit(struct handshake *handshake)
{
    if (handshake->ticket.state == TICKET_NONE) {
        queue_ask(handshake);
    }
    return handshake->ticket.state == TICKET_IN_FLIGHT;
}

enum reason handshake_refusal(const struct handshake *handshake)
{
    const struct ticket *ticket = &handshake->ticket;
    if (ticket->state != TICKET_EVICTED) {
        return REASON_NONE;
    }
    return ticket->evicted_from == TICKET_HELLO ? REASON_LIMIT_HELLOS : REASON_LIMIT_HANDSHAKES;
}

// So long after a server took no X25519MLKEM768 a client of the worker sends a key of X25519, too.
// Most servers would ignore it, but one that wants it would have to ask for it, a round trip.
#define CLASSICAL_MS 60000

// Says what the ClientHello offers.
static void offer(struct handshake *handshake)
{
    const struct conn_env *env = handshake->env;
    protocol_offer(handshake);
    if (uv_now(env->loop) >= env->classical_until_ms) {
        tls_send_share(handshake->side);
    }
}

// Gives the side its TLS object, of the snapshot in force.
static void start_tls(struct handshake *handshake)
{
    bool is_server = handshake->is_server;
    handshake->snapshot = snapshot_ref(handshake->env->snapshot);
    const struct context_pair *contexts = &handshake->snapshot->trust->contexts;
    handshake->side->key_records = handshake->env->limits.key_records;
    tls_start(handshake->side, is_server ? contexts->server : contexts->client, is_server,
              handshake);
    if (!is_server) {
        offer(handshake);
    }
}

// Says whether a server has to wait for the rest of the ClientHello before it makes a TLS object.
// Where it need not, `reason` is set if none came, or can come any more.
static bool is_hello_awaited(struct handshake *handshake)
{
    struct side *side = handshake->side;
    enum hello_state state = hello_look(&side->in);
    bool is_part = state == HELLO_UNDECIDED || state == HELLO_PART;
    if (state == HELLO_NONE) {
        handshake->reason = REASON_PLAINTEXT_ON_MTLS;
    } else if (state == HELLO_TOO_LONG) {
        handshake->reason = REASON_TLS_ERROR;
        handshake->detail = "the ClientHello is too long";
    } else if (is_part && side->error != 0) {
        handshake->reason = REASON_PEER_RESET;
        handshake->detail = side_error_text(side);
    } else if (is_part && side->is_eof) {
        handshake->reason = REASON_PEER_CLOSED;
    }
    return is_part && handshake->reason == REASON_NONE;
}

enum handshake_hello handshake_look(struct handshake *handshake)
{
    struct side *side = handshake->side;
    if (is_hello_awaited(handshake)) {
        return HELLO_WAIT;
    }
    if (handshake->reason != REASON_NONE) {
        return HELLO_FAILED;
    }
    if (!handshake->is_looking) {
        handshake->is_looking = true;
        start_tls(handshake);
        tls_peek(side);
    }
    enum tls_result result = tls_handshake(side);
    if (result == TLS_WAIT) {
        return HELLO_WAIT;
    }
    handshake->is_looking = false;
    if (handshake->is_our_hello) {
        tls_keep(side);
        return HELLO_OURS;
    }
    if (result == TLS_PAUSED) {
        tls_stop(side);
        return HELLO_FOREIGN;
    }
    handshake->reason = tls_reason(&handshake->detail);
    return HELLO_FAILED;
}

static void make_detail(struct handshake *handshake, const char *text)
{
    free(handshake->made_detail);
    handshake->made_detail = must_strdup(text);
    handshake->detail = handshake->made_detail;
}

static const char *missing_group(const struct trust *trust)
{
    return trust->needs_post_quantum
               ? "the peer offers no X25519MLKEM768, and settings.key_exchange demands it"
               : "the peer offers none of X25519MLKEM768, X25519, P-256, P-384";
}

// Says of what TLS reported what the configuration has to do with it. A server that found nothing
// in common with what it was offered ends it by this one alert, before it has chosen a group
// (RFC 8446, section 4.1.1).
static void explain(struct handshake *handshake)
{
    const struct trust *trust = handshake->snapshot->trust;
    char text[256];
    if (handshake->reason == REASON_NO_SHARED_GROUP) {
        handshake->detail = missing_group(trust);
    } else if (handshake->reason == REASON_NO_SHARED_SIGNATURE) {
        snprintf(text, sizeof text,
                 "the peer takes no %s certificate, and there is no other to show", trust->keys);
        make_detail(handshake, text);
    } else if (handshake->reason == REASON_PEER_ALERT && !handshake->is_server &&
               trust->needs_post_quantum && tls_group(handshake->side) == NULL &&
               strcmp(handshake->detail, SSL_alert_desc_string_long(SSL_AD_HANDSHAKE_FAILURE)) ==
                   0) {
        snprintf(text, sizeof text,
                 "%s: the server may not know X25519MLKEM768, and settings.key_exchange lets us "
                 "offer nothing else, or take none of our kinds of signature",
                 handshake->detail);
        make_detail(handshake, text);
    }
}

// Returns why the handshake failed, given what tls_handshake returned; REASON_NONE: it has not.
static enum reason failure_of(struct handshake *handshake, enum tls_result result)
{
    const struct side *side = handshake->side;
    if (handshake->reason != REASON_NONE) {
        handshake->detail = handshake->made_detail;
        return handshake->reason;
    }
    if (result == TLS_FAILED || result == TLS_PAUSED) {
        handshake->reason = tls_reason(&handshake->detail);
        explain(handshake);
        return handshake->reason;
    }
    // While the agent signs, nobody asks TLS for the peer's bytes, and so for its end.
    bool is_gone = handshake_is_signing(handshake) && side->is_eof && side->in.len == 0;
    if (result == TLS_TRUNCATED || result == TLS_EOF || is_gone) {
        return REASON_PEER_CLOSED;
    }
    if (side->error != 0) {
        handshake->detail = side_error_text(side);
        return REASON_PEER_RESET;
    }
    return REASON_NONE;
}

// Sets `reason` if the peer is gone while the handshake waits for its turn.
static void look_for_end(struct handshake *handshake)
{
    const struct side *side = handshake->side;
    if (side->error != 0) {
        handshake->reason = REASON_PEER_RESET;
        handshake->detail = side_error_text(side);
    } else if (side->is_eof) {
        handshake->reason = REASON_PEER_CLOSED;
    }
}

// Asks for the handshake's turn, a server's once the ClientHello is there. false: it has to wait,
// or `reason` is set.
static bool is_its_turn(struct handshake *handshake)
{
    enum ticket_state state = handshake->ticket.state;
    if (state == TICKET_HELLO && handshake->side->ssl == NULL && is_hello_awaited(handshake)) {
        return false;
    }
    if (handshake->reason != REASON_NONE) {
        return false;
    }
    if (state == TICKET_HELLO || state == TICKET_NONE) {
        queue_ask(handshake);
    }
    if (handshake->ticket.state == TICKET_WAITING) {
        look_for_end(handshake);
    }
    return handshake->ticket.state == TICKET_IN_FLIGHT;
}

static void note_done(struct handshake *handshake)
{
    struct conn_env *env = handshake->env;
    enum direction direction = handshake->is_server ? DIRECTION_INBOUND : DIRECTION_OUTBOUND;
    if (tls_is_post_quantum(handshake->side)) {
        stats_add(&env->stats.handshakes_post_quantum[direction], 1);
        return;
    }
    stats_add(&env->stats.handshakes_classical[direction], 1);
    if (!handshake->is_server) {
        env->classical_until_ms = uv_now(env->loop) + CLASSICAL_MS;
    }
}

// Whether X25519MLKEM768 has come to be demanded since the handshake began, and it agreed on
// another.
static bool lacks_post_quantum(const struct handshake *handshake)
{
    return handshake->env->snapshot->trust->needs_post_quantum &&
           !tls_is_post_quantum(handshake->side);
}

enum handshake_result handshake_step(struct handshake *handshake)
{
    handshake->reason = handshake_refusal(handshake);
    bool is_ours = handshake->reason == REASON_NONE && is_its_turn(handshake);
    if (handshake->reason != REASON_NONE) {
        return HANDSHAKE_FAILED;
    }
    if (!is_ours) {
        return HANDSHAKE_WAIT;
    }
    if (handshake->side->ssl == NULL) {
        start_tls(handshake);
    }
    enum tls_result result = tls_handshake(handshake->side);
    handshake->reason = failure_of(handshake, result);
    side_flush(handshake->side);
    if (handshake->reason != REASON_NONE) {
        return HANDSHAKE_FAILED;
    }
    if (result == TLS_OK && lacks_post_quantum(handshake)) {
        handshake->reason = REASON_NO_SHARED_GROUP;
        handshake->detail = missing_group(handshake->env->snapshot->trust);
        return HANDSHAKE_FAILED;
    }
    handshake->is_done = result == TLS_OK;
    if (handshake->is_done) {
        note_done(handshake);
    }
    return handshake->is_done ? HANDSHAKE_DONE : HANDSHAKE_WAIT;
}

bool handshake_is_signing(const struct handshake *handshake)
{
    return handshake->sign.state == SIGN_WAITING;
}

const char *handshake_claimed(const struct handshake *handshake)
{
    return handshake->peer != NULL && !handshake->is_done ? handshake->peer->text : NULL;
}

struct peer *handshake_take_peer(struct handshake *handshake)
{
    struct peer *peer = handshake->is_done ? handshake->peer : NULL;
    if (peer != NULL) {
        handshake->peer = NULL;
    }
    return peer;
}

void handshake_over(struct handshake *handshake)
{
    struct conn_env *env = handshake->env;
    if (env == NULL) {
        return;
    }
    signer_cancel(&env->signer, &handshake->sign);
    queue_leave(handshake);
    snapshot_unref(handshake->snapshot);
    peer_unref(&env->peers, handshake->peer);
    free(handshake->made_detail);
    *handshake = (struct handshake){0};
}
