// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/conn/conn.h"
#include "tests/unit/proxy/pair.h"

static struct pair pair;

static void cleanup(void)
{
    pair_cleanup(&pair);
}

TestSuite(conn, .fini = cleanup, .timeout = 20);

// PAIR(.inbound_mode = INBOUND_PLAINTEXT): two sidecars with these options.
#define PAIR(...) pair_init(&pair, &(const struct pair_options){__VA_ARGS__})

static bool is_ended_by_reset(int fd)
{
    uint8_t bytes[4096];
    bool is_reset;
    while (pair_receive(&pair, fd, bytes, sizeof bytes, &is_reset) == sizeof bytes) {
    }
    return is_reset;
}

Test(conn, policy_denied_is_told_to_the_peer_and_the_application_never_called)
{
    PAIR(.policy_principal = "spiffe://prod.example/ns/other/sa/x");
    int client = pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_POLICY_DENIED);
    pair_until_reason(&pair, &pair.client, REASON_PEER_ALERT);
    cr_assert(is_ended_by_reset(client));
    cr_assert(accept(pair.app_fd, NULL, NULL) < 0);
}

Test(conn, a_server_of_another_identity_never_sees_a_byte)
{
    PAIR(.expected_id = "spiffe://prod.example/ns/payments/sa/db");
    int client = pair_connect(&pair);
    pair_until_reason(&pair, &pair.client, REASON_WRONG_IDENTITY);
    pair_until_reason(&pair, &pair.server, REASON_PEER_ALERT);
    cr_assert(is_ended_by_reset(client));
}

Test(conn, plaintext_on_an_mtls_port_is_refused)
{
    PAIR();
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "GET / HTTP/1.1\r\n\r\n", 18);
    pair_until_reason(&pair, &pair.server, REASON_PLAINTEXT_ON_MTLS);
}

Test(conn, a_hello_that_is_no_hello_is_a_tls_error)
{
    PAIR();
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10);
    pair_until_reason(&pair, &pair.server, REASON_TLS_ERROR);
}

Test(conn, a_peer_that_leaves_in_the_handshake_is_named)
{
    PAIR();
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "\x16\x03\x01", 3);
    pair_close(&pair, peer);
    pair_until_reason(&pair, &pair.server, REASON_PEER_CLOSED);
}

Test(conn, a_hello_that_never_ends_is_cut_at_its_deadline)
{
    PAIR(.limits.handshake_ms = 50);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "\x16\x03\x01\x02\x00\x01", 6);
    pair_until_reason(&pair, &pair.server, REASON_HANDSHAKE_TIMEOUT);
}

Test(conn, an_application_that_refuses_is_told_to_the_peer)
{
    PAIR();
    pair.server.spec.target.port = 1; // nobody listens on tcpmux
    int client = pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_CONNECT_REFUSED);
    pair_until_reason(&pair, &pair.client, REASON_PEER_ALERT);
    cr_assert(is_ended_by_reset(client));
}

Test(conn, an_idle_connection_ends_after_its_time)
{
    PAIR(.limits.idle_ms = 80);
    pair_connect(&pair);
    pair_accept(&pair);
    pair_until_reason(&pair, &pair.client, REASON_IDLE);
}

Test(conn, a_half_closed_connection_ends_after_its_time)
{
    PAIR(.limits.half_closed_ms = 80);
    int client = pair_connect(&pair);
    pair_accept(&pair);
    shutdown(client, SHUT_WR);
    pair_until_reason(&pair, &pair.client, REASON_HALF_CLOSED);
}

Test(conn, a_reader_that_stops_is_cut_and_its_neighbour_is_not)
{
    static uint8_t bytes[1 << 20];
    PAIR(.limits.stall_ms = 200);
    pair_connect(&pair);
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
}

Test(conn, a_policy_that_changes_ends_just_what_it_denies)
{
    const struct pair_options others = {.policy_principal = "spiffe://prod.example/ns/other/"};
    PAIR();
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    pair_adopt(&pair, &pair.server, NULL); // the same again: nothing happens
    pair_send(&pair, client, "x", 1);
    char byte;
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1);
    pair_adopt(&pair, &pair.server, &others);
    cr_assert(pair_ended(&pair.server, REASON_POLICY_REVOKED) == 1);
    cr_assert(is_ended_by_reset(app));
    pair_until_reason(&pair, &pair.client, REASON_PEER_ALERT);
    cr_assert(is_ended_by_reset(client));
}

