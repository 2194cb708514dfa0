// SPDX-License-Identifier: Apache-2.0
#include "proxy/conn/handshake.h"

#include <criterion/criterion.h>
#include <openssl/bio.h>
#include <openssl/bytestring.h>
#include <openssl/ssl.h>
#include <string.h>

#include "proxy/carry/tls.h"
#include "proxy/conn/queue.h"
#include "tests/unit/proxy/memory.h"
#include "tests/unit/proxy/pair.h"

// Handshakes without connections: the workers of a pair, and two sides joined in memory.
static struct {
    struct pair pair;
    struct wire there;
    struct wire back;
    struct memory client;
    struct memory server;
    struct handshake at_client;
    struct handshake at_server;
    struct addr destination;
    struct addr source;
    size_t num_shares; // of the first ClientHello, without that of GREASE
} t;

static void begin(void)
{
    t.there = t.back = (struct wire){.bytes_max = RING_BYTES};
    memory_join(&t.client, &t.server, &t.there, &t.back, &t.pair.client.env.pool);
    t.client.side.is_mesh = t.server.side.is_mesh = true;
    cr_assert(addr_parse(&t.destination, "127.0.0.1:8080", false, NULL));
    cr_assert(addr_parse(&t.source, "127.0.0.1:41000", false, NULL));
    handshake_begin(&t.at_client, &t.pair.client.env, &t.client.side, &t.destination, NULL, 0);
    handshake_begin(&t.at_server, &t.pair.server.env, &t.server.side, &t.source, &t.destination,
                    8080);
}

static void init(const struct pair_options *options)
{
    pair_init(&t.pair, options);
    begin();
}

static uint32_t num_in_flight(const struct pair_end *end, enum direction direction)
{
    return end->env.gates[direction].num[TICKET_IN_FLIGHT];
}

static void end(void)
{
    handshake_over(&t.at_client);
    handshake_over(&t.at_server);
    handshake_over(&t.at_server); // a second time: nothing
    cr_assert(num_in_flight(&t.pair.client, DIRECTION_OUTBOUND) == 0);
    cr_assert(num_in_flight(&t.pair.server, DIRECTION_INBOUND) == 0);
    struct memory *const memories[] = {&t.client, &t.server};
    for (size_t i = 0; i < 2; i++) {
        tls_stop(&memories[i]->side);
        side_close(&memories[i]->side, false);
    }
}

static void cleanup(void)
{
    end();
    pair_cleanup(&t.pair);
}

TestSuite(handshake, .fini = cleanup, .timeout = 20);

#define HANDSHAKE(...) init(&(const struct pair_options){__VA_ARGS__})

struct outcome {
    enum handshake_result client;
    enum handshake_result server;
};

static void read_on(struct memory *memory)
{
    side_set_reading(&memory->side, memory->side.ssl == NULL || memory->side.in.len == 0);
    memory_turn(memory, SIZE_MAX);
}

// Steps both until neither waits any more; what has failed steps no further.
static struct outcome shake(void)
{
    struct outcome outcome = {HANDSHAKE_WAIT, HANDSHAKE_WAIT};
    uint64_t begun_ms = uv_hrtime() / 1000000;
    while (outcome.client == HANDSHAKE_WAIT || outcome.server == HANDSHAKE_WAIT) {
        cr_assert(uv_hrtime() / 1000000 - begun_ms < 10000, "a handshake that never ends");
        if (outcome.client == HANDSHAKE_WAIT) {
            outcome.client = handshake_step(&t.at_client);
        }
        if (outcome.server == HANDSHAKE_WAIT) {
            outcome.server = handshake_step(&t.at_server);
        }
        read_on(&t.client);
        read_on(&t.server);
        uv_run(&t.pair.loop, UV_RUN_NOWAIT); // the agents sign
    }
    return outcome;
}

