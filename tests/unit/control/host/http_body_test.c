// SPDX-License-Identifier: Apache-2.0
#include "control/host/http.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/control/host/http_stage.h"
#include "tests/unit/support/tcp.h"

#define BODY_MAX 40000

static const struct http_limits limits = {.connections_max = 16,
                                          .source_max = 8,
                                          .left_max = 64,
                                          .head_ms = 5000,
                                          .idle_ms = 5000,
                                          .body_ms = 400,
                                          .answer_ms = 5000,
                                          .body_bytes_max = BODY_MAX,
                                          .bodies_bytes_max = 2 * BODY_MAX};

static void init(struct stage *stage)
{
    stage_init_with(stage, &(struct http_config){.limits = &limits});
}

// Begins a POST of `length` bytes.
static int begin(const struct stage *stage, const char *path, size_t length)
{
    char head[160];
    int fd = tcp_connect(stage->bound.port);
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", path,
             length);
    say(fd, head);
    return fd;
}

// Says `num` bytes in pieces, so that the server reads meanwhile.
static void say_much(struct stage *stage, int fd, size_t num)
{
    char piece[4001];
    memset(piece, 'a', sizeof piece);
    for (size_t said = 0; said < num;) {
        size_t part = num - said < sizeof piece - 1 ? num - said : sizeof piece - 1;
        piece[part] = '\0';
        say(fd, piece);
        piece[part] = 'a';
        said += part;
        run_until(stage, false, 1);
    }
}

Test(http_body, a_post_comes_whole_in_however_many_pieces, .timeout = 20)
{
    struct stage stage;
    init(&stage);
    int fd = begin(&stage, "/echo", 10);
    say(fd, "01234");
    run_until(&stage, false, 20);
    cr_expect_eq(stage.num_asked, 0);
    say(fd, "56789");
    expect_has(hear(&stage, fd, 5000), "POST 10 0123456789\n");
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
            "2\r\nde\r\n0\r\n\r\n");
    expect_has(hear(&stage, fd, 5000), "POST 5 abcde\n");
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    expect_has(hear(&stage, fd, 5000), "POST 0 \n");
    say(fd, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_has(hear(&stage, fd, 5000), "GET 0 \n");
    close(fd);
    stage_cleanup(&stage);
}

Test(http_body, a_body_of_the_most_bytes_is_taken_and_one_more_refused_before_it_comes,
     .timeout = 20)
{
    struct stage stage;
    init(&stage);
    int fd = begin(&stage, "/echo", BODY_MAX);
    say_much(&stage, fd, BODY_MAX);
    expect_has(hear(&stage, fd, 5000), "POST 40000 aaaa");
    close(fd);
    fd = begin(&stage, "/echo", BODY_MAX + 1);
    const char *text = hear(&stage, fd, 5000);
    expect_has(text, " 413 ");
    expect_has(text, "a request has at most 40000 bytes\n");
    cr_expect_eq(stage.num_asked, 1);
    close(fd);
    stage_cleanup(&stage);
}

Test(http_body, a_body_that_does_not_say_how_long_it_is_is_dropped_where_it_gets_too_long,
     .timeout = 20)
{
    struct stage stage;
    init(&stage);
    int fd = tcp_connect(stage.bound.port);
    say(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 12; i++) {
        say(fd, "fa0\r\n");
        say_much(&stage, fd, 0xfa0);
        say(fd, "\r\n");
    }
    say(fd, "0\r\n\r\n");
    expect_has(hear(&stage, fd, 5000), " 413 ");
    cr_expect_eq(stage.num_asked, 0);
    close(fd);
    stage_cleanup(&stage);
}

Test(http_body, a_body_that_drips_is_cut_off, .timeout = 20)
{
    struct stage stage;
    init(&stage);
    int fd = begin(&stage, "/echo", 100);
    for (unsigned i = 0; i < 3; i++) {
        run_until(&stage, false, 100);
        cr_expect_not(is_over(fd), "%u", i);
        say(fd, "x");
    }
    cr_expect(run_until(&stage, is_over(fd), 3000));
    cr_expect_eq(http_num_late(stage.server), 1);
    close(fd);
    stage_cleanup(&stage);
}

Test(http_body, where_all_bodies_are_too_long_together_the_longest_that_still_comes_is_refused,
     .timeout = 20)
{
    struct stage stage;
    init(&stage);
    int held = begin(&stage, "/later", 36000); // whole, and with the handler
    say_much(&stage, held, 36000);
    cr_assert(run_until(&stage, stage.later != NULL, 5000));
    int greedy = begin(&stage, "/echo", 36000);
    say_much(&stage, greedy, 20000);
    int small = begin(&stage, "/echo", 16000);
    say_much(&stage, small, 16000);
    expect_has(hear(&stage, small, 5000), "POST 16000 aaaa");
    say_much(&stage, greedy, 16000);
    const char *text = hear(&stage, greedy, 5000);
    expect_has(text, " 503 ");
    expect_has(text, "Retry-After: 1\r\n");
    cr_expect_eq(http_num_room(stage.server), 1);
    http_answer(stage.later, 200, "text/plain", strdup("held\n"));
    expect_has(hear(&stage, held, 5000), "held\n");
    close(held);
    close(greedy);
    close(small);
    stage_cleanup(&stage);
}

Test(http_body, a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing, .timeout = 20)
{
    struct stage stage;
    init(&stage);
    int fd = begin(&stage, "/echo", 100);
    say(fd, "01234");
    run_until(&stage, false, 20);
    close(fd);
    cr_expect(run_until(&stage, http_num_clients(stage.server) == 0, 5000));
    cr_expect_eq(stage.num_asked, 0);
    stage_cleanup(&stage);
}

Test(http_body, a_server_that_drains_answers_and_sends_its_clients_away, .timeout = 20)
{
    struct stage stage;
    init(&stage);
    int fd = begin(&stage, "/echo", 3);
    http_drain(stage.server);
    say(fd, "abc");
    const char *text = hear(&stage, fd, 5000);
    expect_has(text, "POST 3 abc\n");
    expect_has(text, "Connection: close\r\n");
    cr_expect(run_until(&stage, is_over(fd), 5000));
    close(fd);
    stage_cleanup(&stage);
}
