// SPDX-License-Identifier: Apache-2.0
#include "net/http2/transport_impl.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"

// RFC 8446, section 5.1
#define RECORD_PLAINTEXT_MAX 16384
#define RECORD_HEADER_LEN    5
#define RECORD_HANDSHAKE     22

static int on_bio_read(BIO *bio, char *out, int len)
{
    struct transport *transport = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (transport->in_len == 0 || len <= 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t take = transport->in_len < (size_t)len ? transport->in_len : (size_t)len;
    memcpy(out, transport->in, take);
    transport->in += take;
    transport->in_len -= take;
    return (int)take;
}

static int on_bio_write(BIO *bio, const char *bytes, int len)
{
    BIO_clear_retry_flags(bio);
    struct transport *transport = BIO_get_data(bio);
    bytes_push(&transport->out, bytes, (size_t)len);
    return len;
}

static long on_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *method;

static void make_method(void)
{
    method = BIO_meth_new(BIO_TYPE_MEM, "transport");
    invariant(method != NULL && BIO_meth_set_read(method, on_bio_read) &&
              BIO_meth_set_write(method, on_bio_write) && BIO_meth_set_ctrl(method, on_bio_ctrl));
}

bool transport_tls_start(struct transport *transport, SSL_CTX *ctx, bool is_server,
                         const char *server_name, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    SSL *ssl = must_have(SSL_new(ctx));
    BIO *bio = must_have(BIO_new(method));
    BIO_set_data(bio, transport);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_shed_handshake_config(ssl, 1); // an idle connection keeps no configuration
    transport->ssl = ssl;
    transport->peer.ssl = ssl;
    if (is_server) {
        SSL_set_accept_state(ssl);
        return true;
    }
    SSL_set_connect_state(ssl);
    static const uint8_t h2[] = {2, 'h', '2'};
    if ((!transport->is_any_protocol && SSL_set_alpn_protos(ssl, h2, sizeof h2) != 0) ||
        (server_name != NULL && SSL_set_tlsext_host_name(ssl, server_name) != 1)) {
        return err_set(err, "the TLS server name can't be used");
    }
    return true;
}

void transport_tls_await(struct transport *transport, SSL_CTX *ctx)
{
    SSL_CTX_up_ref(ctx);
    transport->hello_ctx = ctx;
}

// Says how many bytes the first record has; 0: that can't be told yet. What is no handshake record,
// or too long for one, is left to TLS at once, which refuses it.
static size_t first_record_len(const struct bytes *hello)
{
    if (hello->len > 0 && hello->at[0] != RECORD_HANDSHAKE) {
        return 1;
    }
    if (hello->len < RECORD_HEADER_LEN) {
        return 0;
    }
    size_t len = (size_t)hello->at[3] << 8 | hello->at[4];
    return len > RECORD_PLAINTEXT_MAX ? 1 : RECORD_HEADER_LEN + len;
}

bool transport_tls_hello(struct transport *transport)
{
    struct bytes *hello = &transport->hello;
    struct err err = {{0}, {0}};
    // One read at most follows what makes a record whole, so this is bounded.
    bytes_push(hello, transport->in, transport->in_len);
    transport->in_len = 0;
    size_t len = first_record_len(hello);
    if (len == 0 || hello->len < len) {
        return false;
    }
    SSL_CTX *ctx = transport->hello_ctx;
    transport->hello_ctx = NULL;
    bool ok = transport_tls_start(transport, ctx, true, NULL, &err);
    SSL_CTX_free(ctx);
    if (!ok) {
        transport_end(transport, err.text);
        return false;
    }
    transport->in = hello->at;
    transport->in_len = hello->len;
    return true;
}

int transport_select_h2(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                        unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    for (unsigned at = 0; at < in_len; at += 1u + in[at]) {
        if (in[at] == 2 && in_len - at > 2 && memcmp(in + at + 1, "h2", 2) == 0) {
            *out = in + at + 1;
            *out_len = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// Ends the transport with what BoringSSL says after a call that returned `ret` <= 0, unless it only
// waits.
static void handle_failure(struct transport *transport, int ret, const char *doing)
{
    int error = SSL_get_error(transport->ssl, ret);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return;
    }
    if (error == SSL_ERROR_ZERO_RETURN) {
        transport_end(transport, "the peer closed the connection");
        return;
    }
    char why[256];
    uint32_t code = ERR_peek_last_error();
    const char *reason = code == 0 ? NULL : ERR_reason_error_string(code);
    snprintf(why, sizeof why, "TLS %s failed: %s", doing,
             reason != NULL ? reason : "the connection broke");
    ERR_clear_error();
    bytes_wipe(&transport->plain); // can't be sealed any more
    transport_flush(transport);    // the alert, which tells the peer why
    transport_end(transport, why);
}

// Returns whether the handshake is done.
static bool handshake(struct transport *transport)
{
    ERR_clear_error();
    int ret = SSL_do_handshake(transport->ssl);
    if (ret != 1) {
        handle_failure(transport, ret, "handshake");
        return false;
    }
    const uint8_t *alpn = NULL;
    unsigned alpn_len = 0;
    SSL_get0_alpn_selected(transport->ssl, &alpn, &alpn_len);
    bool is_h2 = alpn_len == 2 && memcmp(alpn, "h2", 2) == 0;
    if (!is_h2 && !transport->is_any_protocol) {
        transport_end(transport, "the peer doesn't speak HTTP/2 (no ALPN h2)");
        return false;
    }
    transport->is_open = true;
    transport->hooks->on_open(transport->ctx);
    return !transport->is_closing && !transport->is_ended;
}

void transport_tls_step(struct transport *transport)
{
    static _Thread_local uint8_t plain[RECORD_PLAINTEXT_MAX];
    if (transport->is_open || handshake(transport)) {
        while (!transport->is_closing && !transport->is_ended) {
            ERR_clear_error();
            int ret = SSL_read(transport->ssl, plain, sizeof plain);
            if (ret <= 0) {
                handle_failure(transport, ret, "reading");
                break;
            }
            transport->hooks->on_bytes(transport->ctx, plain, (size_t)ret);
            explicit_bzero(plain, (size_t)ret);
        }
    }
    if (!transport->is_closing) {
        transport_flush(transport); // what the handshake, or an answer to a KeyUpdate, has written
    }
}

bool transport_tls_seal(struct transport *transport)
{
    struct bytes *plain = &transport->plain;
    for (size_t at = 0; at < plain->len;) {
        size_t part =
            plain->len - at < RECORD_PLAINTEXT_MAX ? plain->len - at : RECORD_PLAINTEXT_MAX;
        ERR_clear_error();
        int ret = SSL_write(transport->ssl, plain->at + at, (int)part);
        if (ret <= 0) {
            transport_end(transport, "TLS can't write");
            return false;
        }
        at += (size_t)ret;
    }
    bytes_wipe(plain); // an idle connection holds no memory, and what it held may be a secret
    return true;
}