Test(handshake, proves_both_ends_to_each_other_without_a_connection)
{
    HANDSHAKE();
    struct outcome outcome = shake();
    cr_assert(outcome.client == HANDSHAKE_DONE && outcome.server == HANDSHAKE_DONE);
    cr_assert(num_in_flight(&t.pair.client, DIRECTION_OUTBOUND) == 1);
    cr_assert(num_in_flight(&t.pair.server, DIRECTION_INBOUND) == 1);
    struct peer *server = handshake_take_peer(&t.at_client);
    struct peer *client = handshake_take_peer(&t.at_server);
    cr_assert_str_eq(server->text, PAIR_SERVER_ID);
    cr_assert_str_eq(client->text, PAIR_CLIENT_ID);
    cr_assert(handshake_take_peer(&t.at_client) == NULL, "it is handed over once");
    peer_unref(&t.pair.client.env.peers, server);
    peer_unref(&t.pair.server.env.peers, client);
    cr_assert(t.at_client.snapshot == t.pair.client.env.snapshot);
}

Test(handshake, a_server_that_is_not_expected_learns_no_certificate)
{
    HANDSHAKE(.expected_id = "spiffe://prod.example/ns/payments/sa/db");
    struct outcome outcome = shake();
    cr_assert(outcome.client == HANDSHAKE_FAILED && outcome.server == HANDSHAKE_FAILED);
    cr_assert(t.at_client.reason == REASON_WRONG_IDENTITY);
    cr_assert(handshake_take_peer(&t.at_client) == NULL && handshake_claimed(&t.at_client) != NULL);
    cr_assert(t.at_server.reason == REASON_PEER_ALERT && t.at_server.peer == NULL);
    cr_assert(t.pair.client.env.signer.slots[0].turn == 0, "nothing was signed for it");
}

// Lets the client send its ClientHello when it is its turn.
static void send_hello(void)
{
    while (t.client.side.ssl == NULL) {
        uv_run(&t.pair.loop, UV_RUN_NOWAIT);
        cr_assert(handshake_step(&t.at_client) == HANDSHAKE_WAIT);
    }
}

// Brings a whole ClientHello to the server, who reads it.
static void say_hello(void)
{
    send_hello();
    read_on(&t.server);
    cr_assert(handshake_step(&t.at_server) == HANDSHAKE_WAIT);
}

Test(handshake, the_one_too_many_waits_with_its_hello_and_then_begins)
{
    HANDSHAKE(.limits.handshakes = 1);
    struct gate *gate = &t.pair.server.env.gates[DIRECTION_INBOUND];
    gate->num[TICKET_IN_FLIGHT] = 1; // of somebody else
    say_hello();
    cr_assert(t.at_server.ticket.state == TICKET_WAITING);
    cr_assert(t.pair.server.env.signer.slots[0].turn == 0, "nothing was asked of the agent");
    gate->num[TICKET_IN_FLIGHT] = 0;
    queue_wake(&t.pair.server.env);
    struct outcome outcome = shake();
    cr_assert(outcome.client == HANDSHAKE_DONE && outcome.server == HANDSHAKE_DONE);
}

Test(handshake, who_sends_nothing_gets_neither_a_slot_nor_a_tls_object)
{
    HANDSHAKE();
    cr_assert(handshake_step(&t.at_server) == HANDSHAKE_WAIT);
    cr_assert(t.server.side.ssl == NULL && num_in_flight(&t.pair.server, DIRECTION_INBOUND) == 0);
}

Test(handshake, one_that_has_to_go_for_another_fails_as_that)
{
    HANDSHAKE();
    struct gate *gate = &t.pair.server.env.gates[DIRECTION_INBOUND];
    cr_assert(gate_evict_hello(gate, uv_now(&t.pair.loop) + GATE_YOUNG_MS));
    cr_assert(handshake_step(&t.at_server) == HANDSHAKE_FAILED);
    cr_assert(t.at_server.reason == REASON_LIMIT_HELLOS);
}

