// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "certs/ca/mint.h"
#include "tests/unit/control/host/http_stage.h"
#include "tests/unit/support/tcp.h"

#define WAIT_MS 5000

static const struct http_limits limits = {.connections_max = 16,
                                          .source_max = 8,
                                          .left_max = 64,
                                          .head_ms = 400,
                                          .idle_ms = 3000,
                                          .body_ms = 5000,
                                          .answer_ms = 5000,
                                          .body_bytes_max = 3000000,
                                          .bodies_bytes_max = 6000000};

static void init(struct stage *stage)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    struct mint_ca ca = {0};
    time_t now = time(NULL);
    EVP_PKEY *key = mint_key_new(MINT_KEY_P256, NULL);
    cr_assert(mint_root_init(&ca, MINT_KEY_P256, "mesh.example", now, now + 3600, NULL));
    const struct mint_leaf leaf = {
        .spiffe_id = "spiffe://mesh.example/x", .not_before = now - 60, .not_after = now + 600};
    X509 *cert = mint_leaf_new(&ca, key, &leaf, NULL);
    cr_assert(SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1);
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    stage_init_with(stage, &(struct http_config){.limits = &limits, .tls = ctx});
    SSL_CTX_free(ctx);
    X509_free(cert);
    EVP_PKEY_free(key);
    mint_ca_cleanup(&ca);
}

// A client under TLS on a socket that doesn't block.
struct client {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
};

static void client_init(struct client *client, const struct stage *stage, const char *alpn)
{
    client->fd = tcp_connect(stage->bound.port);
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    client->ctx = SSL_CTX_new(TLS_method());
    client->ssl = SSL_new(client->ctx);
    SSL_set_fd(client->ssl, client->fd);
    SSL_set_connect_state(client->ssl);
    if (alpn != NULL) {
        SSL_set_alpn_protos(client->ssl, (const uint8_t *)alpn, strlen(alpn));
    }
}

static void client_cleanup(struct client *client)
{
    SSL_free(client->ssl);
    SSL_CTX_free(client->ctx);
    close(client->fd);
}

