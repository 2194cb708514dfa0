// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/ask.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/support/temp.h"

// A server that answers one connection with `answer`, `repeat` times, and then closes, or first
// waits for the client to go.
struct server {
    char folder[TEMP_PATH_BYTES];
    char path[TEMP_PATH_BYTES + 2];
    int fd;
    const char *answer;
    size_t repeat;
    bool holds;
    char request[256];
    pthread_t thread;
};

static void *serve(void *ctx)
{
    struct server *server = ctx;
    int fd = accept(server->fd, NULL, NULL);
    ssize_t len = recv(fd, server->request, sizeof server->request - 1, 0);
    server->request[len > 0 ? len : 0] = '\0';
    for (size_t i = 0; i < server->repeat; i++) {
        if (send(fd, server->answer, strlen(server->answer), MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    char byte;
    while (server->holds && recv(fd, &byte, 1, 0) > 0) {
    }
    close(fd);
    return NULL;
}

static void server_start(struct server *server)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    temp_make(server->folder);
    snprintf(server->path, sizeof server->path, "%s/s", server->folder);
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", server->path);
    server->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(server->fd, (struct sockaddr *)&sa, sizeof sa), 0);
    cr_assert_eq(listen(server->fd, 1), 0);
    cr_assert_eq(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    pthread_join(server->thread, NULL);
    close(server->fd);
    temp_remove(server->folder);
}

// The answer to one request, or the error without the socket's path in front.
static char *answer_of(struct server *server, int deadline_ms, struct err *err)
{
    size_t len = 0;
    server_start(server);
    char *body = ask(server->path, "/status", deadline_ms, &len, err);
    if (body != NULL) {
        cr_expect_eq(strlen(body), len);
    } else {
        size_t path_len = strlen(server->path);
        cr_expect_eq(strncmp(err->text, server->path, path_len), 0, "%s", err->text);
        memmove(err->text, err->text + path_len, strlen(err->text) - path_len + 1);
    }
    server_stop(server);
    return body;
}

TestSuite(ask, .timeout = 30);

Test(ask, the_body_of_a_200_is_the_answer)
{
    struct err err = {{0}, {0}};
    struct server server = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n",
                            .repeat = 1};
    char *body = answer_of(&server, 20000, &err);
    cr_assert_not_null(body, "%s", err.text);
    cr_expect_str_eq(body, "{}\n");
    cr_expect_str_eq(server.request, "GET /status HTTP/1.0\r\nHost: tabard\r\n\r\n");
    free(body);
}

Test(ask, everything_else_is_an_error_that_says_what_came)
{
    static const struct {
        const char *answer;
        const char *message;
    } rows[] = {
        {"HTTP/1.1 404 Not Found\r\n\r\nthere is /status\n",
         ": the agent answered \"HTTP/1.1 404 Not Found\""},
        {"HTTP/1.1 200 OK\r\n", ": what answers there is not an agent"},
        {"SSH-2.0-OpenSSH\r\n\r\n", ": what answers there is not an agent"},
        {"HTTP/1.", ": what answers there is not an agent"},
        {"", ": what answers there is not an agent"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {{0}, {0}};
        struct server server = {.answer = rows[i].answer, .repeat = 1};
        cr_expect_null(answer_of(&server, 20000, &err));
        cr_expect_str_eq(err.text, rows[i].message, "%s", err.text);
    }
}

Test(ask, says_that_no_agent_is_there)
{
    struct err err = {{0}, {0}};
    size_t len = 0;
    cr_expect_null(ask("/nowhere/at/all.sock", "/status", 20000, &len, &err));
    cr_expect_str_eq(err.text,
                     "/nowhere/at/all.sock: no agent answers there: No such file or directory");
    char path[200];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    cr_expect_null(ask(path, "/status", 20000, &len, &err));
    cr_expect_not_null(strstr(err.text, "a socket's path has at most 107 bytes"), "%s", err.text);
}

Test(ask, an_answer_without_end_is_cut_off)
{
    static char piece[100001];
    struct err err = {{0}, {0}};
    struct server server = {.answer = piece, .repeat = 1000};
    memset(piece, 'x', sizeof piece - 1);
    memcpy(piece, "HTTP/1.1 200 OK\r\n\r\n", 19);
    cr_expect_null(answer_of(&server, 20000, &err));
    cr_expect_str_eq(err.text, ": the answer has more than 8388608 bytes");
}

Test(ask, a_silent_agent_is_given_up_at_the_deadline)
{
    struct err err = {{0}, {0}};
    struct server server = {.answer = "HTTP/1.1 200 OK\r\n", .repeat = 1, .holds = true};
    cr_expect_null(answer_of(&server, 50, &err));
    cr_expect_str_eq(err.text, ": no whole answer in time");
}