Test(handshake, a_peer_that_leaves_while_it_waits_for_its_turn_is_let_go)
{
    HANDSHAKE(.limits.handshakes = 1);
    struct gate *gate = &t.pair.server.env.gates[DIRECTION_INBOUND];
    gate->num[TICKET_IN_FLIGHT] = 1; // of somebody else
    say_hello();
    t.server.side.is_eof = true;
    cr_assert(handshake_step(&t.at_server) == HANDSHAKE_FAILED);
    cr_assert(t.at_server.reason == REASON_PEER_CLOSED);
    gate->num[TICKET_IN_FLIGHT] = 0;
}

Test(handshake, whoever_shows_a_certificate_without_its_key_is_only_said_to_claim_its_name)
{
    for (int is_client = 0; is_client < 2; is_client++) {
        HANDSHAKE();
        struct handshake *judge = is_client ? &t.at_server : &t.at_client;
        pair_agent_sign_by(is_client ? &t.pair.client : &t.pair.server, t.pair.root.key);
        shake();
        cr_assert(judge->reason == REASON_TLS_ERROR, "%s", reason_text(judge->reason));
        cr_assert_str_eq(handshake_claimed(judge), is_client ? PAIR_CLIENT_ID : PAIR_SERVER_ID);
        cr_assert(handshake_take_peer(judge) == NULL, "it has proved nothing");
        cleanup();
    }
    HANDSHAKE();
}

Test(handshake, what_is_no_hello_is_plaintext)
{
    HANDSHAKE();
    cr_assert(side_borrow(&t.client.side, &t.client.side.out));
    ring_write(&t.client.side.out, (const uint8_t *)"\x16\x03\x01\x00\x05", 5);
    side_flush(&t.client.side);
    read_on(&t.server);
    cr_assert(handshake_step(&t.at_server) == HANDSHAKE_WAIT, "so far it could be one");
    cr_assert(side_borrow(&t.client.side, &t.client.side.out));
    ring_write(&t.client.side.out, (const uint8_t *)"\xff", 1);
    side_flush(&t.client.side);
    read_on(&t.server);
    cr_assert(handshake_step(&t.at_server) == HANDSHAKE_FAILED);
    cr_assert(t.at_server.reason == REASON_PLAINTEXT_ON_MTLS);
}

Test(handshake, a_hello_that_was_looked_at_is_still_shaken_hands_with)
{
    HANDSHAKE();
    send_hello();
    cr_assert(handshake_look(&t.at_server) == HELLO_WAIT);
    cr_assert(num_in_flight(&t.pair.server, DIRECTION_INBOUND) == 0, "looking takes no slot");
    read_on(&t.server);
    cr_assert(handshake_look(&t.at_server) == HELLO_OURS);
    struct outcome outcome = shake();
    cr_assert(outcome.client == HANDSHAKE_DONE && outcome.server == HANDSHAKE_DONE);
}

Test(handshake, a_server_makes_no_tls_object_before_the_whole_hello_is_there)
{
    HANDSHAKE();
    send_hello();
    size_t len = t.there.ring.len;
    for (size_t i = 1; i < len; i++) {
        side_set_reading(&t.server.side, true);
        memory_turn(&t.server, 1);
        cr_assert(handshake_step(&t.at_server) == HANDSHAKE_WAIT && t.server.side.ssl == NULL,
                  "after %zu of %zu bytes", i, len);
    }
    struct outcome outcome = shake();
    cr_assert(outcome.client == HANDSHAKE_DONE && outcome.server == HANDSHAKE_DONE);
}

Test(handshake, half_a_hello_and_an_end_is_a_peer_that_closed)
{
    HANDSHAKE();
    send_hello();
    side_set_reading(&t.server.side, true);
    memory_turn(&t.server, 100);
    t.server.side.is_eof = true;
    cr_assert(handshake_step(&t.at_server) == HANDSHAKE_FAILED);
    cr_assert(t.at_server.reason == REASON_PEER_CLOSED && t.server.side.ssl == NULL);
}

