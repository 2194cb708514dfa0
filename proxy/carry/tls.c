// SPDX-License-Identifier: Apache-2.0
#include "proxy/carry/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>

#include "base/log.h"
#include "base/must.h"

enum {
    // What one record may add to its plaintext in `out`: header, content type, tag, and a KeyUpdate
    // put before it.
    SEAL_OVERHEAD = 22 + 64,
    ALERT_ROOM = SEAL_OVERHEAD, // of `out`, which bytes of the application never take
};

// What is read at once leaves, once sealed, as one segment of at most 64 KiB, headers (IPv6, TCP
// with its options) included, and fits into an empty ring.
_Static_assert(RING_READ_MAX + (RING_READ_MAX / TLS_RECORD_MAX + 1) * 22 + 128 <= 64 << 10 &&
                   RING_READ_MAX + (RING_READ_MAX / TLS_RECORD_MAX + 1) * SEAL_OVERHEAD +
                           ALERT_ROOM <=
                       RING_BYTES,
               "RING_READ_MAX is too large");

static int on_bio_read(BIO *bio, char *out, int len)
{
    struct side *side = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t skip = side->is_peeking ? side->peeked_len : 0;
    if (tls_is_interrupted(side)) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t got = ring_copy(&side->in, skip, (uint8_t *)out, (size_t)len);
    if (got > 0) {
        side->turn_reads--;
        if (side->is_peeking) {
            side->peeked_len += (uint32_t)got;
        } else {
            ring_pull(&side->in, got);
            side_settle(side, &side->in);
        }
        return (int)got;
    }
    if (side->is_eof) {
        return 0;
    }
    BIO_set_retry_read(bio);
    return -1;
}

// Makes room in an `out` that is full. A flight of ours may be longer than the largest piece.
static bool make_room(struct side *side)
{
    if (!side_grow(side, &side->out)) {
        side_flush(side);
        side_borrow_piece(side, &side->out);
    }
    return ring_space(&side->out) > 0;
}

static int on_bio_write(BIO *bio, const char *bytes, int len)
{
    struct side *side = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    side_borrow_piece(side, &side->out);
    if (ring_space(&side->out) > 0 || make_room(side)) {
        return (int)ring_write(&side->out, (const uint8_t *)bytes, (size_t)len);
    }
    BIO_set_retry_write(bio);
    return -1;
}

static long on_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

// Empties the error queue, so that an error found in it later is of this call. Mostly it is empty
// already, and clearing costs as much as sealing a small record.
static void clear_errors(void)
{
    if (ERR_peek_error() != 0) {
        ERR_clear_error();
    }
}

// Notes that a fatal alert is written: ours, or one that BoringSSL sends by itself.
static void on_info(const SSL *ssl, int type, int value)
{
    if (type == SSL_CB_WRITE_ALERT && value >> 8 == SSL3_AL_FATAL) {
        struct side *side = BIO_get_data(SSL_get_wbio(ssl));
        side->has_alert = true;
    }
}

static BIO_METHOD *ring_method;

static void make_ring_method(void)
{
    ring_method = BIO_meth_new(BIO_TYPE_MEM, "ring");
    invariant(ring_method != NULL && BIO_meth_set_read(ring_method, on_bio_read) &&
              BIO_meth_set_write(ring_method, on_bio_write) &&
              BIO_meth_set_ctrl(ring_method, on_bio_ctrl));
}

void tls_start(struct side *side, SSL_CTX *ctx, bool is_server, void *app)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_ring_method);
    SSL *ssl = must_have(SSL_new(ctx));
    BIO *bio = must_have(BIO_new(ring_method));
    BIO_set_data(bio, side);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, app);
    SSL_set_info_callback(ssl, on_info);
    SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_shed_handshake_config(ssl, 1); // an idle connection keeps no configuration
    if (is_server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
    }
    side->ssl = ssl;
}

void tls_send_share(struct side *side)
{
    static const uint16_t share[] = {SSL_GROUP_X25519_MLKEM768};
    (void)SSL_set1_client_key_shares(side->ssl, share, 1); // else it keeps its own choice
}

void tls_stop(struct side *side)
{
    SSL_free(side->ssl);
    side->ssl = NULL;
    side->is_peeking = false;
    side->peeked_len = 0;
}

void tls_peek(struct side *side)
{
    side->is_peeking = true;
    side->peeked_len = 0;
}

void tls_keep(struct side *side)
{
    ring_pull(&side->in, side->peeked_len);
    side_settle(side, &side->in);
    side->is_peeking = false;
    side->peeked_len = 0;
}