Test(conn, a_destination_that_expects_somebody_else_now_ends_its_connections)
{
    const struct pair_options others = {.expected_id = "spiffe://prod.example/ns/payments/sa/db"};
    PAIR();
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    pair_adopt(&pair, &pair.client, &others);
    cr_assert(pair_ended(&pair.client, REASON_WRONG_IDENTITY) == 1);
    cr_assert(is_ended_by_reset(client));
    cr_assert(is_ended_by_reset(app));
}

Test(conn, what_lies_in_the_sockets_counts_before_a_deadline_that_passed_meanwhile)
{
    char byte;
    PAIR(.inbound_mode = INBOUND_PLAINTEXT, .limits.idle_ms = 300);
    int peer = pair_connect_mesh(&pair);
    int app = pair_accept(&pair);
    pair_send(&pair, peer, "x", 1); // it relays, and its timer runs
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1);
    cr_assert(write(peer, "x", 1) == 1 && usleep(400000) == 0); // as if the process was stopped
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1);
    cr_assert(pair_ended(&pair.server, REASON_IDLE) == 0);
    pair_until_reason(&pair, &pair.server, REASON_IDLE); // in its time
}

Test(conn, a_handshake_whose_signer_is_gone_ends_as_that)
{
    PAIR();
    link_close(&pair.server.link);
    pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_SIGN_FAILED);
}

static bool is_server_signing(void *ctx)
{
    (void)ctx;
    return pair.server.env.conns != NULL && handshake_is_signing(&pair.server.env.conns->handshake);
}

Test(conn, a_peer_whose_handshake_came_before_the_demand_for_another_group_is_told)
{
    static const uint16_t groups[] = {SSL_GROUP_X25519};
    PAIR();
    SSL_CTX_set1_group_ids(pair.client.env.snapshot->trust->contexts.client, groups, 1);
    pair_agent_pause(&pair.server);
    int client = pair_connect(&pair);
    pair_until(&pair, is_server_signing, NULL, "the server signs, and so the group is chosen");
    pair_adopt(&pair, &pair.server, NULL);
    *(bool *)(uintptr_t)&pair.server.env.snapshot->trust->needs_post_quantum = true;
    pair_agent_resume(&pair.server);
    pair_until_reason(&pair, &pair.server, REASON_NO_SHARED_GROUP);
    pair_until_reason(&pair, &pair.client, REASON_PEER_ALERT);
    cr_assert(is_ended_by_reset(client));
    cr_assert(accept(pair.app_fd, NULL, NULL) < 0);
}

Test(conn, permissive_relays_what_is_no_hello)
{
    char bytes[8] = "";
    PAIR(.inbound_mode = INBOUND_PERMISSIVE);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "hello", 5);
    int app = pair_accept(&pair);
    cr_assert(pair_receive(&pair, app, bytes, 5, NULL) == 5 && memcmp(bytes, "hello", 5) == 0);
    cr_assert(atomic_load(&pair.server.env.stats.plaintext_connections) == 1);
}

Test(conn, permissive_takes_a_silent_caller_for_plaintext_after_its_time)
{
    char bytes[8] = "";
    PAIR(.inbound_mode = INBOUND_PERMISSIVE, .limits.detect_ms = 50);
    int peer = pair_connect_mesh(&pair);
    int app = pair_accept(&pair);
    pair_send(&pair, app, "220 hi", 6);
    cr_assert(pair_receive(&pair, peer, bytes, 6, NULL) == 6 && memcmp(bytes, "220 hi", 6) == 0);
}

Test(conn, permissive_still_speaks_mutual_tls_with_a_sidecar)
{
    for (int foreign = 0; foreign < 2; foreign++) {
        char bytes[8] = "";
        PAIR(.inbound_mode = INBOUND_PERMISSIVE, .foreign_tls_is_application = foreign != 0);
        int client = pair_connect(&pair);
        pair_send(&pair, client, "hello", 5);
        int app = pair_accept(&pair);
        cr_assert(pair_receive(&pair, app, bytes, 5, NULL) == 5 && memcmp(bytes, "hello", 5) == 0);
        cr_assert(atomic_load(&pair.server.env.stats.plaintext_connections) == 0);
        pair_cleanup(&pair);
    }
}

// A TLS 1.2 ClientHello without extensions, so without our ALPN: the application's own.
static const uint8_t foreign_hello[] = {0x16, 0x03, 0x01, 0x00, 0x2d, 0x01, 0x00, 0x00, 0x29, 0x03,
                                        0x03, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
                                        0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13,
                                        0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d,
                                        0x1e, 0x1f, 0x20, 0x00, 0x00, 0x02, 0xc0, 0x2f, 0x01, 0x00};

