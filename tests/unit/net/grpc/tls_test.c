// SPDX-License-Identifier: Apache-2.0
//
// What TLS adds: both chains are there, and a peer without one, or without HTTP/2, gets no call
// through.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/net/grpc/rig.h"

TestSuite(tls, .timeout = 60);

static void start(struct rig *rig)
{
    struct grpc_limits limits = grpc_limits_default();
    rig_start(rig, true, &limits, NULL);
}

static void dial(struct rig *rig, SSL_CTX *client)
{
    struct grpc_limits limits = grpc_limits_default();
    SSL_CTX *server = rig->ssl_ctx;
    rig->ssl_ctx = client;
    rig_dial(rig, &limits);
    rig->ssl_ctx = server;
}

Test(tls, each_side_is_asked_about_the_others_chain)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    start(&rig);
    dial(&rig, rig.ssl_ctx);
    rig_unary(&rig, "Unary", "x", 1, &seen);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_OK, "%s", seen.message);
    cr_expect_eq(rig.num_asked, 2);
    cr_expect_not(rig.peer.is_unix);
    cr_assert_not_null(rig.peer.ssl);
    cr_expect_eq(sk_CRYPTO_BUFFER_num(SSL_get0_peer_certificates(rig.peer.ssl)), 1);
    rig_stop(&rig);
}

Test(tls, a_client_without_a_certificate_gets_no_call_through)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    start(&rig);
    SSL_CTX *bare = SSL_CTX_new(TLS_method());
    SSL_CTX_set_verify(bare, SSL_VERIFY_NONE, NULL);
    dial(&rig, bare);
    rig_unary(&rig, "Unary", "x", 1, &seen);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_UNAVAILABLE, "%s", seen.message);
    cr_assert(rig_wait(&rig, &rig.num_disconnects, 1));
    cr_expect_not_null(strstr(rig.disconnect_why, "TLS handshake failed"), "%s",
                       rig.disconnect_why);
    cr_expect_not_null(strstr(rig.disconnect_why, "CERTIFICATE"), "%s", rig.disconnect_why);
    cr_expect_not_null(strstr(rig.down_why, "CERTIFICATE"), "%s", rig.down_why);
    cr_expect_eq(rig.num_asked, 1, "the server's user was not asked");
    rig_stop(&rig);
    SSL_CTX_free(bare);
}

static enum ssl_verify_result_t refuse(SSL *ssl, uint8_t *out_alert)
{
    (void)ssl;
    *out_alert = SSL_AD_UNKNOWN_CA;
    return ssl_verify_invalid;
}

Test(tls, a_server_that_the_clients_context_refuses_is_never_ready)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    start(&rig);
    SSL_CTX *strict = rig_context();
    SSL_CTX_set_custom_verify(strict, SSL_VERIFY_PEER, refuse);
    dial(&rig, strict);
    rig_unary(&rig, "Unary", "x", 1, &seen);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_UNAVAILABLE);
    cr_expect(seen.status.is_unprocessed);
    cr_expect_eq(rig.num_ready, 0);
    cr_assert(rig_wait(&rig, &rig.num_down, 1));
    cr_expect_not_null(strstr(rig.down_why, "CERTIFICATE_VERIFY_FAILED"), "%s", rig.down_why);
    cr_assert(rig_wait(&rig, &rig.num_disconnects, 1));
    cr_expect_not_null(strstr(rig.disconnect_why, "UNKNOWN_CA"), "%s", rig.disconnect_why);
    rig_stop(&rig);
    SSL_CTX_free(strict);
}

