// SPDX-License-Identifier: Apache-2.0
#include "certs/tls/own_key.h"

#include <openssl/evp.h>
#include <pthread.h>

#include "base/log.h"
#include "base/must.h"
#include "certs/key.h"

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

static enum ssl_private_key_result_t on_sign(SSL *ssl, uint8_t *out, size_t *out_len,
                                             size_t max_out, uint16_t algorithm, const uint8_t *in,
                                             size_t in_len)
{
    EVP_PKEY *key = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), key_index);
    *out_len = max_out;
    return key_sign(key, algorithm, in, in_len, out, out_len) == KEY_SIGNED
               ? ssl_private_key_success
               : ssl_private_key_failure;
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
