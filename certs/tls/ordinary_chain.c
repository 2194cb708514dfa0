// SPDX-License-Identifier: Apache-2.0
#include "certs/tls/ordinary_chain.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "base/must.h"

X509_STORE *ordinary_roots(const struct der_list *roots, struct err *err)
{
    X509_STORE *store = must_have(X509_STORE_new());
    bool ok = roots->num > 0 || err_set(err, "there is no root to prove the peer by");
    for (size_t i = 0; ok && i < roots->num; i++) {
        const uint8_t *at = roots->items[i];
        X509 *root = d2i_X509(NULL, &at, (long)roots->lens[i]);
        ok = (root != NULL && X509_STORE_add_cert(store, root)) ||
             err_set(err, "root %zu is not a certificate that can be used", i);
        X509_free(root);
        ERR_clear_error();
    }
    if (!ok) {
        X509_STORE_free(store);
        return NULL;
    }
    return store;
}

// Returns the certificates behind the leaf, NULL if one of them can't be parsed.
static STACK_OF(X509) * parse_rest(const STACK_OF(CRYPTO_BUFFER) * sent)
{
    STACK_OF(X509) *rest = must_have(sk_X509_new_null());
    for (size_t i = 1; i < sk_CRYPTO_BUFFER_num(sent); i++) {
        X509 *cert = X509_parse_from_buffer(sk_CRYPTO_BUFFER_value(sent, i));
        if (cert == NULL) {
            sk_X509_pop_free(rest, X509_free);
            return NULL;
        }
        must_have(sk_X509_push(rest, cert) > 0 ? rest : NULL);
    }
    return rest;
}

static bool set_name(X509_VERIFY_PARAM *param, const struct ordinary_peer *peer)
{
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return peer->is_client ||
           (peer->is_ip ? X509_VERIFY_PARAM_set1_ip_asc(param, peer->name)
                        : X509_VERIFY_PARAM_set1_host(param, peer->name, strlen(peer->name)));
}

// Returns X509_V_OK, or what is wrong.
static int verify(X509_STORE *roots, const struct ordinary_peer *peer, X509 *leaf,
                  STACK_OF(X509) * rest)
{
    X509_STORE_CTX *ctx = must_have(X509_STORE_CTX_new());
    int result = X509_V_ERR_UNSPECIFIED;
    if (X509_STORE_CTX_init(ctx, roots, leaf, rest) &&
        X509_STORE_CTX_set_default(ctx, peer->is_client ? "ssl_client" : "ssl_server")) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
        if (set_name(param, peer)) {
            int ok = X509_verify_cert(ctx);
            int error = X509_STORE_CTX_get_error(ctx);
            result = ok == 1 ? X509_V_OK : error != X509_V_OK ? error : X509_V_ERR_UNSPECIFIED;
        }
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return result;
}

const char *ordinary_chain_verify(X509_STORE *roots, const STACK_OF(CRYPTO_BUFFER) * sent,
                                  const struct ordinary_peer *peer, uint8_t *out_alert)
{
    const char *failure = NULL;
    X509 *leaf = sent == NULL || sk_CRYPTO_BUFFER_num(sent) == 0
                     ? NULL
                     : X509_parse_from_buffer(sk_CRYPTO_BUFFER_value(sent, 0));
    STACK_OF(X509) *rest = leaf == NULL ? NULL : parse_rest(sent);
    *out_alert = SSL_AD_BAD_CERTIFICATE;
    if (rest == NULL) {
        failure = "its certificates can't be parsed";
    } else {
        int result = verify(roots, peer, leaf, rest);
        if (result != X509_V_OK) {
            *out_alert = (uint8_t)SSL_alert_from_verify_result(result);
            failure = X509_verify_cert_error_string(result);
        }
    }
    X509_free(leaf);
    sk_X509_pop_free(rest, X509_free);
    ERR_clear_error();
    return failure;
}
