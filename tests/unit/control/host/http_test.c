// SPDX-License-Identifier: Apache-2.0
#include "control/host/http.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/host/http_clients.h"
#include "tests/unit/control/host/http_stage.h"
#include "tests/unit/support/tcp.h"

Test(http, answers_get_and_head_on_one_connection, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    int fd = ask(&stage, "/now");
    const char *text = hear(&stage, fd, 5000);
    expect_has(text, "HTTP/1.1 200 OK\r\n");
    expect_has(text, "Content-Type: text/plain\r\n");
    expect_has(text, "\r\n\r\nnow\n");
    say(fd, "HEAD /now HTTP/1.1\r\nHost: x\r\n\r\n");
    text = hear(&stage, fd, 5000);
    expect_has(text, "Content-Length: 4\r\n");
    cr_expect(strstr(text, "now\n") == NULL, "HEAD has no body");
    close(fd);
    stage_cleanup(&stage);
}

Test(http, refuses_other_methods_without_asking, .timeout = 20)
{
    static const char *const methods[] = {"POST",  "PUT",     "DELETE", "OPTIONS",
                                          "TRACE", "CONNECT", "get"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct stage stage;
        stage_init(&stage);
        int fd = tcp_connect(stage.bound.port);
        char request[128];
        snprintf(request, sizeof request,
                 "%s /now HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", methods[i]);
        say(fd, request);
        const char *text = hear(&stage, fd, 5000);
        cr_expect(strstr(text, " 405 ") != NULL && strstr(text, "Allow: GET, HEAD\r\n") != NULL,
                  "%s: %s", methods[i], text);
        cr_expect_eq(stage.num_asked, 0, "%s", methods[i]);
        close(fd);
        stage_cleanup(&stage);
    }
}

Test(http, an_answer_may_come_later_and_others_go_on_meanwhile, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    int slow = ask(&stage, "/later");
    cr_assert(run_until(&stage, stage.later != NULL, 5000));
    int fast = ask(&stage, "/now");
    expect_has(hear(&stage, fast, 5000), "now\n");
    http_answer(stage.later, 503, "text/plain", strdup("at last\n"));
    const char *text = hear(&stage, slow, 5000);
    expect_has(text, " 503 ");
    expect_has(text, "at last\n");
    close(slow);
    close(fast);
    stage_cleanup(&stage);
}

// Connects from 127.0.0.2 and up, so that the limit of one address isn't met.
static int connect_from(unsigned host, uint16_t port)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000 + host)};
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static unsigned count_over(const int *fds, unsigned num)
{
    unsigned num_over = 0;
    for (unsigned i = 0; i < num; i++) {
        num_over += is_over(fds[i]);
    }
    return num_over;
}

static void close_all(const int *fds, unsigned num)
{
    for (unsigned i = 0; i < num; i++) {
        close(fds[i]);
    }
}

