// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/net/grpc/rig.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "certs/ca/mint.h"
#include "tests/unit/support/loop.h"

static void on_message(struct grpc_call *call, const uint8_t *bytes, size_t len)
{
    struct seen *seen = grpc_call_ctx(call);
    seen->num_messages++;
    seen->num_bytes += len;
    seen->last_len = len;
    memcpy(seen->last, bytes, len < sizeof seen->last ? len : sizeof seen->last);
    if (seen->pauses_each) {
        grpc_call_pause(call);
    }
    if (seen->cancels_first) {
        grpc_call_cancel(call);
    }
    if (seen->frees != NULL) {
        grpc_channel_free(*seen->frees);
        *seen->frees = NULL;
    }
}

static void on_drained(struct grpc_call *call)
{
    struct seen *seen = grpc_call_ctx(call);
    seen->num_drained++;
}

static void on_end(struct grpc_call *call, const struct grpc_status *status)
{
    struct seen *seen = grpc_call_ctx(call);
    seen->num_ends++;
    seen->status = *status;
    snprintf(seen->message, sizeof seen->message, "%s", status->message);
    seen->status.message = seen->message;
    seen->call = NULL;
}

const struct grpc_call_hooks seen_hooks = {
    .on_message = on_message, .on_drained = on_drained, .on_end = on_end};

static enum ssl_verify_result_t on_verify(SSL *ssl, uint8_t *out_alert)
{
    *out_alert = SSL_AD_BAD_CERTIFICATE;
    return sk_CRYPTO_BUFFER_num(SSL_get0_peer_certificates(ssl)) > 0 ? ssl_verify_ok
                                                                     : ssl_verify_invalid;
}

SSL_CTX *rig_context(void)
{
    struct mint_ca ca = {0};
    struct err err = {{0}, {0}};
    time_t now = time(NULL);
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, &err);
    cr_assert(key != NULL &&
                  mint_root_init(&ca, MINT_KEY_P256, "grpc.example", now, now + 3600, &err),
              "%s", err.text);
    const struct mint_leaf leaf = {
        .spiffe_id = "spiffe://grpc.example/peer", .not_before = now - 60, .not_after = now + 600};
    X509 *cert = mint_leaf_new(&ca, key, &leaf, &err);
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    cr_assert(cert != NULL && ctx != NULL && SSL_CTX_use_certificate(ctx, cert) == 1 &&
              SSL_CTX_use_PrivateKey(ctx, key) == 1);
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_custom_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
    X509_free(cert);
    EVP_PKEY_free(key);
    mint_ca_cleanup(&ca);
    return ctx;
}

// The server's ctx is what the echo service wants, which stands first in the rig.
static bool server_accepts(void *ctx, const struct h2_peer *peer, struct err *err)
{
    struct rig *rig = ctx;
    rig->num_asked++;
    rig->peer = *peer;
    return !rig->server_refuses || err_set(err, "the test's server wants nobody");
}

static bool client_accepts(void *ctx, const struct h2_peer *peer, struct err *err)
{
    struct rig *rig = ctx;
    rig->num_asked++;
    rig->peer = *peer;
    return !rig->client_refuses || err_set(err, "the test's client wants nobody");
}

static void on_ready(void *ctx)
{
    struct rig *rig = ctx;
    rig->num_ready++;
}

static void on_down(void *ctx, const char *why)
{
    struct rig *rig = ctx;
    rig->num_down++;
    snprintf(rig->down_why, sizeof rig->down_why, "%s", why);
}

static void on_disconnect(void *ctx, const struct h2_peer *peer, const char *why)
{
    struct rig *rig = ctx;
    (void)peer;
    rig->num_disconnects++;
    snprintf(rig->disconnect_why, sizeof rig->disconnect_why, "%s", why);
}

int rig_listen(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
    unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&sun, sizeof sun) == 0 && listen(fd, 64) == 0);
    return fd;
}

static int listen_tcp(struct addr *out)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof sin;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&sin, len) == 0 && listen(fd, 64) == 0 &&
              getsockname(fd, (struct sockaddr *)&sin, &len) == 0);
    addr_from_sockaddr(out, (struct sockaddr *)&sin);
    return fd;
}