static bool waits(const struct client *client, int ret)
{
    int error = SSL_get_error(client->ssl, ret);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

// Calls one of TLS's functions until it does something else than wait.
#define insist(stage, client, call)                                                                \
    ({                                                                                             \
        int insist_ret = 0;                                                                        \
        bool insist_is_done = false;                                                               \
        (void)run_until((stage),                                                                   \
                        insist_is_done = insist_is_done || (insist_ret = (call)) > 0 ||            \
                                         !waits((client), insist_ret),                             \
                        WAIT_MS);                                                                  \
        insist_ret;                                                                                \
    })

static bool client_open(struct client *client, struct stage *stage)
{
    return insist(stage, client, SSL_do_handshake(client->ssl)) == 1;
}

static void client_say(struct client *client, struct stage *stage, const char *text, size_t len)
{
    for (size_t said = 0; said < len;) {
        size_t part = len - said < 16384 ? len - said : 16384;
        int ret = insist(stage, client, SSL_write(client->ssl, text + said, (int)part));
        cr_assert_gt(ret, 0);
        said += (size_t)ret;
    }
}

static const char *client_hear(struct client *client, struct stage *stage)
{
    static char text[8192];
    int ret = insist(stage, client, SSL_read(client->ssl, text, sizeof text - 1));
    text[ret > 0 ? ret : 0] = '\0';
    return text;
}

#define say_text(client, stage, text) client_say((client), (stage), (text), strlen(text))

Test(http_tls, serves_get_and_post_under_tls_on_one_connection, .timeout = 20)
{
    struct stage stage;
    struct client client;
    init(&stage);
    client_init(&client, &stage, "\x08http/1.1");
    cr_assert(client_open(&client, &stage));
    const uint8_t *alpn;
    unsigned alpn_len;
    SSL_get0_alpn_selected(client.ssl, &alpn, &alpn_len);
    cr_expect(alpn_len == 8 && memcmp(alpn, "http/1.1", 8) == 0);
    say_text(&client, &stage, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_has(client_hear(&client, &stage), "\r\n\r\nnow\n");
    say_text(&client, &stage, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    expect_has(client_hear(&client, &stage), "POST 5 hello\n");
    client_cleanup(&client);
    cr_expect(run_until(&stage, http_num_clients(stage.server) == 0, WAIT_MS));
    cr_expect_eq(http_num_tls_failed(stage.server), 0);
    stage_cleanup(&stage);
}

Test(http_tls, a_client_without_protocols_is_served_and_one_that_wants_http2_alone_is_refused,
     .timeout = 20)
{
    struct stage stage;
    struct client plain, h2, both;
    init(&stage);
    client_init(&plain, &stage, NULL);
    cr_expect(client_open(&plain, &stage));
    client_init(&h2, &stage, "\x02h2");
    cr_expect_not(client_open(&h2, &stage));
    client_init(&both, &stage, "\x02h2\x08http/1.1");
    cr_expect(client_open(&both, &stage));
    client_cleanup(&plain);
    client_cleanup(&h2);
    client_cleanup(&both);
    cr_expect(run_until(&stage, http_num_tls_failed(stage.server) == 1, WAIT_MS));
    stage_cleanup(&stage);
}

Test(http_tls, a_large_body_comes_whole_though_the_server_reads_it_by_and_by, .timeout = 30)
{
    struct stage stage;
    struct client client;
    const size_t len = 3000000;
    char *body = malloc(len);
    memset(body, 'b', len);
    init(&stage);
    client_init(&client, &stage, NULL);
    cr_assert(client_open(&client, &stage));
    say_text(&client, &stage, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n");
    client_say(&client, &stage, body, len);
    expect_has(client_hear(&client, &stage), "POST 3000000 bbbb");
    free(body);
    client_cleanup(&client);
    stage_cleanup(&stage);
}

Test(http_tls, who_sends_no_client_hello_or_no_request_is_closed_in_time, .timeout = 20)
{
    struct stage stage;
    struct client client;
    init(&stage);
    int silent = tcp_connect(stage.bound.port);
    client_init(&client, &stage, NULL);
    cr_assert(client_open(&client, &stage));
    cr_expect(run_until(&stage, http_num_clients(stage.server) == 0, 3000));
    cr_expect(is_over(silent));
    cr_expect_eq(http_num_late(stage.server), 2);
    close(silent);
    client_cleanup(&client);
    stage_cleanup(&stage);
}

Test(http_tls, who_has_asked_once_may_ask_again_later, .timeout = 20)
{
    struct stage stage;
    struct client client;
    init(&stage);
    client_init(&client, &stage, NULL);
    cr_assert(client_open(&client, &stage));
    say_text(&client, &stage, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_has(client_hear(&client, &stage), "now\n");
    run_until(&stage, false, 1200); // three times what a stranger has
    say_text(&client, &stage, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_has(client_hear(&client, &stage), "now\n");
    client_cleanup(&client);
    stage_cleanup(&stage);
}

Test(http_tls, a_newcomer_takes_the_place_of_a_stranger_and_of_nobody_who_waits, .timeout = 20)
{
    struct stage stage;
    struct client known;
    int strangers[20];
    init(&stage);
    client_init(&known, &stage, NULL);
    cr_assert(client_open(&known, &stage));
    say_text(&known, &stage, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_assert(run_until(&stage, stage.later != NULL, WAIT_MS));
    for (unsigned i = 0; i < 20; i++) {
        strangers[i] = tcp_connect(stage.bound.port);
        say(strangers[i], "\x16\x03\x01");
        run_until(&stage, false, 1);
    }
    cr_expect(run_until(&stage, http_num_clients(stage.server) == limits.source_max, WAIT_MS));
    cr_expect_eq(http_num_room(stage.server), 13);
    http_answer(stage.later, 200, "text/plain", strdup("at last\n"));
    expect_has(client_hear(&known, &stage), "at last\n");
    for (unsigned i = 0; i < 20; i++) {
        close(strangers[i]);
    }
    client_cleanup(&known);
    stage_cleanup(&stage);
}

Test(http_tls, a_client_that_left_before_its_answer_is_harmless, .timeout = 20)
{
    struct stage stage;
    struct client client;
    init(&stage);
    client_init(&client, &stage, NULL);
    cr_assert(client_open(&client, &stage));
    say_text(&client, &stage, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    cr_assert(run_until(&stage, stage.later != NULL, WAIT_MS));
    client_cleanup(&client);
    run_until(&stage, false, 50);
    cr_expect_eq(http_num_clients(stage.server), 1, "its request is with the handler still");
    http_answer(stage.later, 200, "text/plain", strdup("too late\n"));
    cr_expect(run_until(&stage, http_num_clients(stage.server) == 0, WAIT_MS));
    stage_cleanup(&stage);
}

Test(http_tls, what_is_no_tls_is_refused, .timeout = 20)
{
    struct stage stage;
    init(&stage);
    int fd = ask(&stage, "/now");
    hear(&stage, fd, WAIT_MS); // an alert
    cr_expect(run_until(&stage, http_num_clients(stage.server) == 0, WAIT_MS));
    cr_expect_eq(http_num_tls_failed(stage.server), 1);
    cr_expect_eq(stage.num_asked, 0);
    close(fd);
    stage_cleanup(&stage);
}

Test(http_tls, a_client_is_told_when_the_server_closes, .timeout = 20)
{
    struct stage stage;
    struct client client;
    init(&stage);
    client_init(&client, &stage, NULL);
    cr_assert(client_open(&client, &stage));
    http_drain(stage.server);
    say_text(&client, &stage, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_has(client_hear(&client, &stage), "Connection: close\r\n");
    char byte;
    int ret = insist(&stage, &client, SSL_read(client.ssl, &byte, 1));
    cr_expect_eq(SSL_get_error(client.ssl, ret), SSL_ERROR_ZERO_RETURN, "close_notify");
    client_cleanup(&client);
    cr_expect(run_until(&stage, http_num_clients(stage.server) == 0, WAIT_MS));
    stage_cleanup(&stage);
}
