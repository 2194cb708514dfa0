// SPDX-License-Identifier: Apache-2.0
#include "control/policyd/stream/tls.h"

#include <openssl/err.h>
#include <openssl/pool.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "certs/ca/ca_store.h"
#include "certs/context.h"

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    (void)ssl;
    (void)out_alert;
    return ssl_verify_ok; // decided at admission
}

// context_pair_init wants a way to sign; the key takes its place at once.
static enum ssl_private_key_result_t no_sign(SSL *ssl, uint8_t *out, size_t *out_len, size_t max,
                                             uint16_t algorithm, const uint8_t *in, size_t in_len)
{
    (void)ssl, (void)out, (void)out_len, (void)max, (void)algorithm, (void)in, (void)in_len;
    return ssl_private_key_failure;
}

static enum ssl_private_key_result_t no_complete(SSL *ssl, uint8_t *out, size_t *out_len,
                                                 size_t max)
{
    (void)ssl, (void)out, (void)out_len, (void)max;
    return ssl_private_key_failure;
}

static const SSL_PRIVATE_KEY_METHOD no_method = {.sign = no_sign, .complete = no_complete};

// The mesh's own settings, but for the client's certificate, which is optional here.
static SSL_CTX *context_of(const struct signed_chain *chain, EVP_PKEY *key, struct err *err)
{
    struct context_pair pair = {.server = NULL};
    struct context_hooks hooks = {.key_method = &no_method, .on_verify = on_verify};
    ProtobufCBinaryData der[STORE_CHAIN_MAX + 1];
    CRYPTO_BUFFER *buffers[STORE_CHAIN_MAX + 1] = {NULL};
    Tabard__V1__Identity identity = TABARD__V1__IDENTITY__INIT;
    SSL_CTX *ctx = NULL;
    bool ok = true;
    for (size_t i = 0; i < chain->num_certs; i++) {
        der[i] = (ProtobufCBinaryData){.data = chain->certs[i], .len = chain->lens[i]};
        buffers[i] = CRYPTO_BUFFER_new(chain->certs[i], chain->lens[i], NULL);
        ok = ok && buffers[i] != NULL;
    }
    identity.chain = der;
    identity.n_chain = chain->num_certs;
    ok = ok && context_pair_init(&pair, &identity, &hooks, err);
    if (ok && SSL_CTX_set_chain_and_key(pair.server, buffers, chain->num_certs, key, NULL) == 1) {
        SSL_CTX_set_custom_verify(pair.server, SSL_VERIFY_PEER, on_verify);
        ctx = pair.server;
        SSL_CTX_up_ref(ctx);
    } else if (ok) {
        err_set(err, "the own certificate was not taken");
    }
    for (size_t i = 0; i <= STORE_CHAIN_MAX; i++) {
        CRYPTO_BUFFER_free(buffers[i]);
    }
    context_pair_cleanup(&pair);
    ERR_clear_error();
    return ctx;
}

SSL_CTX *tls_context(const char *ca_dir, const char *trust_domain, time_t now, struct err *err)
{
    char id[SPIFFE_ID_LEN_MAX + 1];
    struct ca_store store = {.dir = NULL};
    struct signed_chain chain = {.num_certs = 0};
    SSL_CTX *ctx = NULL;
    snprintf(id, sizeof id, "spiffe://%s" TLS_OWN_PATH, trust_domain);
    char own_dns[] = TLS_OWN_DNS;
    char *dns_names[] = {own_dns};
    const struct issue_request request = {
        .spiffe_id = id, .dns_names = dns_names, .num_dns_names = 1, .seconds = TLS_OWN_SECONDS};
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, err);
    if (key != NULL && ca_store_open(&store, ca_dir, err) &&
        sign_key(&chain, &store, key, &request, now, err)) {
        ctx = context_of(&chain, key, err);
    }
    signed_chain_cleanup(&chain);
    ca_store_close(&store);
    EVP_PKEY_free(key);
    return ctx;
}

static const STACK_OF(CRYPTO_BUFFER) * chain_of(const struct grpc_peer *peer)
{
    return peer->ssl == NULL ? NULL : SSL_get0_peer_certificates(peer->ssl);
}

bool tls_has_certificate(const struct grpc_peer *peer)
{
    const STACK_OF(CRYPTO_BUFFER) *chain = chain_of(peer);
    return chain != NULL && sk_CRYPTO_BUFFER_num(chain) > 0;
}

static bool read_serial(const CRYPTO_BUFFER *leaf, uint8_t out[ISSUE_SERIAL_MAX], size_t *out_len)
{
    const uint8_t *at = CRYPTO_BUFFER_data(leaf);
    X509 *cert = d2i_X509(NULL, &at, (long)CRYPTO_BUFFER_len(leaf));
    const ASN1_INTEGER *serial = cert == NULL ? NULL : X509_get0_serialNumber(cert);
    size_t len = serial == NULL ? 0 : (size_t)ASN1_STRING_length(serial);
    bool ok = serial != NULL && len <= ISSUE_SERIAL_MAX;
    if (ok) {
        memcpy(out, ASN1_STRING_get0_data(serial), len);
        *out_len = len;
    }
    X509_free(cert);
    ERR_clear_error();
    return ok;
}

bool tls_peer(struct verified_peer *out, uint8_t out_serial[ISSUE_SERIAL_MAX],
              size_t *out_serial_len, const struct grpc_peer *peer,
              const struct trust_bundles *bundles, time_t now, struct err *err)
{
    const STACK_OF(CRYPTO_BUFFER) *chain = chain_of(peer);
    const CRYPTO_BUFFER *certs[VERIFY_CHAIN_MAX + 1];
    size_t num = chain == NULL ? 0 : sk_CRYPTO_BUFFER_num(chain);
    *out_serial_len = 0;
    for (size_t i = 0; i < num && i <= VERIFY_CHAIN_MAX; i++) {
        certs[i] = sk_CRYPTO_BUFFER_value(chain, i);
    }
    num = num > VERIFY_CHAIN_MAX ? VERIFY_CHAIN_MAX + 1 : num;
    enum verify_failure failure = verify_peer(out, certs, num, bundles, now, err);
    if (failure != VERIFY_OK) {
        return err_prefix(err, "%s", verify_failure_text(failure));
    }
    return read_serial(certs[0], out_serial, out_serial_len) ||
           err_set(err, "the certificate's serial number can't be read");
}
