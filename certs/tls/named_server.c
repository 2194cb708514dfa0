// SPDX-License-Identifier: Apache-2.0
#include "certs/tls/named_server.h"

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/log.h"
#include "base/must.h"
#include "certs/tls/context.h"
#include "certs/tls/ordinary_chain.h"

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

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    struct named_server *server = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), place);
    const struct ordinary_peer peer = {.name = server->name, .is_ip = server->is_ip};
    const char *failure =
        ordinary_chain_verify(server->roots, SSL_get0_peer_certificates(ssl), &peer, out_alert);
    server->failure[0] = '\0';
    if (failure != NULL) {
        snprintf(server->failure, sizeof server->failure,
                 "the server's certificate doesn't prove %s: %s", server->name, failure);
    }
    return failure == NULL ? ssl_verify_ok : ssl_verify_invalid;
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
    X509_STORE *store = ordinary_roots(roots, err);
    if (store == NULL) {
        return NULL;
    }
    struct named_server *server = must_alloc(1, sizeof *server);
    server->roots = store;
    server->is_ip = is_ip(name);
    snprintf(server->name, sizeof server->name, "%s", name);
    pthread_once(&once, make_place);
    SSL_CTX *ctx = context_new(&options, err);
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