Test(http, whoever_asks_is_answered_while_strangers_hold_every_connection, .timeout = 20)
{
    struct stage stage;
    int fds[2 * HTTP_CONNECTIONS_MAX];
    stage_init(&stage);
    int scraper = ask(&stage, "/now"); // from 127.0.0.1, and keeps its connection
    expect_has(hear(&stage, scraper, 5000), "now\n");
    for (unsigned i = 0; i < 2 * HTTP_CONNECTIONS_MAX; i++) {
        fds[i] = connect_from(2 + i % 8, stage.bound.port);
        say(fds[i], "GET ");
        run_until(&stage, false, 1);
    }
    int late = connect_from(10, stage.bound.port);
    say(late, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_has(hear(&stage, late, 1000), "now\n");
    cr_expect_geq(count_over(fds, 2 * HTTP_CONNECTIONS_MAX), HTTP_CONNECTIONS_MAX);
    cr_expect_geq(http_num_room(stage.server), HTTP_CONNECTIONS_MAX);
    say(scraper, "GET /now HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_has(hear(&stage, scraper, 1000), "now\n");
    close_all(fds, 2 * HTTP_CONNECTIONS_MAX);
    close(scraper);
    close(late);
    stage_cleanup(&stage);
}

Test(http, a_source_has_its_share_and_the_newest_of_its_clients_get_it, .timeout = 20)
{
    struct stage stage;
    int fds[HTTP_CONNECTIONS_PER_SOURCE_MAX + 8];
    unsigned num = sizeof fds / sizeof fds[0];
    stage_init(&stage);
    for (unsigned i = 0; i < num; i++) {
        fds[i] = tcp_connect(stage.bound.port);
        run_until(&stage, false, 1);
    }
    cr_expect(run_until(&stage, count_over(fds, num) == 8, 1000), "%u", count_over(fds, num));
    cr_expect_eq(count_over(fds, 8), 8, "the oldest");
    close_all(fds, num);
    stage_cleanup(&stage);
}

Test(http, a_client_that_left_before_its_answer_is_harmless, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    int fd = ask(&stage, "/later");
    cr_assert(run_until(&stage, stage.later != NULL, 5000));
    close(fd);
    run_until(&stage, false, 50);
    http_answer(stage.later, 200, "text/plain", strdup("too late\n"));
    run_until(&stage, false, 50);
    stage_cleanup(&stage);
}

Test(http, a_request_that_is_answered_at_the_very_end_is_freed, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    int fd = ask(&stage, "/later");
    cr_assert(run_until(&stage, stage.later != NULL, 5000));
    http_answer(stage.later, 200, "text/plain", NULL);
    stage_cleanup(&stage);
    close(fd);
}

Test(http, reads_a_number_of_the_query_within_its_limit, .timeout = 20)
{
    static const struct {
        const char *query;
        uint32_t number;
    } rows[] = {{"", 7},
                {"?n=5", 5},
                {"?n=100", 100},
                {"?n=101", 100},
                {"?n=99999999999999999999", 100},
                {"?n=", 7},
                {"?n=-1", 7},
                {"?n=x", 7},
                {"?m=5", 7},
                {"?n", 7}};
    struct stage stage;
    stage_init(&stage);
    int fd = tcp_connect(stage.bound.port);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char request[128];
        snprintf(request, sizeof request, "GET /now%s HTTP/1.1\r\nHost: x\r\n\r\n", rows[i].query);
        say(fd, request);
        expect_has(hear(&stage, fd, 5000), "now\n");
        cr_expect_eq(stage.number, rows[i].number, "%s: %u", rows[i].query, stage.number);
    }
    close(fd);
    stage_cleanup(&stage);
}

Test(http, a_head_that_never_ends_is_cut_off, .timeout = 20)
{
    struct stage stage;
    stage_init(&stage);
    int fd = tcp_connect(stage.bound.port);
    say(fd, "GET /now HTTP/1.1\r\nX: ");
    static char filler[2 * HTTP_CONNECTION_BYTES_MAX];
    memset(filler, 'x', sizeof filler - 1);
    say(fd, filler);
    const char *text = hear(&stage, fd, 5000);
    cr_expect(strstr(text, "HTTP/1.1 4") != NULL || text[0] == '\0', "%s", text);
    cr_expect_eq(stage.num_asked, 0);
    close(fd);
    stage_cleanup(&stage);
}

Test(http, a_client_that_drips_its_request_is_closed_in_time, .timeout = 30)
{
    struct stage stage;
    stage_init(&stage);
    int silent = tcp_connect(stage.bound.port);
    int dripping = tcp_connect(stage.bound.port);
    say(dripping, "GET /now HTTP/1.1\r\nX: ");
    for (unsigned i = 0; i < HTTP_HEAD_MS_MAX / 500 - 1; i++) {
        run_until(&stage, false, 500);
        cr_expect_not(is_over(dripping), "%u", i);
        say(dripping, "x");
    }
    cr_expect(run_until(&stage, is_over(silent) && is_over(dripping), 3000));
    cr_expect_eq(http_num_late(stage.server), 2);
    close(silent);
    close(dripping);
    stage_cleanup(&stage);
}

Test(http, those_who_come_in_one_turn_count_for_their_own_sources, .timeout = 30)
{
    struct stage stage;
    struct http_limits limits = http_limits_pages;
    limits.source_max = 2;
    stage_init_with(&stage, &(struct http_config){.limits = &limits});
    int fds[5];
    for (unsigned i = 0; i < 4; i++) {
        fds[i] = connect_from(2 + i / 2, stage.bound.port);
    }
    cr_expect(run_until(&stage, http_num_clients(stage.server) == 4, 5000));
    fds[4] = connect_from(2, stage.bound.port);
    cr_expect(run_until(&stage, is_over(fds[0]), 1000), "it gives way to one of its own source");
    cr_expect_eq(http_num_room(stage.server), 1);
    close_all(fds, 5);
    stage_cleanup(&stage);
}
