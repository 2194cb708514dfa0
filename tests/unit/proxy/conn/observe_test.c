// SPDX-License-Identifier: Apache-2.0
//
// Enforcement OBSERVE: what policy denies is served and counted, everything else is refused as
// ever, and turning to ENFORCE ends what is denied.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/unit/proxy/pair.h"

#define STRANGER_ID "spiffe://prod.example/ns/other/sa/x"

static struct pair pair;

static void cleanup(void)
{
    pair_cleanup(&pair);
}

TestSuite(observe, .fini = cleanup, .timeout = 20);

#define OPTIONS(...) (&(const struct pair_options){__VA_ARGS__})
#define PAIR(...)    pair_init(&pair, OPTIONS(__VA_ARGS__))

static void expect_served(int client, int app)
{
    char byte = 0;
    pair_send(&pair, client, "?", 1);
    cr_assert(pair_receive(&pair, app, &byte, 1, NULL) == 1 && byte == '?');
    pair_send(&pair, app, "!", 1);
    cr_assert(pair_receive(&pair, client, &byte, 1, NULL) == 1 && byte == '!');
}

// Returns the one entry in an end's table, to be freed by the test.
static Tabard__V1__Denial *the_denial(const struct pair_end *end)
{
    Tabard__V1__Denial *list[8];
    size_t num = 0;
    cr_assert_eq(end->env.denials.num, 1, "%u entries", end->env.denials.num);
    denials_report(&end->env.denials, list, &num);
    cr_assert_eq(num, 1);
    return list[0];
}

// What an entry says, in one line.
static void expect_denial(const struct pair_end *end, const char *wanted)
{
    char text[512];
    Tabard__V1__Denial *denial = the_denial(end);
    snprintf(text, sizeof text, "%s %s peer=%s source=%s to=%s policy=%s#%d count=%d",
             denial->direction, denial->reason, denial->peer, denial->source, denial->destination,
             denial->policy,
             denial->deciding_case == TABARD__V1__DENIAL__DECIDING_RULE ? (int)denial->rule : -1,
             (int)denial->count);
    cr_expect_str_eq(text, wanted);
    cr_expect(denial->first_unix_ms > 0 && denial->last_unix_ms >= denial->first_unix_ms);
    tabard__v1__denial__free_unpacked(denial, NULL);
}

Test(observe, a_peer_that_policy_denies_is_served_counted_and_ended_by_enforce)
{
    PAIR(.is_observing = true, .policy_principal = STRANGER_ID);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    expect_served(client, app);
    expect_denial(&pair.server, "inbound policy_denied peer=" PAIR_CLIENT_ID
                                " source= to=8080 policy=#-1 count=1");
    cr_expect_eq(pair.server.env.stats.would_deny_policy, 1);
    cr_expect_eq(pair.server.env.conns->would, REASON_POLICY_DENIED);
    cr_expect_eq(pair.client.env.denials.num, 0);
    pair_adopt(&pair, &pair.server, OPTIONS(.policy_principal = STRANGER_ID));
    pair_until_reason(&pair, &pair.server, REASON_POLICY_REVOKED);
}

Test(observe, a_connection_is_counted_once_however_often_it_is_asked_about)
{
    PAIR(.is_observing = true);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    cr_expect_eq(pair.server.env.denials.num, 0);
    for (int i = 0; i < 3; i++) {
        pair_adopt(&pair, &pair.server,
                   OPTIONS(.is_observing = true, .policy_principal = STRANGER_ID));
    }
    expect_served(client, app);
    expect_denial(&pair.server, "inbound policy_denied peer=" PAIR_CLIENT_ID
                                " source= to=8080 policy=#-1 count=1");
    cr_expect_eq(pair.server.env.stats.would_deny_policy, 1);
    // A policy that lets it in clears what would be, and one that does not comes anew.
    pair_adopt(&pair, &pair.server, OPTIONS(.is_observing = true));
    cr_expect_eq(pair.server.env.conns->would, REASON_NONE);
    pair_adopt(&pair, &pair.server, OPTIONS());
    expect_served(client, app);
}

Test(observe, plaintext_is_served_on_a_port_that_is_not_listed_and_ended_by_enforce)
{
    PAIR(.is_observing = true, .is_port_unlisted = true, .has_policy_by_source = true);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "GET", 3);
    int app = pair_accept(&pair);
    char bytes[3];
    cr_assert(pair_receive(&pair, app, bytes, 3, NULL) == 3);
    expect_denial(&pair.server,
                  "inbound plaintext_on_mtls peer= source=127.0.0.1 to=8080 policy=#-1 count=1");
    cr_expect_eq(pair.server.env.stats.would_deny_plaintext, 1);
    pair_adopt(&pair, &pair.server,
               OPTIONS(.is_port_unlisted = true, .has_policy_by_source = true));
    pair_until_reason(&pair, &pair.server, REASON_POLICY_REVOKED);
}

