// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/control/kube/api/fake_api.h"

#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "certs/ca/mint.h"
#include "tests/unit/support/temp.h"

static struct fake_call *call_of(const struct h2_stream *stream)
{
    return LIST_OF(stream, struct fake_call, stream);
}

static void keep(char *out, size_t size, const char *value, size_t len)
{
    snprintf(out, size, "%.*s", (int)len, value);
}

static void on_header(struct h2_stream *stream, const char *name, size_t name_len,
                      const char *value, size_t value_len)
{
    struct fake_call *call = call_of(stream);
    const struct {
        const char *name;
        char *out;
        size_t size;
    } kept[] = {{":method", call->method, sizeof call->method},
                {":path", call->path, sizeof call->path},
                {"authorization", call->authorization, sizeof call->authorization},
                {"content-type", call->content_type, sizeof call->content_type}};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        if (name_len == strlen(kept[i].name) && memcmp(name, kept[i].name, name_len) == 0) {
            keep(kept[i].out, kept[i].size, value, value_len);
        }
    }
}

static void on_headers(struct h2_stream *stream, bool is_trailers)
{
    (void)stream;
    (void)is_trailers;
}

static void on_data(struct h2_stream *stream, const uint8_t *bytes, size_t len)
{
    struct fake_call *call = call_of(stream);
    cr_assert_lt(call->body_len + len, sizeof call->body);
    memcpy(call->body + call->body_len, bytes, len);
    call->body_len += len;
    h2_stream_consume(stream, len);
}

static void on_end(struct h2_stream *stream)
{
    h2_stream_wake(stream);
}

static void on_close(struct h2_stream *stream, const struct h2_close *close)
{
    (void)close;
    call_of(stream)->is_gone = true;
    h2_stream_wake(stream);
}

static size_t waiting(const struct h2_stream *stream)
{
    return call_of(stream)->out.len - call_of(stream)->sent;
}

static void on_take(struct h2_stream *stream, size_t len)
{
    struct fake_call *call = call_of(stream);
    h2_stream_write(stream, call->out.at + call->sent, len);
    call->sent += len;
}

static void on_turn(struct h2_stream *stream)
{
    struct fake_call *call = call_of(stream);
    if (stream->receiving == H2_RECEIVING_GONE) {
        h2_stream_release(stream);
    } else if (!call->is_whole && stream->receiving == H2_RECEIVING_DONE) {
        call->is_whole = true;
        if (call->api->on_call != NULL) {
            call->api->on_call(call);
        }
    }
}

