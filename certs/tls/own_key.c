// SPDX-License-Identifier: Apache-2.0
#include "certs/tls/own_key.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <pthread.h>

#include "base/log.h"
#include "base/must.h"
#include "base/secret/secret.h"

static int key_index; // of an SSL_CTX's key

static void on_ctx_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int index, long argl,
                        void *argp)
{
    (void)parent;
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    EVP_PKEY_free(ptr);
}

static void make_index(void)
{
    key_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_ctx_free);
    invariant(key_index >= 0);
}

static bool sign(EVP_PKEY *key, uint16_t algorithm, uint8_t *out, size_t *out_len,
                 const uint8_t *in, size_t in_len)
{
    EVP_MD_CTX ctx;
    EVP_PKEY_CTX *pkey_ctx = NULL; // borrowed from ctx
    EVP_MD_CTX_init(&ctx);
    bool ok = EVP_DigestSignInit(&ctx, &pkey_ctx, SSL_get_signature_algorithm_digest(algorithm),
                                 NULL, key) == 1;
    if (ok && SSL_is_signature_algorithm_rsa_pss(algorithm)) {
        ok = EVP_PKEY_CTX_set_rsa_padding(pkey_ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(pkey_ctx, -1) == 1; // as long as the digest
    }
    ok = ok && EVP_DigestSign(&ctx, out, out_len, in, in_len) == 1;
    EVP_MD_CTX_cleanup(&ctx);
    return ok;
}

static enum ssl_private_key_result_t on_sign(SSL *ssl, uint8_t *out, size_t *out_len,
                                             size_t max_out, uint16_t algorithm, const uint8_t *in,
                                             size_t in_len)
{
    EVP_PKEY *key = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), key_index);
    *out_len = max_out;
    secret_begin();
    bool ok = EVP_PKEY_id(key) == SSL_get_signature_algorithm_key_type(algorithm) &&
              sign(key, algorithm, out, out_len, in, in_len);
    secret_end();
    return ok ? ssl_private_key_success : ssl_private_key_failure;
}

// on_sign answers at once, so nothing is completed later; TLS 1.3 has no RSA key exchange to
// decrypt.
static const SSL_PRIVATE_KEY_METHOD method = {.sign = on_sign};

const SSL_PRIVATE_KEY_METHOD *own_key_set(SSL_CTX *ctx, EVP_PKEY *key)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_index);
    EVP_PKEY_up_ref(key);
    must_have(SSL_CTX_set_ex_data(ctx, key_index, key) == 1 ? key : NULL);
    return &method;
}
