// SPDX-License-Identifier: Apache-2.0
#include "proxy/link/denials.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_MAX 64

static struct denials table;
static int64_t now_ms;

static void setup(void)
{
    denials_init(&table);
    denials_limit(&table, 4);
    now_ms = 1000;
}

static void teardown(void)
{
    denials_cleanup(&table);
    cr_expect_eq(table.num, 0);
}

TestSuite(denials, .init = setup, .fini = teardown, .timeout = 10);

static void note(const struct denial_facts *facts)
{
    struct denial_facts whole = *facts;
    whole.reason = facts->reason != NULL ? facts->reason : "policy_denied";
    whole.policy = facts->policy != NULL ? facts->policy : "";
    denials_note(&table, &whole, now_ms++);
}

static void note_peer(const char *peer)
{
    note(&(struct denial_facts){.peer = peer, .destination.port = 80, .rule = -1});
}

static void note_source(const char *source)
{
    struct denial_facts facts = {.destination.port = 80, .rule = -1};
    cr_assert(ip_parse(&facts.source, source, NULL));
    note(&facts);
}

static void note_call(const char *to)
{
    struct denial_facts facts = {.direction = DIRECTION_OUTBOUND, .rule = -1};
    cr_assert(addr_parse(&facts.destination, to, false, NULL));
    note(&facts);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// Compares the table, as "who>where count" in the order of the text, joined by commas.
static void expect_table(const char *wanted)
{
    Tabard__V1__Denial *list[REPORT_MAX];
    char *lines[REPORT_MAX];
    char text[4096] = "";
    size_t num = 0;
    denials_report(&table, list, &num);
    cr_expect_eq(num, table.num);
    for (size_t i = 0; i < num; i++) {
        const Tabard__V1__Denial *denial = list[i];
        lines[i] = malloc(512);
        cr_assert_not_null(lines[i]);
        snprintf(lines[i], 512, "%s%s>%s %d", denial->peer, denial->source, denial->destination,
                 (int)denial->count);
        tabard__v1__denial__free_unpacked(list[i], NULL);
    }
    qsort(lines, num, sizeof lines[0], by_text);
    for (size_t i = 0; i < num; i++) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof text - len, "%s%s", i > 0 ? ", " : "", lines[i]);
        free(lines[i]);
    }
    cr_expect_str_eq(text, wanted);
}

Test(denials, one_entry_stands_for_all_of_the_same_caller_and_port)
{
    for (int i = 0; i < 3; i++) {
        note_peer("spiffe://a/b");
    }
    note_source("10.1.2.3");
    note_source("10.1.2.3");
    note_source("10.1.2.4");
    expect_table("10.1.2.3>80 2, 10.1.2.4>80 1, spiffe://a/b>80 3");
    cr_expect_eq(table.num_dropped, 0);
}

Test(denials, the_address_of_a_peer_and_the_source_of_a_call_count_for_nothing)
{
    struct denial_facts facts = {.peer = "spiffe://a/b", .destination.port = 80, .rule = -1};
    for (uint8_t i = 1; i < 4; i++) {
        facts.source.bytes[15] = i;
        facts.destination.ip.bytes[0] = i; // the application's own addresses
        note(&facts);
    }
    facts = (struct denial_facts){.direction = DIRECTION_OUTBOUND, .rule = -1};
    cr_assert(addr_parse(&facts.destination, "[fd00::1]:443", false, NULL));
    for (uint8_t i = 1; i < 4; i++) {
        facts.source.bytes[15] = i;
        note(&facts);
    }
    expect_table(">[fd00::1]:443 3, spiffe://a/b>80 3");
}

Test(denials, a_caller_on_ipv6_is_its_64_bits)
{
    note_source("fd00:0:0:1::1");
    note_source("fd00:0:0:1:ffff::2");
    note_source("fd00:0:0:2::1");
    expect_table("fd00:0:0:1::/64>80 2, fd00:0:0:2::/64>80 1");
}