void rig_serve(struct rig *rig, const struct grpc_limits *limits)
{
    struct err err = {{0}, {0}};
    const struct grpc_server_config config = {.loop = &rig->loop,
                                              .methods = echo_methods,
                                              .num_methods = echo_num_methods,
                                              .limits = *limits,
                                              .ctx = &rig->echo,
                                              .accepts_peer = server_accepts,
                                              .on_disconnect = on_disconnect};
    rig->server = grpc_server_new(&config, &err);
    int fd = rig->ssl_ctx == NULL ? rig_listen(rig->path) : listen_tcp(&rig->addr);
    cr_assert(rig->server != NULL && grpc_server_listen(rig->server, fd, rig->ssl_ctx, &err), "%s",
              err.text);
}

void rig_dial(struct rig *rig, const struct grpc_limits *limits)
{
    struct err err = {{0}, {0}};
    const struct grpc_channel_config config = {
        .loop = &rig->loop,
        .target = {.unix_path = rig->ssl_ctx == NULL ? rig->path : NULL,
                   .host = rig->host,
                   .addr = rig->addr},
        .ssl_ctx = rig->ssl_ctx,
        .limits = *limits,
        .ctx = rig,
        .accepts_peer = client_accepts,
        .on_ready = on_ready,
        .on_down = on_down};
    rig->channel = grpc_channel_new(&config, &err);
    cr_assert(rig->channel != NULL && grpc_channel_connect(rig->channel, &err), "%s", err.text);
}

void rig_start(struct rig *rig, bool has_tls, const struct grpc_limits *server_limits,
               const struct grpc_limits *client_limits)
{
    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&rig->loop);
    temp_make(rig->folder);
    snprintf(rig->path, sizeof rig->path, "%s/s", rig->folder);
    rig->ssl_ctx = has_tls ? rig_context() : NULL;
    if (server_limits != NULL) {
        rig_serve(rig, server_limits);
    }
    if (client_limits != NULL) {
        rig_dial(rig, client_limits);
    }
}

void rig_start_usual(struct rig *rig, bool has_tls)
{
    struct grpc_limits limits = grpc_limits_default();
    rig_start(rig, has_tls, &limits, &limits);
}

void rig_stop(struct rig *rig)
{
    grpc_channel_free(rig->channel);
    grpc_server_free(rig->server);
    loop_end(&rig->loop);
    if (rig->ssl_ctx != NULL) {
        SSL_CTX_free(rig->ssl_ctx);
    }
    temp_remove(rig->folder);
}

bool rig_wait(struct rig *rig, const unsigned *number, unsigned least)
{
    return run_until(rig, *number >= least, RIG_WAIT_MS);
}

void rig_settle(struct rig *rig)
{
    for (int i = 0; i < 200; i++) {
        uv_run(&rig->loop, UV_RUN_NOWAIT);
    }
}

struct grpc_call *rig_call(struct rig *rig, const char *method, struct seen *seen)
{
    struct err err = {{0}, {0}};
    char path[64];
    snprintf(path, sizeof path, "/echo.Echo/%s", method);
    const struct grpc_call_start start = {.path = path, .hooks = &seen_hooks, .ctx = seen};
    seen->call = grpc_channel_call(rig->channel, &start, &err);
    cr_assert(seen->call != NULL, "%s", err.text);
    return seen->call;
}

void rig_unary(struct rig *rig, const char *method, const void *bytes, size_t len,
               struct seen *seen)
{
    struct err err = {{0}, {0}};
    rig_call(rig, method, seen);
    cr_assert(grpc_call_send(seen->call, bytes, len, &err), "%s", err.text);
    grpc_call_half_close(seen->call);
}

void rig_start_unary(struct rig *rig, const struct grpc_call_start *start)
{
    struct err err = {{0}, {0}};
    struct grpc_call *call = grpc_channel_call(rig->channel, start, &err);
    cr_assert(call != NULL && grpc_call_send(call, NULL, 0, &err), "%s", err.text);
    grpc_call_half_close(call);
}

const uint8_t *rig_ask(uint32_t num, uint32_t len)
{
    static uint8_t bytes[8];
    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(num >> (24 - 8 * i));
        bytes[i + 4] = (uint8_t)(len >> (24 - 8 * i));
    }
    return bytes;
}
