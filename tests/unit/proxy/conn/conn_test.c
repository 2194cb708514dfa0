// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/proxy/pair.h"

static struct pair_options with_limits(void)
{
    struct pair_options options = {.limits = TABARD__V1__LIMITS__INIT, .has_limits = true};
    return options;
}

static bool is_ended_by_reset(struct pair *pair, int fd)
{
    uint8_t bytes[4096];
    bool is_reset;
    while (pair_receive(pair, fd, bytes, sizeof bytes, &is_reset) == sizeof bytes) {
    }
    return is_reset;
}

Test(conn, policy_denied_is_told_to_the_peer_and_the_application_never_called, .timeout = 20)
{
    const struct pair_options options = {.policy_principal = "spiffe://prod.example/ns/other/sa/x"};
    struct pair pair;
    pair_init(&pair, &options);
    int client = pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_POLICY_DENIED);
    pair_until_reason(&pair, &pair.client, REASON_PEER_ALERT);
    cr_assert(is_ended_by_reset(&pair, client));
    cr_assert(accept(pair.app_fd, NULL, NULL) < 0);
    close(client);
    pair_cleanup(&pair);
}

Test(conn, a_server_of_another_identity_never_sees_a_byte, .timeout = 20)
{
    const struct pair_options options = {.expected_id = "spiffe://prod.example/ns/payments/sa/db"};
    struct pair pair;
    pair_init(&pair, &options);
    int client = pair_connect(&pair);
    pair_until_reason(&pair, &pair.client, REASON_WRONG_IDENTITY);
    pair_until_reason(&pair, &pair.server, REASON_PEER_ALERT);
    cr_assert(is_ended_by_reset(&pair, client));
    close(client);
    pair_cleanup(&pair);
}

Test(conn, plaintext_on_an_mtls_port_is_refused, .timeout = 20)
{
    struct pair pair;
    pair_init(&pair, NULL);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "GET / HTTP/1.1\r\n\r\n", 18);
    pair_until_reason(&pair, &pair.server, REASON_PLAINTEXT_ON_MTLS);
    close(peer);
    pair_cleanup(&pair);
}

Test(conn, a_hello_that_is_no_hello_is_a_tls_error, .timeout = 20)
{
    struct pair pair;
    pair_init(&pair, NULL);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "\x16\x03\x01\x00\x05\xff\x00\x00\x01\x00", 10);
    pair_until_reason(&pair, &pair.server, REASON_TLS_ERROR);
    close(peer);
    pair_cleanup(&pair);
}

Test(conn, a_peer_that_leaves_in_the_handshake_is_named, .timeout = 20)
{
    struct pair pair;
    pair_init(&pair, NULL);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "\x16\x03\x01", 3);
    close(peer);
    pair_until_reason(&pair, &pair.server, REASON_PEER_CLOSED);
    pair_cleanup(&pair);
}

Test(conn, a_hello_that_never_ends_is_cut_at_its_deadline, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.limits.handshake_ms = 50;
    struct pair pair;
    pair_init(&pair, &options);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "\x16\x03\x01\x02\x00\x01", 6);
    pair_until_reason(&pair, &pair.server, REASON_HANDSHAKE_TIMEOUT);
    close(peer);
    pair_cleanup(&pair);
}

Test(conn, an_application_that_refuses_is_told_to_the_peer, .timeout = 20)
{
    struct pair pair;
    pair_init(&pair, NULL);
    pair.server.spec.target.port = 1; // nobody listens on tcpmux
    int client = pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_CONNECT_REFUSED);
    pair_until_reason(&pair, &pair.client, REASON_PEER_ALERT);
    cr_assert(is_ended_by_reset(&pair, client));
    close(client);
    pair_cleanup(&pair);
}

