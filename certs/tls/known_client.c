// SPDX-License-Identifier: Apache-2.0
#include "certs/tls/known_client.h"

#include <openssl/ssl.h>
#include <pthread.h>

#include "base/log.h"
#include "base/must.h"
#include "certs/tls/ordinary_chain.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int place; // of the roots, a context's extra data

static void on_free(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
    (void)parent;
    (void)data;
    (void)index;
    (void)argl;
    (void)argp;
    X509_STORE_free(ptr);
}

static void make_place(void)
{
    place = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_free);
    invariant(place >= 0);
}

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    X509_STORE *roots = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), place);
    const struct ordinary_peer peer = {.is_client = true};
    return ordinary_chain_verify(roots, SSL_get0_peer_certificates(ssl), &peer, out_alert) == NULL
               ? ssl_verify_ok
               : ssl_verify_invalid;
}

bool known_client_demand(SSL_CTX *ctx, const struct der_list *roots, struct err *err)
{
    X509_STORE *store = ordinary_roots(roots, err);
    if (store == NULL) {
        return false;
    }
    pthread_once(&once, make_place);
    must_have(SSL_CTX_set_ex_data(ctx, place, store) == 1 ? ctx : NULL);
    SSL_CTX_set_custom_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
    return true;
}
