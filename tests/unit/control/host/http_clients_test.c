// SPDX-License-Identifier: Apache-2.0
#include "control/host/http_clients.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOURCES_MAX (2 * HTTP_CONNECTIONS_MAX)

// Clients whose connections nobody reads.
struct stage {
    struct http_clients clients;
    struct http_client *made[SOURCES_MAX];
    int others[SOURCES_MAX]; // the far ends
    unsigned num;
};

static void stage_init(struct stage *stage)
{
    *stage = (struct stage){.num = 0};
    http_clients_init(&stage->clients);
}

static void stage_cleanup(struct stage *stage)
{
    for (unsigned i = 0; i < stage->num; i++) {
        close(stage->made[i]->fd);
        close(stage->others[i]);
        http_client_free(&stage->clients, stage->made[i]);
    }
    cr_expect_eq(stage->clients.num, 0);
}

static struct ip source_of(const char *text)
{
    struct ip ip;
    cr_assert(ip_parse(&ip, text, NULL));
    return http_source(&ip);
}

static struct http_client *add(struct stage *stage, const struct ip *source, uint64_t now_ms)
{
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    struct http_client *client = http_client_new(&stage->clients, ends[0], source, now_ms);
    stage->others[stage->num] = ends[1];
    stage->made[stage->num++] = client;
    return client;
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
    http_client_asked(stage.made[1], 0);
    http_client_answered(stage.made[1], 0);
    http_client_asked(stage.made[2], 0);
    for (unsigned i = 0; i < 12; i++) {
        cr_assert_not_null(come(&stage, "10.0.2", 2 + i));
    }
    for (unsigned i = 3; i < 15; i++) {
        cr_expect(stage.made[i]->is_ended, "%u", i);
    }
    cr_expect_not(stage.made[1]->is_ended, "who has asked goes after who has not");
    cr_assert_not_null(come(&stage, "10.0.2", 20));
    cr_expect(stage.made[1]->is_ended, "and before who is being answered");
    cr_expect_not(stage.made[2]->is_ended);
    cr_expect_eq(stage.clients.num_room, 14);
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
        http_client_asked(come(&stage, "10.0.0", 1), 0);
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
    http_client_asked(reader, 2000);
    http_client_asked(scraper, 2000);
    http_client_answered(scraper, 4000);
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