Test(conn, an_idle_connection_ends_after_its_time, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.limits.idle_ms = 80;
    struct pair pair;
    pair_init(&pair, &options);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    pair_until_reason(&pair, &pair.client, REASON_IDLE);
    close(client);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, a_half_closed_connection_ends_after_its_time, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.limits.half_closed_ms = 80;
    struct pair pair;
    pair_init(&pair, &options);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    shutdown(client, SHUT_WR);
    pair_until_reason(&pair, &pair.client, REASON_HALF_CLOSED);
    close(client);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, a_reader_that_stops_is_cut_and_its_neighbour_is_not, .timeout = 30)
{
    static uint8_t bytes[1 << 20];
    struct pair_options options = with_limits();
    options.limits.stall_ms = 200;
    struct pair pair;
    pair_init(&pair, &options);
    int stuck = pair_connect(&pair);
    int stuck_app = pair_accept(&pair);
    int good = pair_connect(&pair);
    int good_app = pair_accept(&pair);
    while (pair_ended(&pair.client, REASON_STALLED) + pair_ended(&pair.server, REASON_STALLED) ==
           0) {
        (void)send(stuck_app, bytes, sizeof bytes, MSG_NOSIGNAL);
        pair_turn(&pair);
    }
    pair_send(&pair, good, bytes, 1000);
    cr_assert(pair_receive(&pair, good_app, bytes, 1000, NULL) == 1000);
    close(stuck);
    close(stuck_app);
    close(good);
    close(good_app);
    pair_cleanup(&pair);
}

Test(conn, a_policy_that_changes_ends_just_what_it_denies, .timeout = 20)
{
    const struct pair_options others = {.policy_principal = "spiffe://prod.example/ns/other/"};
    struct pair pair;
    pair_init(&pair, NULL);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    pair_adopt(&pair, &pair.server, NULL); // the same again: nothing happens
    pair_send(&pair, client, "x", 1);
    char byte;
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1);
    pair_adopt(&pair, &pair.server, &others);
    cr_assert(pair_ended(&pair.server, REASON_POLICY_REVOKED) == 1);
    cr_assert(is_ended_by_reset(&pair, app));
    pair_until_reason(&pair, &pair.client, REASON_PEER_ALERT);
    cr_assert(is_ended_by_reset(&pair, client));
    close(client);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, a_destination_that_expects_somebody_else_now_ends_its_connections, .timeout = 20)
{
    const struct pair_options others = {.expected_id = "spiffe://prod.example/ns/payments/sa/db"};
    struct pair pair;
    pair_init(&pair, NULL);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    pair_adopt(&pair, &pair.client, &others);
    cr_assert(pair_ended(&pair.client, REASON_WRONG_IDENTITY) == 1);
    cr_assert(is_ended_by_reset(&pair, client));
    cr_assert(is_ended_by_reset(&pair, app));
    close(client);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, a_limit_on_connections_refuses_the_one_too_many, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.limits.connections = 1;
    struct pair pair;
    pair_init(&pair, &options);
    int first = pair_connect(&pair);
    int app = pair_accept(&pair);
    int second = pair_connect(&pair);
    pair_until_reason(&pair, &pair.client, REASON_LIMIT_CONNECTIONS);
    cr_assert(is_ended_by_reset(&pair, second));
    pair_send(&pair, first, "x", 1);
    char byte;
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1);
    close(first);
    close(second);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, a_limit_on_handshakes_refuses_the_one_too_many, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.limits.handshakes = 1;
    struct pair pair;
    pair_init(&pair, &options);
    int first = pair_connect_mesh(&pair);
    pair_send(&pair, first, "\x16", 1);
    pair_turn(&pair);
    int second = pair_connect_mesh(&pair);
    pair_until_reason(&pair, &pair.server, REASON_LIMIT_HANDSHAKES);
    cr_assert(is_ended_by_reset(&pair, second));
    close(first);
    close(second);
    pair_cleanup(&pair);
}

Test(conn, memory_that_runs_out_ends_who_asked_for_it, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.limits.buffer_bytes = 1 << 20; // the least that may be set
    struct pair pair;
    pair_init(&pair, &options);
    pool_set_limit(&pair.server.env.pool, 0);
    int client = pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_LIMIT_BUFFERS);
    close(client);
    pair_cleanup(&pair);
}

Test(conn, a_handshake_whose_signer_is_gone_ends_as_that, .timeout = 20)
{
    struct pair pair;
    pair_init(&pair, NULL);
    link_close(&pair.server.link);
    int client = pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_SIGN_FAILED);
    close(client);
    pair_cleanup(&pair);
}