Test(observe, plaintext_is_refused_on_a_port_that_is_listed_as_mtls)
{
    PAIR(.is_observing = true, .has_policy_by_source = true);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "GET", 3);
    pair_until_reason(&pair, &pair.server, REASON_PLAINTEXT_ON_MTLS);
    cr_expect_eq(pair.server.env.denials.num, 0);
}

Test(observe, plaintext_that_lives_ends_when_its_port_becomes_mtls)
{
    PAIR(.is_observing = true, .is_port_unlisted = true, .has_policy_by_source = true);
    int peer = pair_connect_mesh(&pair);
    pair_send(&pair, peer, "GET", 3);
    pair_accept(&pair);
    pair_adopt(&pair, &pair.server, OPTIONS(.is_observing = true, .has_policy_by_source = true));
    pair_until_reason(&pair, &pair.server, REASON_POLICY_REVOKED);
}

Test(observe, a_service_that_speaks_first_is_served_within_a_second_or_so)
{
    PAIR(.is_observing = true, .is_port_unlisted = true, .has_policy_by_source = true);
    int peer = pair_connect_mesh(&pair);
    int app = pair_accept(&pair); // Limits.detect_ms is 5000
    char byte;
    pair_send(&pair, app, "!", 1);
    cr_assert(pair_receive(&pair, peer, &byte, 1, NULL) == 1);
    cr_expect_lt(uv_now(&pair.loop) - pair.server.env.conns->opened_ms, 3000);
}

Test(observe, an_unlisted_destination_is_called_in_the_clear_counted_and_ended_by_enforce)
{
    PAIR(.is_observing = true, .is_destination_unlisted = true, .is_port_unlisted = true,
         .has_policy_by_source = true);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    expect_served(client, app);
    Tabard__V1__Denial *denial = the_denial(&pair.client);
    cr_expect_str_eq(denial->direction, "outbound");
    cr_expect_str_eq(denial->reason, "unlisted_destination");
    cr_expect_str_eq(denial->peer, "");
    cr_expect_str_eq(denial->source, "");
    cr_expect_eq(strncmp(denial->destination, "127.0.0.1:", 10), 0);
    tabard__v1__denial__free_unpacked(denial, NULL);
    cr_expect_eq(pair.client.env.stats.would_deny_unlisted, 1);
    pair_adopt(&pair, &pair.client, OPTIONS(.is_destination_unlisted = true));
    pair_until_reason(&pair, &pair.client, REASON_UNLISTED_DESTINATION);
}

Test(observe, plaintext_to_a_destination_that_becomes_mtls_ends)
{
    PAIR(.is_observing = true, .is_destination_unlisted = true, .is_port_unlisted = true,
         .has_policy_by_source = true);
    pair_connect(&pair);
    pair_accept(&pair);
    pair_adopt(&pair, &pair.client, OPTIONS(.is_observing = true));
    pair_until_reason(&pair, &pair.client, REASON_POLICY_REVOKED);
}

Test(observe, mutual_tls_goes_on_when_its_destination_is_listed_no_more_and_enforce_ends_it)
{
    PAIR(.is_observing = true);
    int client = pair_connect(&pair);
    int app = pair_accept(&pair);
    pair_adopt(&pair, &pair.client, OPTIONS(.is_observing = true, .is_destination_unlisted = true));
    expect_served(client, app);
    cr_expect_eq(pair.client.env.stats.would_deny_unlisted, 1);
    pair_adopt(&pair, &pair.client, OPTIONS(.is_destination_unlisted = true));
    pair_until_reason(&pair, &pair.client, REASON_UNLISTED_DESTINATION);
}

Test(observe, a_server_of_another_identity_is_refused)
{
    PAIR(.is_observing = true, .expected_id = "spiffe://prod.example/ns/payments/sa/db");
    pair_connect(&pair);
    pair_until_reason(&pair, &pair.client, REASON_WRONG_IDENTITY);
    cr_expect_eq(pair.client.env.denials.num, 0);
}

Test(observe, a_server_whose_destination_wants_another_identity_by_now_is_refused)
{
    PAIR(.is_observing = true);
    pair_connect(&pair);
    pair_accept(&pair);
    pair_adopt(&pair, &pair.client,
               OPTIONS(.is_observing = true, .expected_id = "spiffe://prod.example/ns/x/sa/db"));
    pair_until_reason(&pair, &pair.client, REASON_WRONG_IDENTITY);
}

Test(observe, an_identity_that_has_its_share_is_refused_one_more)
{
    PAIR(.is_observing = true, .policy_principal = STRANGER_ID, .limits.identity_connections = 1);
    pair_connect(&pair);
    pair_accept(&pair);
    pair_connect(&pair);
    pair_until_reason(&pair, &pair.server, REASON_LIMIT_IDENTITY);
}

Test(observe, nothing_is_counted_of_what_policy_allows)
{
    PAIR(.is_observing = true);
    int client = pair_connect(&pair);
    expect_served(client, pair_accept(&pair));
    cr_expect_eq(pair.client.env.denials.num, 0);
    cr_expect_eq(pair.server.env.denials.num, 0);
}