Test(denials, reason_rule_and_policy_tell_entries_apart)
{
    const struct denial_facts rows[] = {
        {.peer = "spiffe://a/b", .policy = "p", .rule = 0},
        {.peer = "spiffe://a/b", .policy = "p", .rule = 1},
        {.peer = "spiffe://a/b", .policy = "q", .rule = 0},
        {.peer = "spiffe://a/b", .policy = "q", .rule = 0, .reason = "audit_policy"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        note(&rows[i]);
        note(&rows[i]);
    }
    cr_expect_eq(table.num, 4);
    cr_expect_eq(table.num_dropped, 0);
}

Test(denials, when_and_by_which_generation_it_was_last_is_kept)
{
    Tabard__V1__Denial *list[1];
    size_t num = 0;
    struct denial_facts facts = {.peer = "spiffe://a/b", .policy = "p", .rule = 2, .generation = 7};
    note(&facts);
    facts.generation = 9;
    note(&facts);
    denials_report(&table, list, &num);
    cr_assert_eq(num, 1);
    cr_expect_eq(list[0]->first_unix_ms, 1000);
    cr_expect_eq(list[0]->last_unix_ms, 1001);
    cr_expect_eq(list[0]->generation, 9);
    cr_expect_eq(list[0]->deciding_case, TABARD__V1__DENIAL__DECIDING_RULE);
    cr_expect_eq(list[0]->rule, 2);
    cr_expect_str_eq(list[0]->policy, "p");
    tabard__v1__denial__free_unpacked(list[0], NULL);
}

Test(denials, at_the_limit_strangers_go_first_those_seen_once_before_the_others)
{
    note_source("10.0.0.1");
    note_source("10.0.0.1");
    note_source("10.0.0.2");
    note_call("10.9.9.9:443");
    note_peer("spiffe://a/1");
    note_peer("spiffe://a/2"); // 10.0.0.2 was seen once
    expect_table("10.0.0.1>80 2, >10.9.9.9:443 1, spiffe://a/1>80 1, spiffe://a/2>80 1");
    note_peer("spiffe://a/3"); // then the other stranger
    expect_table(">10.9.9.9:443 1, spiffe://a/1>80 1, spiffe://a/2>80 1, spiffe://a/3>80 1");
    note_peer("spiffe://a/4"); // then a call of the service's own
    expect_table("spiffe://a/1>80 1, spiffe://a/2>80 1, spiffe://a/3>80 1, spiffe://a/4>80 1");
    cr_expect_eq(table.num_dropped, 1 + 2 + 1);
    note_peer("spiffe://a/1");
    note_peer("spiffe://a/5"); // and of the peers the oldest that was seen once
    expect_table("spiffe://a/1>80 2, spiffe://a/3>80 1, spiffe://a/4>80 1, spiffe://a/5>80 1");
}

Test(denials, strangers_take_no_place_of_those_who_proved_an_identity)
{
    for (int i = 0; i < 4; i++) {
        char peer[32];
        snprintf(peer, sizeof peer, "spiffe://a/%d", i);
        note_peer(peer);
    }
    for (int i = 0; i < 1000; i++) {
        char source[32];
        snprintf(source, sizeof source, "10.0.%d.%d", i / 250, i % 250);
        note_source(source);
    }
    note_call("10.9.9.9:443");
    expect_table("spiffe://a/0>80 1, spiffe://a/1>80 1, spiffe://a/2>80 1, spiffe://a/3>80 1");
    cr_expect_eq(table.num_dropped, 1001);
    note_peer("spiffe://a/2"); // one that is there is counted on
    expect_table("spiffe://a/0>80 1, spiffe://a/1>80 1, spiffe://a/2>80 2, spiffe://a/3>80 1");
}

Test(denials, a_flood_of_strangers_takes_no_place_of_one_that_came_twice)
{
    note_source("10.1.1.1");
    note_source("10.1.1.1");
    for (int i = 0; i < 1000; i++) {
        char source[32];
        snprintf(source, sizeof source, "10.0.%d.%d", i / 250, i % 250);
        note_source(source);
    }
    expect_table("10.0.3.247>80 1, 10.0.3.248>80 1, 10.0.3.249>80 1, 10.1.1.1>80 2");
    cr_expect_eq(table.num_dropped, 997);
}

Test(denials, a_lower_limit_drops_what_is_worth_least_and_none_takes_nothing)
{
    note_peer("spiffe://a/1");
    note_source("10.0.0.1");
    note_call("10.9.9.9:443");
    denials_limit(&table, 1);
    expect_table("spiffe://a/1>80 1");
    denials_limit(&table, 0);
    note_peer("spiffe://a/1");
    expect_table("");
    cr_expect_eq(table.num_dropped, 4);
}