Test(conn, permissive_relays_what_is_no_hello, .timeout = 20)
{
    const struct pair_options options = {.inbound_mode = INBOUND_PERMISSIVE};
    struct pair pair;
    char bytes[8] = "";
    pair_init(&pair, &options);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "hello", 5);
    int app = pair_accept(&pair);
    cr_assert(pair_receive(&pair, app, bytes, 5, NULL) == 5 && memcmp(bytes, "hello", 5) == 0);
    cr_assert(atomic_load(&pair.server.env.stats.plaintext_connections) == 1);
    close(peer);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, permissive_takes_a_silent_caller_for_plaintext_after_its_time, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.inbound_mode = INBOUND_PERMISSIVE;
    options.limits.detect_ms = 50;
    struct pair pair;
    char bytes[8] = "";
    pair_init(&pair, &options);
    int peer = pair_connect_mesh(&pair);
    int app = pair_accept(&pair);
    pair_send(&pair, app, "220 hi", 6);
    cr_assert(pair_receive(&pair, peer, bytes, 6, NULL) == 6 && memcmp(bytes, "220 hi", 6) == 0);
    close(peer);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, permissive_still_speaks_mutual_tls_with_a_sidecar, .timeout = 20)
{
    for (int foreign = 0; foreign < 2; foreign++) {
        const struct pair_options options = {.inbound_mode = INBOUND_PERMISSIVE,
                                             .foreign_tls_is_application = foreign != 0};
        struct pair pair;
        char bytes[8] = "";
        pair_init(&pair, &options);
        int client = pair_connect(&pair);
        pair_send(&pair, client, "hello", 5);
        int app = pair_accept(&pair);
        cr_assert(pair_receive(&pair, app, bytes, 5, NULL) == 5 && memcmp(bytes, "hello", 5) == 0);
        cr_assert(atomic_load(&pair.server.env.stats.plaintext_connections) == 0);
        close(client);
        close(app);
        pair_cleanup(&pair);
    }
}

// A TLS 1.2 ClientHello without extensions, so without our ALPN: the application's own.
static const uint8_t foreign_hello[] = {0x16, 0x03, 0x01, 0x00, 0x2d, 0x01, 0x00, 0x00, 0x29, 0x03,
                                        0x03, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
                                        0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13,
                                        0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d,
                                        0x1e, 0x1f, 0x20, 0x00, 0x00, 0x02, 0xc0, 0x2f, 0x01, 0x00};

Test(conn, a_foreign_hello_reaches_the_application_as_it_came, .timeout = 20)
{
    const struct pair_options options = {.inbound_mode = INBOUND_PERMISSIVE,
                                         .foreign_tls_is_application = true};
    struct pair pair;
    uint8_t bytes[sizeof foreign_hello];
    pair_init(&pair, &options);
    int peer = pair_connect_mesh(&pair);
    for (size_t i = 0; i < sizeof foreign_hello; i++) { // in one-byte pieces
        pair_send(&pair, peer, &foreign_hello[i], 1);
        pair_turn(&pair);
    }
    int app = pair_accept(&pair);
    cr_assert(pair_receive(&pair, app, bytes, sizeof bytes, NULL) == sizeof bytes);
    cr_assert(memcmp(bytes, foreign_hello, sizeof bytes) == 0);
    close(peer);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, an_old_client_is_told_its_version_is_not_spoken, .timeout = 20)
{
    struct pair pair;
    uint8_t alert[7] = {0};
    pair_init(&pair, NULL);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, foreign_hello, sizeof foreign_hello);
    pair_until_reason(&pair, &pair.server, REASON_TLS_VERSION);
    cr_assert(pair_receive(&pair, peer, alert, sizeof alert, NULL) == sizeof alert);
    cr_assert(alert[0] == 0x15 && alert[6] == 70, "a protocol_version alert (RFC 8446, section 6)");
    close(peer);
    pair_cleanup(&pair);
}

Test(conn, a_second_connection_of_a_peer_needs_no_second_verification, .timeout = 20)
{
    struct pair pair;
    pair_init(&pair, NULL);
    for (int i = 0; i < 3; i++) {
        int client = pair_connect(&pair);
        int app = pair_accept(&pair);
        close(client);
        close(app);
    }
    pair_until_gone(&pair);
    cr_assert(atomic_load(&pair.server.env.stats.chains_checked) == 1);
    cr_assert(atomic_load(&pair.server.env.stats.chains_cached) == 2);
    pair_cleanup(&pair);
}

// Turns the loop until so much time has passed.
static void let_pass(struct pair *pair, uint64_t ms)
{
    uint64_t begun_ms = uv_hrtime() / 1000000;
    while (uv_hrtime() / 1000000 - begun_ms < ms) {
        pair_turn(pair);
    }
}

