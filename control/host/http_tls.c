// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // SOCK_CLOEXEC
#include "control/host/http_tls.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/must.h"
#include "net/http2/transport.h"

#define KERNEL_BYTES 65536 // that the kernel keeps of what one end has not read yet

static const char protocol[] = "http/1.1";

struct http_tls {
    struct transport outer;     // to the client
    struct transport inner;     // to libmicrohttpd, once the handshake is done
    struct list link;           // of the server's
    struct http_server *server; // borrowed
    struct http_client *client; // held
    struct sockaddr_storage from;
    socklen_t from_len;
    unsigned handles_open;
    bool has_inner;
    bool is_unread; // the last answer is with the client's kernel in part only
    bool is_ending;
};

static int on_alpn(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                   unsigned in_len, void *arg)
{
    (void)ssl;
    (void)arg;
    const uint8_t len = sizeof protocol - 1;
    for (unsigned at = 0; at < in_len; at += 1u + in[at]) {
        if (in[at] == len && in_len - at > len && memcmp(in + at + 1, protocol, len) == 0) {
            *out = in + at + 1;
            *out_len = len;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

void http_tls_prepare(struct ssl_ctx_st *ctx)
{
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
}

// Closes both ends. libmicrohttpd finds its connection ended.
static void end(struct http_tls *tls)
{
    if (!tls->is_ending) {
        tls->is_ending = true;
        transport_close(&tls->outer);
        if (tls->has_inner) {
            transport_close(&tls->inner);
        }
    }
}

static void on_end_wanted(void *ctx)
{
    end(ctx);
}

static void on_closed(void *ctx)
{
    struct http_tls *tls = ctx;
    struct http_server *server = tls->server;
    if (--tls->handles_open == 0) {
        tls->client->end = NULL; // libmicrohttpd may hold the client still
        http_client_end(&server->clients, tls->client);
        http_client_free(&server->clients, tls->client);
        list_remove(&tls->link);
        free(tls);
        http_release(server);
    }
}

// Passes bytes on, and stops reading them where the other end doesn't take them.
static void pass(struct transport *from, struct transport *to, const uint8_t *bytes, size_t len)
{
    transport_write(to, bytes, len);
    transport_flush(to);
    if (!to->is_ended && !transport_has_room(to)) {
        transport_set_reading(from, false);
    }
}

// libmicrohttpd is done with an answer once we have it. The client may not have read it yet.
static void note_answer(struct http_tls *tls, enum http_wait wait)
{
    http_client_waits(tls->client, wait, uv_now(tls->outer.stream.loop));
    http_due(tls->server);
}

static void on_inner_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct http_tls *tls = ctx;
    pass(&tls->inner, &tls->outer, bytes, len);
    if (!transport_is_idle(&tls->outer) && tls->client->wait == HTTP_WAIT_NEXT) {
        note_answer(tls, HTTP_WAIT_ANSWER);
        tls->is_unread = true;
    }
}

static void on_inner_written(void *ctx)
{
    struct http_tls *tls = ctx;
    transport_set_reading(&tls->outer, true);
}

// libmicrohttpd has closed the connection: what it said last is sent, and the client is told.
static void on_inner_end(void *ctx, const char *why)
{
    (void)why;
    struct http_tls *tls = ctx;
    http_client_forget(tls->client); // nobody waits for it any more
    tls->is_unread = false;
    note_answer(tls, HTTP_WAIT_HEAD);
    transport_finish(&tls->outer);
    transport_set_reading(&tls->outer, true); // for the client's own end
}

static const struct transport_hooks inner_hooks = {.on_bytes = on_inner_bytes,
                                                   .on_written = on_inner_written,
                                                   .on_end = on_inner_end,
                                                   .on_closed = on_closed};

static void bound_kernel(int fd)
{
    int bytes = KERNEL_BYTES;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes); // if not, it keeps some more
}

// Gives libmicrohttpd its end of a socket pair.
static bool connect_inner(struct http_tls *tls)
{
    struct http_server *server = tls->server;
    int ends[2];
    if (server->is_closing ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        return false;
    }
    bound_kernel(ends[0]);
    bound_kernel(ends[1]);
    tls->inner.hooks = &inner_hooks;
    tls->inner.ctx = tls;
    tls->has_inner = true;
    tls->handles_open++;
    if (!transport_take(&tls->inner, tls->outer.stream.loop, ends[0], NULL, NULL)) {
        close(ends[1]);
        return false;
    }
    server->arriving = tls->client;
    bool ok = MHD_add_connection(server->daemon, ends[1], (const struct sockaddr *)&tls->from,
                                 tls->from_len) == MHD_YES; // takes the descriptor over
    invariant(!ok || server->arriving == NULL);             // it has been taken
    server->arriving = NULL;
    http_due(server);
    return ok;
}

static void on_outer_open(void *ctx)
{
    struct http_tls *tls = ctx;
    if (!connect_inner(tls)) {
        end(tls);
    }
}

static void on_outer_bytes(void *ctx, const uint8_t *bytes, size_t len)
{
    struct http_tls *tls = ctx;
    pass(&tls->outer, &tls->inner, bytes, len);
}

static void on_outer_written(void *ctx)
{
    struct http_tls *tls = ctx;
    if (tls->has_inner) {
        transport_set_reading(&tls->inner, true);
    }
    if (tls->is_unread && transport_is_idle(&tls->outer)) {
        tls->is_unread = false;
        note_answer(tls, HTTP_WAIT_NEXT);
    }
}

static void on_outer_end(void *ctx, const char *why)
{
    (void)why;
    struct http_tls *tls = ctx;
    tls->server->num_tls_failed += !tls->outer.is_open;
    end(tls);
}

static const struct transport_hooks outer_hooks = {.on_open = on_outer_open,
                                                   .on_bytes = on_outer_bytes,
                                                   .on_written = on_outer_written,
                                                   .on_end = on_outer_end,
                                                   .on_closed = on_closed};

void http_tls_accept(struct http_server *server, int fd, const struct sockaddr_storage *from,
                     socklen_t len)
{
    struct http_tls *tls = must_alloc(1, sizeof *tls);
    uv_loop_t *loop = server->timer.loop;
    tls->server = server;
    tls->from = *from;
    tls->from_len = len;
    tls->handles_open = 1;
    tls->outer.hooks = &outer_hooks;
    tls->outer.ctx = tls;
    tls->outer.is_any_protocol = true;
    tls->client =
        http_client_new(&server->clients, &server->arriving_ip, on_end_wanted, tls, uv_now(loop));
    bound_kernel(fd);
    server->handles_open++;
    list_push(&server->tls_conns, &tls->link);
    if (!transport_take(&tls->outer, loop, fd, server->tls, NULL)) {
        end(tls);
    }
}

void http_tls_end_all(struct http_server *server)
{
    LIST_EACH_SAFE(link, &server->tls_conns) {
        end(LIST_OF(link, struct http_tls, link));
    }
}
