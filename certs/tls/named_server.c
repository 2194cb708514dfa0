// SPDX-License-Identifier: Apache-2.0
#include "certs/tls/named_server.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/log.h"
#include "base/must.h"
#include "certs/tls/context.h"

#define NAME_BYTES 254 // of a DNS name, with its NUL

// What a context knows of its server, kept as its extra data and freed with it.
struct named_server {
    X509_STORE *roots; // owned
    char name[NAME_BYTES];
    bool is_ip;
    char failure[400];
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int place; // of the extra data

static void on_free(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long argl, void *argp)
{
    (void)parent;
    (void)data;
    (void)index;
    (void)argl;
    (void)argp;
    struct named_server *server = ptr;
    if (server != NULL) {
        X509_STORE_free(server->roots);
        free(server);
    }
}

static void make_place(void)
{
    place = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_free);
    invariant(place >= 0);
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

// Returns X509_V_OK, or what is wrong.
static int verify(const struct named_server *server, X509 *leaf, STACK_OF(X509) * rest)
{
    X509_STORE_CTX *ctx = must_have(X509_STORE_CTX_new());
    int result = X509_V_ERR_UNSPECIFIED;
    if (X509_STORE_CTX_init(ctx, server->roots, leaf, rest) &&
        X509_STORE_CTX_set_default(ctx, "ssl_server")) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
        int is_set = server->is_ip
                         ? X509_VERIFY_PARAM_set1_ip_asc(param, server->name)
                         : X509_VERIFY_PARAM_set1_host(param, server->name, strlen(server->name));
        if (is_set) {
            int ok = X509_verify_cert(ctx);
            int error = X509_STORE_CTX_get_error(ctx);
            result = ok == 1 ? X509_V_OK : error != X509_V_OK ? error : X509_V_ERR_UNSPECIFIED;
        }
    }
    X509_STORE_CTX_free(ctx);
    ERR_clear_error();
    return result;
}

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    struct named_server *server = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), place);
    const STACK_OF(CRYPTO_BUFFER) *sent = SSL_get0_peer_certificates(ssl);
    X509 *leaf = sent == NULL || sk_CRYPTO_BUFFER_num(sent) == 0
                     ? NULL
                     : X509_parse_from_buffer(sk_CRYPTO_BUFFER_value(sent, 0));
    STACK_OF(X509) *rest = leaf == NULL ? NULL : parse_rest(sent);
    *out_alert = SSL_AD_BAD_CERTIFICATE;
    server->failure[0] = '\0';
    if (rest == NULL) {
        snprintf(server->failure, sizeof server->failure,
                 "the server's certificates can't be parsed");
    } else {
        int result = verify(server, leaf, rest);
        if (result != X509_V_OK) {
            *out_alert = (uint8_t)SSL_alert_from_verify_result(result);
            snprintf(server->failure, sizeof server->failure,
                     "the server's certificate doesn't prove %s: %s", server->name,
                     X509_verify_cert_error_string(result));
        }
    }
    X509_free(leaf);
    sk_X509_pop_free(rest, X509_free);
    ERR_clear_error();
    return server->failure[0] == '\0' ? ssl_verify_ok : ssl_verify_invalid;
}

static bool add_roots(X509_STORE *store, const struct der_list *roots, struct err *err)
{
    for (size_t i = 0; i < roots->num; i++) {
        const uint8_t *at = roots->items[i];
        X509 *root = d2i_X509(NULL, &at, (long)roots->lens[i]);
        bool ok = root != NULL && X509_STORE_add_cert(store, root);
        X509_free(root);
        ERR_clear_error();
        if (!ok) {
            return err_set(err, "root %zu is not a certificate that can be used", i);
        }
    }
    return roots->num > 0 || err_set(err, "there is no root to prove the server by");
}

static bool is_dns_name(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len < NAME_BYTES &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == len;
}

static bool is_ip(const char *name)
{
    struct ip ip;
    return ip_parse(&ip, name, NULL);
}

const char *named_server_sni(const char *name)
{
    return is_ip(name) ? NULL : name;
}

SSL_CTX *named_server_context(const struct der_list *roots, const char *name, struct err *err)
{
    const struct context_options options = {.role = CONTEXT_CLIENT,
                                            .hooks = {.on_verify = on_verify}};
    if (!is_ip(name) && !is_dns_name(name)) {
        err_set(err, "%s is neither a DNS name nor an IP address", name);
        return NULL;
    }
    struct named_server *server = must_alloc(1, sizeof *server);
    server->roots = must_have(X509_STORE_new());
    server->is_ip = is_ip(name);
    snprintf(server->name, sizeof server->name, "%s", name);
    pthread_once(&once, make_place);
    SSL_CTX *ctx = add_roots(server->roots, roots, err) ? context_new(&options, err) : NULL;
    if (ctx == NULL) {
        X509_STORE_free(server->roots);
        free(server);
        return NULL;
    }
    must_have(SSL_CTX_set_ex_data(ctx, place, server) == 1 ? ctx : NULL);
    return ctx;
}

const char *named_server_failure(const SSL_CTX *ctx)
{
    const struct named_server *server = SSL_CTX_get_ex_data(ctx, place);
    return server->failure;
}

void named_server_forget(SSL_CTX *ctx)
{
    struct named_server *server = SSL_CTX_get_ex_data(ctx, place);
    server->failure[0] = '\0';
}