Test(conn, a_half_close_after_a_long_silence_is_passed_on_in_plaintext_too, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.inbound_mode = INBOUND_PLAINTEXT;
    options.limits.half_closed_ms = 2000;
    struct pair pair;
    char bytes[4];
    bool is_reset;
    pair_init(&pair, &options);
    int peer = pair_connect_mesh(&pair);
    int app = pair_accept(&pair);
    let_pass(&pair, 2100);
    shutdown(peer, SHUT_WR);
    cr_assert(pair_receive(&pair, app, bytes, 1, &is_reset) == 0 && !is_reset);
    pair_send(&pair, app, "bye", 3);
    cr_assert(pair_receive(&pair, peer, bytes, 3, NULL) == 3);
    close(app);
    pair_until_reason(&pair, &pair.server, REASON_FINISHED);
    close(peer);
    pair_cleanup(&pair);
}

Test(conn, a_silent_caller_gets_no_plaintext_from_a_port_that_became_mtls, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.inbound_mode = INBOUND_PERMISSIVE;
    options.limits.detect_ms = 100;
    struct pair pair;
    pair_init(&pair, &options);
    int peer = pair_connect_mesh(&pair);
    pair_turn(&pair);
    options.inbound_mode = INBOUND_MTLS;
    options.has_policy_by_source = true;
    pair_adopt(&pair, &pair.server, &options);
    pair_until_reason(&pair, &pair.server, REASON_PLAINTEXT_ON_MTLS);
    cr_assert(is_ended_by_reset(&pair, peer));
    cr_assert(accept(pair.app_fd, NULL, NULL) < 0);
    close(peer);
    pair_cleanup(&pair);
}

Test(conn, the_memory_of_a_connection_that_a_deadline_ends_is_counted_back, .timeout = 20)
{
    static uint8_t bytes[1 << 20];
    struct pair_options options = with_limits();
    options.inbound_mode = INBOUND_PLAINTEXT;
    options.limits.stall_ms = 100;
    struct pair pair;
    pair_init(&pair, &options);
    int peer = pair_connect_mesh(&pair);
    int app = pair_accept(&pair);
    while (pair_ended(&pair.server, REASON_STALLED) == 0) {
        (void)send(app, bytes, sizeof bytes, MSG_NOSIGNAL);
        pair_turn(&pair);
    }
    pair_until_gone(&pair);
    cr_assert(atomic_load(&pair.server.env.stats.buffer_bytes) == 0);
    close(peer);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, a_caller_that_was_gone_before_it_was_accepted_ends_as_that, .timeout = 20)
{
    static const struct linger now = {.l_onoff = 1, .l_linger = 0};
    struct pair pair;
    pair_init(&pair, NULL);
    int callers[] = {pair_connect_mesh(&pair), pair_connect(&pair)};
    for (size_t i = 0; i < 2; i++) {
        cr_assert(setsockopt(callers[i], SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
        close(callers[i]);
    }
    pair_until_reason(&pair, &pair.server, REASON_PEER_RESET);
    pair_until_reason(&pair, &pair.client, REASON_LOCAL_RESET);
    pair_cleanup(&pair);
}

Test(conn, a_hello_of_ours_is_signed_for_only_within_the_limit_on_handshakes, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.inbound_mode = INBOUND_PERMISSIVE;
    options.foreign_tls_is_application = true;
    options.limits.handshakes = 1;
    struct pair pair;
    pair_init(&pair, &options);
    pair.server.env.num_handshakes = 1; // of somebody else
    int client = pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_LIMIT_HANDSHAKES);
    cr_assert(pair.server.env.signer.num_slots == 0, "nothing was asked of the agent");
    pair.server.env.num_handshakes = 0;
    close(client);
    pair_cleanup(&pair);
}

Test(conn, handshakes_that_were_left_alone_count_until_they_are_signed_for, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.limits.handshakes = 1;
    struct pair pair;
    pair_init(&pair, &options);
    pair_agent_pause(&pair.server);
    int first = pair_connect(&pair);
    while (pair.server.env.signer.num_slots == 0) {
        pair_turn(&pair);
    }
    conn_end(pair.server.env.conns, REASON_DRAINING, NULL);
    pair_until_gone(&pair);
    int second = pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_LIMIT_HANDSHAKES);
    pair_until_gone(&pair);
    pair_agent_resume(&pair.server);
    while (pair.server.env.signer.num_abandoned > 0) {
        pair_turn(&pair);
    }
    int third = pair_connect(&pair);
    int app = pair_accept(&pair);
    close(first);
    close(second);
    close(third);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, a_signature_that_does_not_come_in_time_is_not_the_peer_s_fault, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.limits.handshake_ms = 100;
    struct pair pair;
    pair_init(&pair, &options);
    pair_agent_pause(&pair.server);
    int client = pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_SIGN_FAILED);
    cr_assert(pair_ended(&pair.server, REASON_HANDSHAKE_TIMEOUT) == 0);
    close(client);
    pair_cleanup(&pair);
}