static void on_release(struct h2_stream *stream)
{
    call_of(stream)->is_gone = true;
    bytes_cleanup(&call_of(stream)->out);
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

static unsigned number_of(const struct fake_api *api, const struct h2_conn *conn)
{
    unsigned number = 0;
    while (number < api->num_conns && api->conns[number] != conn) {
        number++;
    }
    return number;
}

static struct h2_stream *on_request(void *owner, struct h2_conn *conn)
{
    struct fake_api *api = owner;
    cr_assert_lt(api->num_calls, FAKE_CALLS_MAX);
    struct fake_call *call = must_alloc(1, sizeof *call);
    api->calls[api->num_calls++] = call;
    call->api = api;
    call->conn = number_of(api, conn);
    call->stream.hooks = &stream_hooks;
    return &call->stream;
}

static void on_closed(void *owner, struct h2_conn *conn, const char *why)
{
    struct fake_api *api = owner;
    (void)why;
    api->conns[number_of(api, conn)] = NULL;
}

static const struct h2_conn_hooks conn_hooks = {.on_request = on_request, .on_closed = on_closed};

static void on_connection(uv_stream_t *listener, int status)
{
    struct fake_api *api = listener->data;
    struct err err = {{0}, {0}};
    const struct h2_conn_config config = {.loop = api->loop,
                                          .limits = h2_limits_default(),
                                          .bites = api->bites,
                                          .hooks = &conn_hooks,
                                          .owner = api};
    cr_assert(status == 0 && api->num_conns < FAKE_CONNS_MAX);
    api->conns[api->num_conns] = h2_conn_accept(&config, listener, api->ssl_ctx, &err);
    cr_assert_not_null(api->conns[api->num_conns], "%s", err.text);
    api->num_conns++;
}

// A server's context with a certificate for localhost of a new CA, whose PEM goes into ca.crt.
static SSL_CTX *make_context(const char *folder)
{
    struct err err = {{0}, {0}};
    struct mint_ca ca = {0};
    const char *const names[] = {"localhost"};
    time_t now = time(NULL);
    const struct mint_leaf leaf = {.spiffe_id = "spiffe://api.test/server",
                                   .dns_names = names,
                                   .num_dns_names = 1,
                                   .not_before = now - 60,
                                   .not_after = now + 3600};
    cr_assert(mint_root_init(&ca, MINT_KEY_P256, "api.test", now, now + 86400, &err), "%s",
              err.text);
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    X509 *cert = mint_leaf_new(&ca, key, &leaf, &err);
    char *pem = mint_cert_pem(ca.cert);
    cr_assert(cert != NULL && pem != NULL, "%s", err.text);
    temp_write(folder, "ca.crt", pem, strlen(pem));
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    cr_assert(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
    SSL_CTX_set_alpn_select_cb(ctx, transport_select_h2, NULL);
    X509_free(cert);
    EVP_PKEY_free(key);
    mint_ca_cleanup(&ca);
    free(pem);
    return ctx;
}

void fake_api_start(struct fake_api *api, uv_loop_t *loop, const char *folder)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int len = sizeof at;
    api->loop = loop;
    api->ssl_ctx = make_context(folder);
    temp_write(folder, "token", "one\n", 4);
    uv_tcp_init(loop, &api->listener);
    api->listener.data = api;
    cr_assert(uv_tcp_bind(&api->listener, (struct sockaddr *)&at, 0) == 0 &&
              uv_listen((uv_stream_t *)&api->listener, 16, on_connection) == 0 &&
              uv_tcp_getsockname(&api->listener, (struct sockaddr *)&at, &len) == 0);
    api->port = ntohs(at.sin_port);
    api->config = (struct kube_config){.host = "localhost", .port = api->port};
    snprintf(api->config.token_file, sizeof api->config.token_file, "%s/token", folder);
    snprintf(api->config.ca_file, sizeof api->config.ca_file, "%s/ca.crt", folder);
}

static void drop(struct h2_stream *stream, void *ctx)
{
    (void)ctx;
    h2_stream_release(stream);
}

void fake_break(struct fake_api *api)
{
    for (unsigned i = 0; i < api->num_conns; i++) {
        if (api->conns[i] != NULL) {
            h2_conn_abandon(api->conns[i], drop, NULL);
        }
    }
}

void fake_go_away(struct fake_api *api)
{
    for (unsigned i = 0; i < api->num_conns; i++) {
        if (api->conns[i] != NULL) {
            h2_conn_shutdown(api->conns[i]);
        }
    }
}

void fake_api_stop(struct fake_api *api)
{
    fake_break(api);
    uv_close((uv_handle_t *)&api->listener, NULL);
    SSL_CTX_free(api->ssl_ctx);
    for (unsigned i = 0; i < api->num_calls; i++) {
        free(api->calls[i]);
    }
}

void fake_put_off(struct fake_call *call, const char *status, const char *retry_after,
                  const char *body)
{
    const struct h2_header headers[] = {
        {":status", status}, {"content-type", "application/json"}, {"retry-after", retry_after}};
    h2_stream_send_headers(&call->stream, headers, 3, false);
    if (body != NULL) {
        fake_send(call, body);
        fake_end(call);
    }
}

void fake_answer(struct fake_call *call, const char *status, const char *body)
{
    fake_put_off(call, status, NULL, body);
}

void fake_begin(struct fake_call *call, const char *status)
{
    fake_put_off(call, status, NULL, NULL);
}

void fake_send(struct fake_call *call, const char *text)
{
    bytes_push_text(&call->out, text);
    h2_stream_offer(&call->stream);
}

void fake_end(struct fake_call *call)
{
    h2_stream_finish(&call->stream);
}

void fake_cut(struct fake_call *call)
{
    h2_stream_leave(&call->stream, H2_CANCEL);
}

struct fake_call *fake_last(struct fake_api *api, const char *part)
{
    for (unsigned i = api->num_calls; i-- > 0;) {
        if (strstr(api->calls[i]->path, part) != NULL) {
            return api->calls[i];
        }
    }
    return NULL;
}