Test(conn, a_foreign_hello_reaches_the_application_as_it_came)
{
    uint8_t bytes[sizeof foreign_hello];
    PAIR(.inbound_mode = INBOUND_PERMISSIVE, .foreign_tls_is_application = true);
    int peer = pair_connect_mesh(&pair);
    for (size_t i = 0; i < sizeof foreign_hello; i++) { // in one-byte pieces
        pair_send(&pair, peer, &foreign_hello[i], 1);
        pair_turn(&pair);
    }
    int app = pair_accept(&pair);
    cr_assert(pair_receive(&pair, app, bytes, sizeof bytes, NULL) == sizeof bytes);
    cr_assert(memcmp(bytes, foreign_hello, sizeof bytes) == 0);
}

// Turns the loop until so much time has passed.
static void let_pass(uint64_t ms)
{
    uint64_t begun_ms = uv_hrtime() / 1000000;
    while (uv_hrtime() / 1000000 - begun_ms < ms) {
        pair_turn(&pair);
    }
}

Test(conn, a_hello_in_pieces_is_waited_for_longer_than_silence)
{
    uint8_t bytes[sizeof foreign_hello];
    PAIR(.inbound_mode = INBOUND_PERMISSIVE, .foreign_tls_is_application = true,
         .limits.detect_ms = 10, .limits.hello_ms = 60000);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, foreign_hello, 6);
    let_pass(60);
    cr_assert(accept(pair.app_fd, NULL, NULL) < 0, "whose it is has not been said");
    pair_send(&pair, peer, foreign_hello + 6, sizeof foreign_hello - 6);
    int app = pair_accept(&pair);
    cr_assert(pair_receive(&pair, app, bytes, sizeof bytes, NULL) == sizeof bytes);
}

Test(conn, a_hello_that_stops_in_the_middle_is_given_up)
{
    PAIR(.inbound_mode = INBOUND_PERMISSIVE, .foreign_tls_is_application = true,
         .limits.detect_ms = 10, .limits.hello_ms = 30);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, foreign_hello, 20);
    pair_until_reason(&pair, &pair.server, REASON_HANDSHAKE_TIMEOUT);
}

Test(conn, a_hello_that_is_here_in_part_when_its_port_changes_is_still_read_whole)
{
    // The same with our ALPN: not the application's, and still too old.
    uint8_t hello[sizeof foreign_hello + 17];
    static const uint8_t alpn[] = {0x00, 0x0f, 0x00, 0x10, 0x00, 0x0b, 0x00, 0x09, 0x08,
                                   't',  'a',  'b',  'a',  'r',  'd',  '/',  '1'};
    memcpy(hello, foreign_hello, sizeof foreign_hello);
    memcpy(hello + sizeof foreign_hello, alpn, sizeof alpn);
    hello[4] += sizeof alpn; // of the record
    hello[8] += sizeof alpn; // of the message
    PAIR(.inbound_mode = INBOUND_PERMISSIVE, .foreign_tls_is_application = true);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, hello, 20);
    while (pair.server.env.conns == NULL || pair.server.env.conns->mesh->in.len < 20) {
        pair_turn(&pair);
    }
    pair_adopt(&pair, &pair.server,
               &(const struct pair_options){.inbound_mode = INBOUND_PERMISSIVE});
    pair_send(&pair, peer, hello + 20, sizeof hello - 20);
    pair_until_reason(&pair, &pair.server, REASON_TLS_VERSION);
}

Test(conn, an_old_client_is_told_its_version_is_not_spoken)
{
    uint8_t alert[7] = {0};
    PAIR();
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, foreign_hello, sizeof foreign_hello);
    pair_until_reason(&pair, &pair.server, REASON_TLS_VERSION);
    cr_assert(pair_receive(&pair, peer, alert, sizeof alert, NULL) == sizeof alert);
    cr_assert(alert[0] == 0x15 && alert[6] == 70, "a protocol_version alert (RFC 8446, section 6)");
}

Test(conn, a_second_connection_of_a_peer_needs_no_second_verification)
{
    PAIR();
    for (int i = 0; i < 3; i++) {
        int client = pair_connect(&pair);
        int app = pair_accept(&pair);
        pair_close(&pair, client);
        pair_close(&pair, app);
    }
    pair_until_gone(&pair);
    cr_assert(atomic_load(&pair.server.env.stats.chains_checked) == 1);
    cr_assert(atomic_load(&pair.server.env.stats.chains_cached) == 2);
}

