// SPDX-License-Identifier: Apache-2.0
#include "control/host/http_clients.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define SOURCES_MAX (2 * HTTP_CONNECTIONS_MAX)

// Clients without connections.
struct stage {
    struct http_clients clients;
    struct http_client *made[SOURCES_MAX];
    bool is_told[SOURCES_MAX]; // that its connection is to be closed
    unsigned num;
};

static void stage_init(struct stage *stage)
{
    *stage = (struct stage){.num = 0};
    http_clients_init(&stage->clients, &http_limits_pages);
}

static void stage_cleanup(struct stage *stage)
{
    for (unsigned i = 0; i < stage->num; i++) {
        cr_expect_eq(stage->is_told[i], stage->made[i]->is_ended, "%u", i);
        http_client_free(&stage->clients, stage->made[i]);
    }
    cr_expect_eq(stage->clients.num, 0);
    cr_expect_eq(stage->clients.num_live, 0);
    cr_expect(list_is_empty(&stage->clients.sources));
}

static void on_end(void *ctx)
{
    bool *is_told = ctx;
    cr_expect_not(*is_told);
    *is_told = true;
}

static struct ip source_of(const char *text)
{
    struct ip ip;
    cr_assert(ip_parse(&ip, text, NULL));
    return http_source_ip(&ip);
}

static struct http_client *add(struct stage *stage, const struct ip *source, uint64_t now_ms)
{
    unsigned at = stage->num++;
    stage->made[at] = http_client_new(&stage->clients, source, on_end, &stage->is_told[at], now_ms);
    return stage->made[at];
}

// Adds a client from the host `last` of a network, as a server does. NULL: there is no room.
static struct http_client *come(struct stage *stage, const char *network, unsigned last)
{
    char text[40];
    snprintf(text, sizeof text, "%s.%u", network, last);
    struct ip source = source_of(text);
    return http_clients_make_room(&stage->clients, &source) ? add(stage, &source, 0) : NULL;
}

TestSuite(http_clients, .timeout = 10);

Test(http_clients, the_source_that_holds_most_gives_way)
{
    struct stage stage;
    stage_init(&stage);
    for (unsigned i = 0; i < 15; i++) {
        cr_assert_not_null(come(&stage, "10.0.0", 1));
    }
    for (unsigned i = 15; i < HTTP_CONNECTIONS_MAX; i++) {
        cr_assert_not_null(come(&stage, "10.0.1", i));
    }
    cr_assert_not_null(come(&stage, "10.0.2", 1));
    cr_expect(stage.made[0]->is_ended);
    http_client_waits(stage.made[1], HTTP_WAIT_ANSWER, 0);
    http_client_waits(stage.made[1], HTTP_WAIT_NEXT, 0);
    http_client_waits(stage.made[2], HTTP_WAIT_ANSWER, 0);
    unsigned num_free = HTTP_CONNECTIONS_PER_SOURCE_MAX / HTTP_FREE_SHARE;
    for (unsigned i = 0; i < 12 - num_free; i++) {
        cr_assert_not_null(come(&stage, "10.0.2", 2 + i));
    }
    for (unsigned i = 3; i < 15 - num_free; i++) {
        cr_expect(stage.made[i]->is_ended, "%u", i);
    }
    for (unsigned i = 15 - num_free; i < 15; i++) {
        cr_expect_not(stage.made[i]->is_ended, "%u: a known source has these free", i);
    }
    cr_expect_eq(stage.clients.num_room, 13 - num_free);
    stage_cleanup(&stage);
}

// An API server with a few connections that have asked, one of them being answered, and two that
// are new.
static void come_known(struct stage *stage)
{
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_not_null(come(stage, "10.0.0", 1));
    }
    for (unsigned i = 0; i < 3; i++) {
        http_client_waits(stage->made[i], HTTP_WAIT_ANSWER, 0);
        if (i > 0) {
            http_client_waits(stage->made[i], HTTP_WAIT_NEXT, 0);
        }
    }
}

Test(http_clients, strangers_of_many_sources_don_t_push_out_a_known_one)
{
    struct stage stage;
    stage_init(&stage);
    come_known(&stage);
    for (unsigned i = 5; i < 2 * HTTP_CONNECTIONS_MAX; i++) {
        cr_assert_not_null(come(&stage, "10.0.1", i));
    }
    for (unsigned i = 0; i < 5; i++) {
        cr_expect_not(stage.made[i]->is_ended, "%u", i);
    }
    cr_expect(stage.made[5]->is_ended, "the oldest stranger");
    cr_expect_eq(stage.clients.num_room, HTTP_CONNECTIONS_MAX);
    stage_cleanup(&stage);
}

Test(http_clients, who_has_asked_goes_where_no_stranger_is_left_and_before_who_is_answered)
{
    struct stage stage;
    stage_init(&stage);
    come_known(&stage);
    for (unsigned i = 3; i < 5; i++) {
        http_client_waits(stage.made[i], HTTP_WAIT_ANSWER, 0);
    }
    for (unsigned i = 5; i < HTTP_CONNECTIONS_MAX; i++) {
        struct http_client *client = come(&stage, "10.0.1", i);
        cr_assert_not_null(client);
        http_client_waits(client, HTTP_WAIT_ANSWER, 0);
    }
    cr_assert_not_null(come(&stage, "10.0.2", 1));
    cr_expect(stage.made[1]->is_ended && !stage.made[2]->is_ended);
    http_client_waits(stage.made[HTTP_CONNECTIONS_MAX], HTTP_WAIT_ANSWER, 0);
    cr_assert_not_null(come(&stage, "10.0.2", 2));
    cr_expect(stage.made[2]->is_ended && !stage.made[0]->is_ended && !stage.made[3]->is_ended);
    stage_cleanup(&stage);
}