Test(tls, a_client_that_speaks_no_http2_is_refused)
{
    struct rig rig = {.num_ready = 0};
    struct grpc_limits limits = grpc_limits_default();
    rig_start(&rig, true, &limits, NULL);
    static const uint8_t http1[] = "\x08http/1.1";
    static const struct {
        const uint8_t *alpn;
        unsigned len;
        const char *why;
    } rows[] = {{NULL, 0, "no ALPN h2"}, {http1, 9, "NO_APPLICATION_PROTOCOL"}};
    for (unsigned i = 0; i < 2; i++) {
        SSL_CTX *ctx = rig_context();
        SSL *ssl = SSL_new(ctx);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(&rig.addr, &sa);
        cr_assert(connect(fd, (struct sockaddr *)&sa, len) == 0);
        cr_assert(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
        SSL_set_fd(ssl, fd);
        if (rows[i].alpn != NULL) {
            SSL_set_alpn_protos(ssl, rows[i].alpn, rows[i].len);
        }
        for (int turn = 0; turn < 1000 && rig.num_disconnects == i; turn++) {
            SSL_connect(ssl);
            uv_run(&rig.loop, UV_RUN_NOWAIT);
        }
        cr_expect_eq(rig.num_disconnects, i + 1);
        cr_expect_not_null(strstr(rig.disconnect_why, rows[i].why), "%s", rig.disconnect_why);
        SSL_free(ssl);
        close(fd);
        SSL_CTX_free(ctx);
    }
    rig_stop(&rig);
}

Test(tls, another_context_is_for_the_connections_to_come)
{
    struct rig rig = {.num_ready = 0};
    struct seen seen = {.num_ends = 0};
    struct seen chat = {.num_ends = 0};
    start(&rig);
    dial(&rig, rig.ssl_ctx);
    rig_call(&rig, "Chat", &chat);
    cr_assert(rig_wait(&rig, &rig.num_ready, 1));
    SSL_CTX *renewed = rig_context();
    grpc_server_set_tls(rig.server, renewed);
    grpc_channel_set_tls(rig.channel, renewed);
    grpc_channel_disconnect(rig.channel);
    cr_assert(grpc_channel_connect(rig.channel, NULL));
    rig_unary(&rig, "Unary", "x", 1, &seen);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_OK, "%s", seen.message);
    cr_assert(grpc_call_send(chat.call, (const uint8_t *)"still", 5, NULL));
    cr_assert(rig_wait(&rig, &chat.num_messages, 1), "the old connection finishes its calls");
    grpc_call_half_close(chat.call);
    cr_assert(rig_wait(&rig, &chat.num_ends, 1));
    cr_expect_eq(chat.status.code, GRPC_OK);
    cr_assert(rig_wait(&rig, &rig.num_disconnects, 1), "and is closed then");
    cr_expect_eq(rig.num_down, 0);
    rig_stop(&rig);
    SSL_CTX_free(renewed);
}

// The server listens at 127.0.0.1 alone; of what the machine calls localhost, ::1 comes first where
// it has IPv6.
Test(tls, a_name_is_looked_up_and_its_addresses_are_tried_in_turn)
{
    struct rig rig = {.num_ready = 0};
    struct host_port host = {.name = "localhost"};
    struct seen seen = {.num_ends = 0};
    start(&rig);
    host.port = rig.addr.port;
    rig.host = &host;
    dial(&rig, rig.ssl_ctx);
    rig_unary(&rig, "Unary", "x", 1, &seen);
    cr_assert(rig_wait(&rig, &seen.num_ends, 1));
    cr_expect_eq(seen.status.code, GRPC_OK, "%s %s", seen.message, rig.down_why);
    rig_stop(&rig);
}

Test(tls, a_name_none_of_whose_addresses_answers_is_told_in_words)
{
    struct rig rig = {.num_ready = 0};
    struct host_port host = {.name = "localhost", .port = 1};
    rig_start(&rig, true, NULL, NULL);
    rig.host = &host;
    dial(&rig, rig.ssl_ctx);
    cr_assert(rig_wait(&rig, &rig.num_down, 1));
    cr_expect(strncmp(rig.down_why, "localhost: none of its addresses (", 34) == 0 &&
                  strstr(rig.down_why, ") takes the connection: connection refused") != NULL,
              "%s", rig.down_why);
    rig_stop(&rig);
}

// Begins a lookup, turns the loop as often as that, and gives it up. false: too many are under way.
static bool look_up_in_vain(struct rig *rig, const struct host_port *host, int num_turns)
{
    struct err err = {{0}, {0}};
    const struct grpc_channel_config config = {
        .loop = &rig->loop, .target = {.host = host}, .limits = grpc_limits_default()};
    struct grpc_channel *channel = grpc_channel_new(&config, &err);
    bool ok = grpc_channel_connect(channel, &err);
    cr_expect(ok || strstr(err.text, "localhost can't be resolved: the lookups before") != NULL,
              "%s", err.text);
    for (int i = 0; i < num_turns; i++) {
        uv_run(&rig->loop, UV_RUN_NOWAIT);
    }
    grpc_channel_free(channel);
    return ok;
}

Test(tls, lookups_that_nobody_waits_for_any_more_are_few_and_leave_nothing_behind)
{
    struct rig rig = {.num_ready = 0};
    const struct host_port host = {.name = "localhost", .port = 1};
    rig_start(&rig, true, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        while (!look_up_in_vain(&rig, &host, i)) {
            uv_sleep(1); // the threads of those before end by themselves
        }
    }
    rig_stop(&rig);
}
