// SPDX-License-Identifier: Apache-2.0
#include "control/kube/api/kube_exchange.h"

#include <openssl/mem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/data/bytes.h"
#include "base/digits.h"
#include "base/must.h"
#include "base/version.h"
#include "certs/tls/named_server.h"
#include "control/kube/api/kube_client_impl.h"

#define RETRY_AFTER_S_MAX 86400

struct kube_exchange {
    struct h2_stream stream;    // first
    struct list link;           // in the client's exchanges; not linked: cancelled or over
    struct kube_client *client; // borrowed while linked
    const struct kube_exchange_hooks *hooks; // borrowed
    void *ctx;                               // borrowed
    const char *method;                      // borrowed: a constant
    char *path;                              // owned, with the next two
    char *content_type;
    char *body;
    size_t body_len;
    size_t body_sent;
    struct bytes in; // came and was not handed over
    uint32_t retry_after_s;
    bool is_whole; // END_STREAM came
    bool is_unseen;
    bool is_released;
    char why[512];
};

static struct kube_exchange *exchange_of(const struct h2_stream *stream)
{
    return LIST_OF(stream, struct kube_exchange, stream);
}

static void free_exchange(struct kube_exchange *exchange)
{
    list_remove(&exchange->link);
    bytes_wipe(&exchange->in);
    free(exchange->path);
    free(exchange->content_type);
    if (exchange->body != NULL) {
        OPENSSL_cleanse(exchange->body, exchange->body_len); // it may hold a secret
    }
    free(exchange->body);
    free(exchange);
}

static void on_header(struct h2_stream *stream, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    uint64_t seconds = 0;
    if (name_len == 11 && memcmp(name, "retry-after", 11) == 0 &&
        digits_read(&seconds, value, value_len, DIGITS_TAKE_ZEROS, RETRY_AFTER_S_MAX)) {
        exchange_of(stream)->retry_after_s = (uint32_t)seconds;
    }
}

static void on_headers(struct h2_stream *stream, bool is_trailers)
{
    (void)stream;
    (void)is_trailers;
}

// What comes is held until the turn: at most a stream's window.
static void on_data(struct h2_stream *stream, const uint8_t *bytes, size_t len)
{
    struct kube_exchange *exchange = exchange_of(stream);
    bytes_push(&exchange->in, bytes, len);
    h2_stream_wake(stream);
}

static void on_end(struct h2_stream *stream)
{
    exchange_of(stream)->is_whole = true;
}

static void on_close(struct h2_stream *stream, const struct h2_close *close)
{
    struct kube_exchange *exchange = exchange_of(stream);
    const char *failure = named_server_failure(exchange->client->ssl_ctx);
    bool is_refused = close->kind == H2_CLOSE_CONN && close->is_unprocessed && failure[0] != '\0';
    snprintf(exchange->why, sizeof exchange->why, "%s", is_refused ? failure : close->why);
    exchange->is_unseen = close->is_unprocessed;
    h2_stream_wake(stream);
}

static size_t waiting(const struct h2_stream *stream)
{
    const struct kube_exchange *exchange = exchange_of(stream);
    return exchange->body_len - exchange->body_sent;
}

static void on_take(struct h2_stream *stream, size_t len)
{
    struct kube_exchange *exchange = exchange_of(stream);
    h2_stream_write(stream, (const uint8_t *)exchange->body + exchange->body_sent, len);
    exchange->body_sent += len;
}

static void tell_end(struct kube_exchange *exchange)
{
    const struct kube_end end = {.status = exchange->stream.status,
                                 .retry_after_s = exchange->retry_after_s,
                                 .is_whole = exchange->is_whole,
                                 .is_unseen = exchange->is_unseen,
                                 .why = exchange->why};
    list_remove(&exchange->link);
    exchange->hooks->on_end(exchange->ctx, &end);
}

// Once: a hook may have closed the client, which drops every stream.
static void release(struct kube_exchange *exchange)
{
    if (!exchange->is_released) {
        exchange->is_released = true;
        h2_stream_release(&exchange->stream);
    }
}

