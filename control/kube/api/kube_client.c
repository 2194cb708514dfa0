// SPDX-License-Identifier: Apache-2.0
#include "control/kube/api/kube_client.h"

#include <jansson.h>
#include <malloc.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/must.h"
#include "certs/tls/named_server.h"
#include "control/kube/api/kube_client_impl.h"
#include "control/kube/api/kube_exchange.h"

#define ROOTS_MAX 64

// One connection. It frees itself after on_closed.
struct kube_conn {
    struct list link;           // in the client's conns
    struct kube_client *client; // borrowed; NULL: it was closed
    struct h2_conn *h2;
    bool is_leaving;
};

static void on_going_away(void *owner, struct h2_conn *h2, const char *why)
{
    struct kube_conn *conn = owner;
    char quoted[512];
    if (!h2_conn_is_lost(h2)) {
        conn->is_leaving = true;
        conn->client->stats.num_goaways++;
    }
    if (conn->client->current == conn) {
        conn->client->current = NULL;
    }
    log_debug("msg=\"API server's connection takes no more streams\" why=%s",
              log_quote(quoted, sizeof quoted, why));
}

static void on_closed(void *owner, struct h2_conn *h2, const char *why)
{
    struct kube_conn *conn = owner;
    (void)h2;
    (void)why;
    if (conn->client != NULL) {
        list_remove(&conn->link);
        conn->client->stats.num_losses += !conn->is_leaving;
        if (conn->client->current == conn) {
            conn->client->current = NULL;
        }
    }
    free(conn);
}

static const struct h2_conn_hooks conn_hooks = {.on_going_away = on_going_away,
                                                .on_closed = on_closed};

// Makes the TLS context of the CA's file, unless it is made of these bytes already. A file that
// can't be used leaves the context as it is, if there is one.
static bool load_ca(struct kube_client *client, struct err *err)
{
    struct file ca = {0};
    struct der_list roots = {0};
    const char *path = client->config.ca_file;
    if (!file_read(&ca, path, KUBE_CA_BYTES_MAX, FILE_ANY, err)) {
        file_cleanup(&ca);
        return err_prefix(err, "%s", path);
    }
    if (client->ssl_ctx != NULL && ca.len == client->ca.len &&
        memcmp(ca.bytes, client->ca.bytes, ca.len) == 0) {
        file_cleanup(&ca);
        return true;
    }
    SSL_CTX *ctx = NULL;
    if (der_list_from_pem(&roots, "CERTIFICATE", ca.bytes, ca.len, ROOTS_MAX, path, err)) {
        ctx = named_server_context(&roots, client->config.host, err);
    }
    der_list_cleanup(&roots);
    if (ctx == NULL) {
        file_cleanup(&ca);
        return false;
    }
    file_cleanup(&client->ca);
    SSL_CTX_free(client->ssl_ctx);
    client->ca = ca;
    client->ssl_ctx = ctx;
    return true;
}

static struct h2_conn *connect_new(struct kube_client *client, struct err *err)
{
    struct host_port host = {.port = client->config.port};
    struct h2_target target = {.addr.port = client->config.port};
    struct kube_conn *conn = must_alloc(1, sizeof *conn);
    struct h2_conn_config config = {.loop = client->loop,
                                    .limits = h2_limits_default(),
                                    .bites = client->bites,
                                    .hooks = &conn_hooks,
                                    .owner = conn};
    if (!ip_parse(&target.addr.ip, client->config.host, NULL)) {
        snprintf(host.name, sizeof host.name, "%s", client->config.host);
        target.host = &host;
    }
    config.limits.window_bytes = KUBE_WINDOW_BYTES;
    config.limits.open_ms = KUBE_OPEN_MS;
    config.limits.keepalive_ms = KUBE_KEEPALIVE_MS;
    config.limits.keepalive_answer_ms = KUBE_KEEPALIVE_ANSWER_MS;
    conn->client = client;
    named_server_forget(client->ssl_ctx);
    conn->h2 = h2_conn_connect(&config, &target, client->ssl_ctx,
                               named_server_sni(client->config.host), err);
    if (conn->h2 == NULL) {
        free(conn);
        return NULL;
    }
    client->stats.num_connections++;
    list_push(&client->conns, &conn->link);
    client->current = conn;
    return conn->h2;
}

struct h2_conn *kube_client_conn(struct kube_client *client, struct err *err)
{
    if (client->is_closed) {
        err_set(err, "the client was closed");
        return NULL;
    }
    if (client->current != NULL && h2_conn_takes_streams(client->current->h2)) {
        return client->current->h2;
    }
    client->current = NULL;
    return load_ca(client, err) ? connect_new(client, err) : NULL;
}

void kube_client_retire(struct kube_client *client)
{
    if (client->current != NULL) {
        h2_conn_disconnect(client->current->h2);
        client->current->is_leaving = true;
        client->current = NULL;
    }
}

static void free_wiped(void *memory)
{
    if (memory != NULL) {
        explicit_bzero(memory, malloc_usable_size(memory));
    }
    free(memory);
}

// What an API server says may be a secret: the key of a CA, and tokens, which it repeats.
static void wipe_json(void)
{
    json_set_alloc_funcs(malloc, free_wiped);
}

struct kube_client *kube_client_new(uv_loop_t *loop, const struct kube_config *config,
                                    struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, wipe_json);
    struct kube_client *client = must_alloc(1, sizeof *client);
    client->loop = loop;
    client->config = *config;
    list_init(&client->conns);
    list_init(&client->exchanges);
    list_init(&client->waiting);
    bool is_v6 = strchr(config->host, ':') != NULL;
    snprintf(client->authority, sizeof client->authority, is_v6 ? "[%s]:%u" : "%s:%u", config->host,
             config->port);
    if (!load_ca(client, err)) {
        kube_client_close(client);
        return NULL;
    }
    return client;
}

void kube_client_close(struct kube_client *client)
{
    if (client == NULL) {
        return;
    }
    client->is_closed = true;
    kube_exchange_end_all(client, "the client was closed");
    kube_request_end_waiting(client, "the client was closed");
    while (!list_is_empty(&client->conns)) {
        struct kube_conn *conn = LIST_OF(list_pop(&client->conns), struct kube_conn, link);
        conn->client = NULL;
        h2_conn_abandon(conn->h2, kube_exchange_drop, NULL);
    }
    file_cleanup(&client->ca);
    SSL_CTX_free(client->ssl_ctx);
    free(client);
}

const struct kube_client_stats *kube_client_stats(const struct kube_client *client)
{
    return &client->stats;
}

uint32_t kube_client_random(void)
{
    uint32_t random = 0;
    RAND_bytes((uint8_t *)&random, sizeof random);
    return random;
}

uv_loop_t *kube_client_loop(const struct kube_client *client)
{
    return client->loop;
}