Test(http_clients, one_that_was_told_to_go_counts_as_a_stranger)
{
    struct stage stage;
    stage_init(&stage);
    struct http_client *client = come(&stage, "10.0.0", 1);
    cr_expect_eq(client->source->num_strangers, 1);
    http_client_waits(client, HTTP_WAIT_ANSWER, 0);
    cr_expect_eq(client->source->num_strangers, 0);
    http_client_forget(client);
    http_client_forget(client);
    cr_expect_eq(client->source->num_strangers, 1);
    http_client_end(&stage.clients, client);
    cr_expect_eq(client->source->num_strangers, 0);
    stage_cleanup(&stage);
}

Test(http_clients, a_program_of_this_host_gives_way_last)
{
    struct stage stage;
    stage_init(&stage);
    cr_assert_not_null(come(&stage, "127.0.0", 1));
    cr_assert_not_null(come(&stage, "127.0.0", 1));
    for (unsigned i = 2; i < 2 * HTTP_CONNECTIONS_MAX; i++) {
        cr_assert_not_null(come(&stage, "10.0.1", i));
    }
    cr_expect_not(stage.made[0]->is_ended);
    cr_expect_not(stage.made[1]->is_ended);
    cr_expect(stage.made[2]->is_ended);
    stage_cleanup(&stage);
}

Test(http_clients, one_source_whose_answers_are_not_there_yet_is_turned_away_and_no_other)
{
    struct stage stage;
    stage_init(&stage);
    for (unsigned i = 0; i < 2 * HTTP_CONNECTIONS_PER_SOURCE_MAX; i++) {
        http_client_waits(come(&stage, "10.0.0", 1), HTTP_WAIT_ANSWER, 0);
        cr_expect_eq(stage.clients.num_room, i < HTTP_CONNECTIONS_PER_SOURCE_MAX
                                                 ? 0
                                                 : i + 1 - HTTP_CONNECTIONS_PER_SOURCE_MAX);
    }
    cr_expect_null(come(&stage, "10.0.0", 1));
    cr_expect_not_null(come(&stage, "10.0.0", 2));
    stage_cleanup(&stage);
}

Test(http_clients, an_ipv6_source_is_a_network)
{
    struct ip a = source_of("2001:db8:0:1::1");
    struct ip b = source_of("2001:db8:0:1:ffff::2");
    struct ip c = source_of("2001:db8:0:2::1");
    struct ip loopback = source_of("::1");
    cr_expect(ip_equal(&a, &b));
    cr_expect_not(ip_equal(&a, &c));
    cr_expect(ip_is_loopback(&loopback));
}

Test(http_clients, who_is_late_is_ended)
{
    struct stage stage;
    stage_init(&stage);
    struct ip source = source_of("10.0.0.1");
    cr_expect_eq(http_clients_end_late(&stage.clients, 0), UINT64_MAX);
    const struct http_client *silent = add(&stage, &source, 0);
    struct http_client *reader = add(&stage, &source, 1000);
    struct http_client *scraper = add(&stage, &source, 1000);
    http_client_waits(reader, HTTP_WAIT_ANSWER, 2000);
    http_client_waits(scraper, HTTP_WAIT_ANSWER, 2000);
    http_client_waits(scraper, HTTP_WAIT_NEXT, 4000);
    cr_expect_eq(http_clients_end_late(&stage.clients, 4000), HTTP_HEAD_MS_MAX - 4000);
    cr_expect_eq(http_clients_end_late(&stage.clients, HTTP_HEAD_MS_MAX), 4000);
    cr_expect(silent->is_ended && !reader->is_ended && !scraper->is_ended);
    http_clients_end_late(&stage.clients, 4000 + HTTP_HEAD_MS_MAX);
    cr_expect(scraper->is_ended && !reader->is_ended);
    http_clients_end_late(&stage.clients, 2000 + HTTP_ANSWER_MS_MAX);
    cr_expect(reader->is_ended);
    cr_expect_eq(stage.clients.num_late, 3);
    stage_cleanup(&stage);
}

Test(http_clients, a_body_and_the_next_request_have_deadlines_of_their_own)
{
    static const struct http_limits limits = {.connections_max = 8,
                                              .source_max = 8,
                                              .left_max = 8,
                                              .head_ms = 10,
                                              .idle_ms = 1000,
                                              .body_ms = 200,
                                              .answer_ms = 30};
    static const struct {
        enum http_wait wait;
        uint64_t ms;
    } rows[] = {{HTTP_WAIT_HEAD, 10},
                {HTTP_WAIT_NEXT, 1000},
                {HTTP_WAIT_BODY, 200},
                {HTTP_WAIT_ANSWER, 30}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct stage stage;
        stage_init(&stage);
        stage.clients.limits = &limits;
        struct ip source = source_of("10.0.0.1");
        struct http_client *client = add(&stage, &source, 0);
        http_client_waits(client, rows[i].wait, 5000);
        cr_expect_eq(http_clients_end_late(&stage.clients, 5000 + rows[i].ms - 1), 1, "%zu", i);
        cr_expect_not(client->is_ended, "%zu", i);
        http_clients_end_late(&stage.clients, 5000 + rows[i].ms);
        cr_expect(client->is_ended, "%zu", i);
        stage_cleanup(&stage);
    }
}

Test(http_clients, a_client_that_two_hold_stays_until_both_are_done)
{
    struct stage stage;
    stage_init(&stage);
    struct ip source = source_of("10.0.0.1");
    struct http_client *client = add(&stage, &source, 0);
    http_client_hold(client);
    http_client_free(&stage.clients, client);
    cr_expect_eq(stage.clients.num, 1);
    stage_cleanup(&stage);
}