Test(handshake, a_hello_without_end_is_refused)
{
    static const uint8_t part[] = {22, 3, 1, 64, 0, 1, 0, 255, 255};
    HANDSHAKE();
    cr_assert(side_borrow(&t.client.side, &t.client.side.out));
    ring_write(&t.client.side.out, part, sizeof part);
    side_flush(&t.client.side);
    cr_assert(handshake_step(&t.at_server) == HANDSHAKE_WAIT);
    read_on(&t.server);
    cr_assert(handshake_step(&t.at_server) == HANDSHAKE_FAILED);
    cr_assert(t.at_server.reason == REASON_TLS_ERROR && t.server.side.ssl == NULL);
}

Test(handshake, one_that_is_given_up_is_counted_back_and_its_signature_forgotten)
{
    HANDSHAKE();
    pair_agent_pause(&t.pair.server);
    while (!handshake_is_signing(&t.at_server)) {
        handshake_step(&t.at_client);
        handshake_step(&t.at_server);
        read_on(&t.client);
        read_on(&t.server);
        uv_run(&t.pair.loop, UV_RUN_NOWAIT); // a turn of the loop begins only so many
    }
    t.server.side.is_eof = true;
    cr_assert(handshake_step(&t.at_server) == HANDSHAKE_FAILED, "nobody waits for the signature");
    cr_assert(t.at_server.reason == REASON_PEER_CLOSED);
    handshake_over(&t.at_server);
    cr_assert(num_in_flight(&t.pair.server, DIRECTION_INBOUND) == 0);
    cr_assert(t.pair.server.env.signer.num_asked == 1);
}

Test(handshake, a_destination_that_is_plaintext_by_now_can_be_proved_by_nobody)
{
    HANDSHAKE();
    const struct pair_options plaintext = {.is_outbound_plaintext = true};
    pair_adopt(&t.pair, &t.pair.client, &plaintext);
    cr_assert(shake().client == HANDSHAKE_FAILED);
    cr_assert(t.at_client.reason == REASON_WRONG_IDENTITY);
}

// A caller that offers X25519MLKEM768 and answers the HelloRetryRequest with its first hello.
Test(handshake, a_broken_answer_to_a_hello_retry_request_is_no_missing_group, .timeout = 20)
{
    static const uint16_t groups[] = {SSL_GROUP_X25519, SSL_GROUP_X25519_MLKEM768};
    HANDSHAKE();
    SSL_CTX *ctx = SSL_CTX_new(TLS_with_buffers_method());
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set1_group_ids(ctx, groups, 2);
    SSL *ssl = SSL_new(ctx);
    SSL_set1_client_key_shares(ssl, groups, 1);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    BIO_set_mem_eof_return(SSL_get_rbio(ssl), -1);
    SSL_set_connect_state(ssl);
    SSL_do_handshake(ssl);
    const uint8_t *hello;
    size_t len;
    BIO_mem_contents(SSL_get_wbio(ssl), &hello, &len);
    for (int i = 0; i < 2; i++) {
        cr_assert(side_borrow(&t.client.side, &t.client.side.out));
        ring_write(&t.client.side.out, hello, len);
        side_flush(&t.client.side);
        enum handshake_result result;
        do { // until it has answered the first one, and refused the second
            read_on(&t.server);
            result = handshake_step(&t.at_server);
            uv_run(&t.pair.loop, UV_RUN_NOWAIT);
        } while (result == HANDSHAKE_WAIT &&
                 (i == 1 || t.at_server.ticket.state != TICKET_IN_FLIGHT));
        cr_assert(result == (i == 0 ? HANDSHAKE_WAIT : HANDSHAKE_FAILED), "%d", i);
    }
    cr_expect(t.at_server.reason == REASON_TLS_ERROR, "reason %s, detail %s",
              reason_text(t.at_server.reason), t.at_server.detail);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

// A server of TLS 1.2 alone.
Test(handshake, an_alert_about_the_version_is_not_explained_by_the_group)
{
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, SSL_AD_PROTOCOL_VERSION};
    HANDSHAKE();
    *(bool *)(uintptr_t)&t.pair.client.env.snapshot->trust->needs_post_quantum = true;
    send_hello();
    cr_assert(side_borrow(&t.server.side, &t.server.side.out));
    ring_write(&t.server.side.out, alert, sizeof alert);
    side_flush(&t.server.side);
    read_on(&t.client);
    cr_assert(handshake_step(&t.at_client) == HANDSHAKE_FAILED);
    cr_expect(strstr(t.at_client.detail, "X25519MLKEM768") == NULL, "reason %s, detail %s",
              reason_text(t.at_client.reason), t.at_client.detail);
}