Test(conn, a_half_close_after_a_long_silence_is_passed_on_in_plaintext_too)
{
    char bytes[4];
    bool is_reset;
    PAIR(.inbound_mode = INBOUND_PLAINTEXT, .limits.half_closed_ms = 2000);
    int peer = pair_connect_mesh(&pair);
    int app = pair_accept(&pair);
    let_pass(2100);
    shutdown(peer, SHUT_WR);
    cr_assert(pair_receive(&pair, app, bytes, 1, &is_reset) == 0 && !is_reset);
    pair_send(&pair, app, "bye", 3);
    cr_assert(pair_receive(&pair, peer, bytes, 3, NULL) == 3);
    pair_close(&pair, app);
    pair_until_reason(&pair, &pair.server, REASON_FINISHED);
}

Test(conn, a_silent_caller_gets_no_plaintext_from_a_port_that_became_mtls)
{
    struct pair_options options = {0};
    options.inbound_mode = INBOUND_PERMISSIVE;
    options.limits.detect_ms = 100;
    pair_init(&pair, &options);
    int peer = pair_connect_mesh(&pair);
    pair_turn(&pair);
    options.inbound_mode = INBOUND_MTLS;
    options.has_policy_by_source = true;
    pair_adopt(&pair, &pair.server, &options);
    pair_until_reason(&pair, &pair.server, REASON_PLAINTEXT_ON_MTLS);
    cr_assert(is_ended_by_reset(peer));
    cr_assert(accept(pair.app_fd, NULL, NULL) < 0);
}

Test(conn, the_memory_of_a_connection_that_a_deadline_ends_is_counted_back)
{
    static uint8_t bytes[1 << 20];
    PAIR(.inbound_mode = INBOUND_PLAINTEXT, .limits.stall_ms = 100);
    pair_connect_mesh(&pair);
    int app = pair_accept(&pair);
    while (pair_ended(&pair.server, REASON_STALLED) == 0) {
        (void)send(app, bytes, sizeof bytes, MSG_NOSIGNAL);
        pair_turn(&pair);
    }
    pair_until_gone(&pair);
    cr_assert(atomic_load(&pair.server.env.stats.buffer_bytes) == 0);
}

Test(conn, a_caller_that_was_gone_before_it_was_accepted_ends_as_that)
{
    PAIR();
    pair_reset(&pair, pair_connect_mesh(&pair));
    pair_reset(&pair, pair_connect(&pair));
    pair_until_reason(&pair, &pair.server, REASON_PEER_RESET);
    pair_until_reason(&pair, &pair.client, REASON_LOCAL_RESET);
}

Test(conn, a_signature_that_does_not_come_in_time_is_not_the_peer_s_fault)
{
    PAIR(.limits.handshake_ms = 100);
    pair_adopt(&pair, &pair.client, NULL); // it has more patience
    pair_agent_pause(&pair.server);
    pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_SIGN_TIMEOUT);
    cr_assert(pair_ended(&pair.server, REASON_HANDSHAKE_TIMEOUT) == 0);
}

Test(conn, a_plaintext_destination_is_authorized_and_asked_about_again)
{
    struct pair_options options = {.inbound_mode = INBOUND_PLAINTEXT,
                                   .is_outbound_plaintext = true};
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
    cr_assert(is_ended_by_reset(client));
}

Test(conn, a_plaintext_destination_that_changes_while_it_is_called_is_not_relayed_to)
{
    struct pair_options options = {.inbound_mode = INBOUND_PLAINTEXT,
                                   .is_outbound_plaintext = true};
    pair_init(&pair, &options);
    int client = pair_connect(&pair);
    while (pair.client.env.conns == NULL) {
        uv_run(&pair.loop, UV_RUN_ONCE);
    }
    cr_assert(conn_step(pair.client.env.conns) == STEP_CONNECT);
    options.is_outbound_plaintext = false;
    pair_adopt(&pair, &pair.client, &options);
    cr_assert(pair_ended(&pair.client, REASON_POLICY_REVOKED) == 1);
    cr_assert(is_ended_by_reset(client));
}