Test(conn, a_plaintext_destination_is_authorized_and_asked_about_again, .timeout = 20)
{
    struct pair_options options = {.inbound_mode = INBOUND_PLAINTEXT,
                                   .is_outbound_plaintext = true};
    struct pair pair;
    char byte;
    pair_init(&pair, &options);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    pair_send(&pair, client, "x", 1);
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1);
    const struct conn *conn = pair.client.env.conns;
    cr_assert(conn->is_authorized && strcmp(conn->policy, "app") == 0);
    pair_adopt(&pair, &pair.client, &options); // the same again: nothing happens
    cr_assert(conn_step(conn) == STEP_RELAY && strcmp(conn->policy, "app") == 0);
    options.is_outbound_plaintext = false;
    pair_adopt(&pair, &pair.client, &options);
    cr_assert(pair_ended(&pair.client, REASON_POLICY_REVOKED) == 1, "it must be mutual TLS now");
    cr_assert(is_ended_by_reset(&pair, client));
    close(client);
    close(app);
    pair_cleanup(&pair);
}

Test(conn, a_plaintext_destination_that_changes_while_it_is_called_is_not_relayed_to, .timeout = 20)
{
    struct pair_options options = {.inbound_mode = INBOUND_PLAINTEXT,
                                   .is_outbound_plaintext = true};
    struct pair pair;
    pair_init(&pair, &options);
    int client = pair_connect(&pair);
    while (pair.client.env.conns == NULL) {
        uv_run(&pair.loop, UV_RUN_ONCE);
    }
    cr_assert(conn_step(pair.client.env.conns) == STEP_CONNECT);
    options.is_outbound_plaintext = false;
    pair_adopt(&pair, &pair.client, &options);
    cr_assert(pair_ended(&pair.client, REASON_POLICY_REVOKED) == 1);
    cr_assert(is_ended_by_reset(&pair, client));
    close(client);
    pair_cleanup(&pair);
}

Test(conn, an_alert_is_not_overtaken_by_a_reset_of_a_peer_that_stays, .timeout = 20)
{
    struct pair_options options = with_limits();
    options.limits.closing_ms = 50;
    struct pair pair;
    uint8_t alert[7] = {0};
    int error = 0;
    socklen_t len = sizeof error;
    pair_init(&pair, &options);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, foreign_hello, sizeof foreign_hello);
    pair_until_reason(&pair, &pair.server, REASON_TLS_VERSION);
    pair_until_gone(&pair); // by the deadline of CLOSING: the peer sends no end of its own
    cr_assert(getsockopt(peer, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0,
              "a reset came after the end: %s", strerror(error));
    cr_assert(pair_receive(&pair, peer, alert, sizeof alert, NULL) == sizeof alert);
    close(peer);
    pair_cleanup(&pair);
}

Test(conn, a_peer_that_sends_but_never_reads_is_cut, .timeout = 20)
{
    static uint8_t bytes[1 << 20];
    struct pair_options options = with_limits();
    options.inbound_mode = INBOUND_PLAINTEXT;
    options.limits.stall_ms = 200;
    struct pair pair;
    pair_init(&pair, &options);
    int peer = pair_connect_mesh(&pair);
    int app = pair_accept(&pair);
    uint64_t begun_ms = uv_hrtime() / 1000000;
    while (pair_ended(&pair.server, REASON_STALLED) == 0) {
        cr_assert(uv_hrtime() / 1000000 - begun_ms < 5000, "what it sends counted for it");
        (void)send(app, bytes, sizeof bytes, MSG_NOSIGNAL);
        (void)send(peer, bytes, 1, MSG_NOSIGNAL);
        pair_turn(&pair);
    }
    close(peer);
    close(app);
    pair_cleanup(&pair);
}