// Translates what BoringSSL says after a call that returned `ret` <= 0.
static enum tls_result result_of(struct side *side, int ret)
{
    switch (SSL_get_error(side->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
    case SSL_ERROR_WANT_PRIVATE_KEY_OPERATION:
        return TLS_WAIT;
    case SSL_ERROR_PENDING_CERTIFICATE:
        return TLS_PAUSED;
    case SSL_ERROR_ZERO_RETURN:
        side->has_close_notify = true;
        return TLS_EOF;
    case SSL_ERROR_SYSCALL:
        return side->is_eof ? TLS_TRUNCATED : TLS_FAILED;
    default:
        return TLS_FAILED;
    }
}

enum tls_result tls_handshake(struct side *side)
{
    tls_begin_turn(side);
    clear_errors();
    int ret = SSL_do_handshake(side->ssl);
    return ret == 1 ? TLS_OK : result_of(side, ret);
}

enum tls_result tls_read(struct side *side, struct side *other, struct ring *to, size_t *out_len)
{
    *out_len = 0;
    while (ring_space(to) > 0) {
        if (!side_borrow(other, to)) {
            return TLS_WAIT;
        }
        size_t room;
        uint8_t *tail = ring_tail(to, &room);
        clear_errors();
        int ret = SSL_read(side->ssl, tail, (int)room);
        if (ret <= 0) {
            enum tls_result result = result_of(side, ret);
            side_settle(other, to);
            return *out_len > 0 && result == TLS_WAIT ? TLS_OK : result;
        }
        ring_push(to, (size_t)ret);
        *out_len += (size_t)ret;
        if (!tls_has_bytes(side)) {
            break; // asking BoringSSL again costs as much as a small record, to hear that it waits
        }
    }
    return TLS_OK;
}

// Puts a KeyUpdate before the next record if the key has sealed enough. A peer that counts how much
// it opens with one key, as Java does, has no reason then to ask for one again and again until ours
// has passed all that is on its way: BoringSSL takes no more than 32 KeyUpdates in a row.
static void renew_key(struct side *side)
{
    if (side->key_records != 0 && SSL_get_write_sequence(side->ssl) >= side->key_records) {
        (void)SSL_key_update(side->ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
    }
}

enum tls_result tls_write(struct side *side, struct ring *from, size_t *out_len)
{
    *out_len = 0;
    while (from->len > 0) {
        size_t len;
        const uint8_t *head = ring_head(from, &len);
        if (len > TLS_RECORD_MAX) {
            len = TLS_RECORD_MAX;
        }
        if (ring_space(&side->out) < len + SEAL_OVERHEAD + ALERT_ROOM) {
            side_flush(side); // it may be a piece, with a few bytes of TLS itself
            if (ring_space(&side->out) < len + SEAL_OVERHEAD + ALERT_ROOM) {
                return TLS_WAIT; // a whole record or none: small ones cost the same
            }
        }
        if (!side_borrow(side, &side->out)) {
            return TLS_WAIT;
        }
        clear_errors();
        renew_key(side);
        int ret = SSL_write(side->ssl, head, (int)len);
        if (ret <= 0) {
            return result_of(side, ret);
        }
        ring_pull(from, (size_t)ret);
        *out_len += (size_t)ret;
    }
    return TLS_OK;
}

bool tls_has_bytes(const struct side *side)
{
    return side->in.len > 0 || SSL_has_pending(side->ssl) ||
           (side->is_eof && !side->has_close_notify);
}

bool tls_close_notify(struct side *side)
{
    if (ring_space(&side->out) < SEAL_OVERHEAD) {
        return false;
    }
    clear_errors();
    // A result of 0 means that ours is sent and the peer's is not here yet. A second call would
    // take data that still comes for an error.
    (void)SSL_shutdown(side->ssl);
    return true;
}

bool tls_alert(struct side *side, enum tls_alert alert)
{
    if (!side->has_alert && alert != ALERT_NONE) {
        clear_errors();
        (void)SSL_send_fatal_alert(side->ssl, (uint8_t)alert);
    }
    return side->has_alert;
}

const char *tls_group(const struct side *side)
{
    uint16_t group = side->ssl == NULL ? 0 : SSL_get_group_id(side->ssl);
    return group == 0 ? NULL : SSL_get_group_name(group);
}

bool tls_is_post_quantum(const struct side *side)
{
    return SSL_get_group_id(side->ssl) == SSL_GROUP_X25519_MLKEM768;
}

static enum reason reason_of_alert(int alert, const char **out_detail)
{
    *out_detail = SSL_alert_desc_string_long(alert);
    switch (alert) {
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return REASON_ALPN_REFUSED;
    case SSL_AD_UNRECOGNIZED_NAME:
        *out_detail = "the server says that it was reached at another address than the one that "
                      "was called: something leads connections elsewhere, or translates the "
                      "address (see the destination's binding)";
        return REASON_MISDIRECTED;
    default:
        return REASON_PEER_ALERT;
    }
}

enum reason tls_reason(const char **out_detail)
{
    *out_detail = NULL;
    uint32_t error = ERR_peek_error();
    if (error == 0) {
        return REASON_PEER_CLOSED;
    }
    *out_detail = ERR_reason_error_string(error);
    int code = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    if (code >= SSL_AD_REASON_OFFSET) {
        return reason_of_alert(code - SSL_AD_REASON_OFFSET, out_detail);
    }
    switch (code) {
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return REASON_ALPN_REFUSED;
    case SSL_R_NO_SHARED_GROUP:
        return REASON_NO_SHARED_GROUP;
    case SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS:
        return REASON_NO_SHARED_SIGNATURE;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return REASON_NO_CERTIFICATE;
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return REASON_TLS_VERSION;
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return REASON_PLAINTEXT_ON_MTLS;
    case SSL_R_PRIVATE_KEY_OPERATION_FAILED:
        return REASON_SIGN_FAILED;
    default:
        return REASON_TLS_ERROR;
    }
}