// The demand comes in force at the server between a classical hello and the end of the handshake.
Test(handshake, a_handshake_begun_before_the_demand_does_not_end_classical_after_it)
{
    static const uint16_t groups[] = {SSL_GROUP_X25519};
    HANDSHAKE();
    SSL_CTX_set1_group_ids(t.pair.client.env.snapshot->trust->contexts.client, groups, 1);
    say_hello();
    pair_adopt(&t.pair, &t.pair.server, NULL);
    cr_assert(t.pair.server.env.snapshot != t.at_server.snapshot);
    *(bool *)(uintptr_t)&t.pair.server.env.snapshot->trust->needs_post_quantum = true;
    struct outcome outcome = shake();
    cr_expect(outcome.server == HANDSHAKE_FAILED, "done with %s", tls_group(&t.server.side));
}

static enum ssl_select_cert_result_t count_shares(const SSL_CLIENT_HELLO *hello)
{
    const uint8_t *data;
    size_t len;
    CBS extension, list, key;
    uint16_t group;
    cr_assert(SSL_early_callback_ctx_extension_get(hello, TLSEXT_TYPE_key_share, &data, &len));
    CBS_init(&extension, data, len);
    cr_assert(CBS_get_u16_length_prefixed(&extension, &list));
    t.num_shares = 0;
    while (CBS_len(&list) > 0) {
        cr_assert(CBS_get_u16(&list, &group) && CBS_get_u16_length_prefixed(&list, &key));
        t.num_shares += (group & 0x0f0f) != 0x0a0a;
    }
    return ssl_select_cert_success;
}

// Makes a handshake, and says how many keys its first hello held and whether it was asked again.
static void expect_shares(size_t num_shares, bool is_retried, const char *what)
{
    end();
    begin();
    struct outcome outcome = shake();
    cr_assert(outcome.client == HANDSHAKE_DONE && outcome.server == HANDSHAKE_DONE);
    cr_expect(t.num_shares == num_shares, "%s: %zu keys", what, t.num_shares);
    cr_expect(SSL_used_hello_retry_request(t.client.side.ssl) == is_retried, "%s", what);
}

Test(handshake, a_key_of_x25519_is_sent_only_while_some_server_takes_no_better_one)
{
    static const uint16_t classical[] = {SSL_GROUP_X25519};
    HANDSHAKE();
    SSL_CTX *ctx = t.pair.server.env.snapshot->trust->contexts.server;
    SSL_CTX_set_select_certificate_cb(ctx, count_shares);
    expect_shares(1, false, "to a server that takes it");
    SSL_CTX_set1_group_ids(ctx, classical, 1);
    expect_shares(1, true, "to one that does not, the first time");
    expect_shares(2, false, "to it, soon after");
    t.pair.client.env.classical_until_ms = uv_now(&t.pair.loop);
    expect_shares(1, true, "to it, long after");
}