static void on_turn(struct h2_stream *stream)
{
    struct kube_exchange *exchange = exchange_of(stream);
    if (exchange->in.len > 0 && list_is_linked(&exchange->link)) {
        struct bytes in = exchange->in;
        exchange->in = (struct bytes){0};
        h2_stream_consume(stream, in.len);
        exchange->hooks->on_bytes(exchange->ctx, stream->status, in.at, in.len);
        bytes_wipe(&in);
    }
    if (stream->receiving == H2_RECEIVING_GONE) {
        if (list_is_linked(&exchange->link)) {
            tell_end(exchange);
        }
        release(exchange);
    }
}

static void on_release(struct h2_stream *stream)
{
    free_exchange(exchange_of(stream));
}

static const struct h2_stream_hooks stream_hooks = {.on_header = on_header,
                                                    .on_headers = on_headers,
                                                    .on_data = on_data,
                                                    .on_end = on_end,
                                                    .on_close = on_close,
                                                    .waiting = waiting,
                                                    .on_take = on_take,
                                                    .on_turn = on_turn,
                                                    .on_release = on_release};

// Reads "Bearer TOKEN" anew: the kubelet replaces a token before it expires.
static bool read_authorization(char **out, const struct kube_client *client, struct err *err)
{
    struct file token = {0};
    const char *path = client->config.token_file;
    if (!file_read(&token, path, KUBE_TOKEN_BYTES_MAX, FILE_ANY, err)) {
        file_cleanup(&token);
        return err_prefix(err, "%s", path);
    }
    size_t len = strcspn(token.bytes, " \t\r\n");
    bool ok = len > 0 && strspn(token.bytes, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789-._~+/=") == len;
    if (ok) {
        size_t size = len + sizeof "Bearer ";
        *out = must_alloc(1, size);
        snprintf(*out, size, "Bearer %.*s", (int)len, token.bytes);
    }
    file_cleanup(&token);
    return ok || err_set(err, "%s: there is no token (RFC 6750) in it", path);
}

static bool open_stream(struct kube_exchange *exchange, struct h2_conn *conn, struct err *err)
{
    char *authorization = NULL;
    if (!read_authorization(&authorization, exchange->client, err)) {
        return false;
    }
    const struct h2_header headers[] = {{":method", exchange->method},
                                        {":scheme", "https"},
                                        {":authority", exchange->client->authority},
                                        {":path", exchange->path},
                                        {"authorization", authorization},
                                        {"accept", "application/json"},
                                        {"content-type", exchange->content_type},
                                        {"user-agent", "tabard/" TABARD_VERSION}};
    bool ok = h2_stream_request(&exchange->stream, conn, headers, sizeof headers / sizeof *headers);
    OPENSSL_cleanse(authorization, strlen(authorization));
    free(authorization);
    if (!ok) {
        kube_client_retire(exchange->client);
        return err_set(err, "the connection has no stream numbers left");
    }
    h2_stream_finish(&exchange->stream);
    return true;
}

struct kube_exchange *kube_exchange_start(struct kube_client *client,
                                          const struct kube_exchange_start *start, struct err *err)
{
    struct kube_exchange *exchange = must_alloc(1, sizeof *exchange);
    exchange->stream.hooks = &stream_hooks;
    exchange->client = client;
    exchange->hooks = start->hooks;
    exchange->ctx = start->ctx;
    exchange->method = start->method;
    exchange->path = must_strdup(start->path);
    exchange->content_type = start->content_type == NULL ? NULL : must_strdup(start->content_type);
    exchange->body = start->body;
    exchange->body_len = start->body == NULL ? 0 : strlen(start->body);
    struct h2_conn *conn = kube_client_conn(client, err);
    if (conn == NULL || !open_stream(exchange, conn, err)) {
        free_exchange(exchange);
        return NULL;
    }
    list_push(&client->exchanges, &exchange->link);
    return exchange;
}

void kube_exchange_cancel(struct kube_exchange *exchange)
{
    list_remove(&exchange->link);
    h2_stream_leave(&exchange->stream, H2_CANCEL);
    h2_stream_wake(&exchange->stream);
}

void kube_exchange_end_all(struct kube_client *client, const char *why)
{
    while (!list_is_empty(&client->exchanges)) {
        struct kube_exchange *exchange =
            LIST_OF(client->exchanges.next, struct kube_exchange, link);
        snprintf(exchange->why, sizeof exchange->why, "%s", why);
        tell_end(exchange);
    }
}

void kube_exchange_drop(struct h2_stream *stream, void *ctx)
{
    (void)ctx;
    release(exchange_of(stream));
}