Test(conn, an_alert_is_not_overtaken_by_a_reset_of_a_peer_that_stays)
{
    uint8_t alert[7] = {0};
    int error = 0;
    socklen_t len = sizeof error;
    PAIR(.limits.closing_ms = 50);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, foreign_hello, sizeof foreign_hello);
    pair_until_reason(&pair, &pair.server, REASON_TLS_VERSION);
    pair_until_gone(&pair); // by the deadline of CLOSING: the peer sends no end of its own
    cr_assert(getsockopt(peer, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0,
              "a reset came after the end: %s", strerror(error));
    cr_assert(pair_receive(&pair, peer, alert, sizeof alert, NULL) == sizeof alert);
}

Test(conn, a_peer_that_sends_but_never_reads_is_cut)
{
    static uint8_t bytes[1 << 20];
    PAIR(.inbound_mode = INBOUND_PLAINTEXT, .limits.stall_ms = 200);
    int peer = pair_connect_mesh(&pair);
    int app = pair_accept(&pair);
    uint64_t begun_ms = uv_hrtime() / 1000000;
    while (pair_ended(&pair.server, REASON_STALLED) == 0) {
        cr_assert(uv_hrtime() / 1000000 - begun_ms < 5000, "what it sends counted for it");
        (void)send(app, bytes, sizeof bytes, MSG_NOSIGNAL);
        (void)send(peer, bytes, 1, MSG_NOSIGNAL);
        pair_turn(&pair);
    }
}

Test(conn, a_request_and_its_answer_pass_and_both_sidecars_finish)
{
    static uint8_t bytes[3 * RING_BYTES];
    PAIR();
    int client = pair_connect(&pair);
    pair_send(&pair, client, "ping", 4);
    int app = pair_accept(&pair);
    cr_assert(pair_receive(&pair, app, bytes, 4, NULL) == 4 && memcmp(bytes, "ping", 4) == 0);
    pair_send(&pair, app, bytes, sizeof bytes);
    cr_assert(pair_receive(&pair, client, bytes, sizeof bytes, NULL) == sizeof bytes);
    cr_assert(memcmp(bytes, "ping", 4) == 0);
    pair_turn(&pair);
    cr_assert(pair.client.env.pool.num_lent == 0 && pair.server.env.pool.num_lent == 0);
    shutdown(client, SHUT_WR);
    bool is_reset;
    cr_assert(pair_receive(&pair, app, bytes, 1, &is_reset) == 0 && !is_reset);
    pair_close(&pair, app);
    cr_assert(pair_receive(&pair, client, bytes, 1, &is_reset) == 0 && !is_reset);
    pair_until_gone(&pair);
    cr_assert(pair_ended(&pair.client, REASON_FINISHED) == 1);
    cr_assert(pair_ended(&pair.server, REASON_FINISHED) == 1);
}

// Both sidecars relay from here on.
static void talk(int client, int app)
{
    char byte = 'x';
    pair_send(&pair, client, &byte, 1);
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1);
    pair_send(&pair, app, &byte, 1);
    cr_assert(pair_receive(&pair, client, &byte, 1, NULL) == 1);
}

Test(conn, a_reset_of_either_end_reaches_the_other_as_a_reset)
{
    for (int is_of_client = 0; is_of_client < 2; is_of_client++) {
        PAIR();
        int client = pair_connect(&pair);
        int app = pair_accept(&pair);
        talk(client, app);
        pair_reset(&pair, is_of_client ? client : app);
        cr_assert(is_ended_by_reset(is_of_client ? app : client));
        pair_until_reason(&pair, is_of_client ? &pair.client : &pair.server, REASON_LOCAL_RESET);
        pair_until_reason(&pair, is_of_client ? &pair.server : &pair.client, REASON_PEER_ALERT);
        pair_cleanup(&pair);
    }
}

Test(conn, a_reset_in_plaintext_is_the_peer_s_when_the_peer_sent_it)
{
    for (int is_of_caller = 0; is_of_caller < 2; is_of_caller++) {
        PAIR(.inbound_mode = INBOUND_PLAINTEXT, .is_outbound_plaintext = true);
        int client = pair_connect(&pair);
        int app = pair_accept(&pair);
        talk(client, app);
        pair_reset(&pair, is_of_caller ? client : app);
        cr_assert(is_ended_by_reset(is_of_caller ? app : client));
        pair_until_gone(&pair);
        cr_assert(pair_ended(&pair.client, is_of_caller ? REASON_LOCAL_RESET : REASON_PEER_RESET) ==
                  1);
        cr_assert(pair_ended(&pair.server, is_of_caller ? REASON_PEER_RESET : REASON_LOCAL_RESET) ==
                  1);
        pair_cleanup(&pair);
    }
}
