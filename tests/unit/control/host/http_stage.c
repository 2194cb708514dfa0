// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/control/host/http_stage.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "control/host/listen.h"
#include "tests/unit/support/tcp.h"

static void on_request(void *ctx, struct http_request *request, const char *path)
{
    struct stage *stage = ctx;
    stage->num_asked++;
    stage->number = http_query_number(request, "n", 100, 7);
    size_t len = 0;
    const uint8_t *body = http_body(request, &len);
    if (strcmp(path, "/later") == 0) {
        stage->later = request;
    } else if (strcmp(path, "/echo") == 0) {
        char text[64];
        snprintf(text, sizeof text, "%s %zu %.*s\n", http_method(request), len,
                 len < 20 ? (int)len : 20, len == 0 ? "" : (const char *)body);
        http_answer(request, 200, "text/plain", strdup(text));
    } else {
        http_answer(request, 200, "text/plain", strdup("now\n"));
    }
}

void stage_init_with(struct stage *stage, const struct http_config *config)
{
    *stage = (struct stage){0};
    cr_assert_eq(uv_loop_init(&stage->loop), 0);
    struct addr addr;
    cr_assert(addr_parse(&addr, "127.0.0.1:0", true, NULL));
    int fd = listen_tcp(&addr, &stage->bound, NULL);
    cr_assert_geq(fd, 0);
    struct http_config own = *config;
    own.loop = &stage->loop;
    own.on_request = on_request;
    own.ctx = stage;
    stage->server = http_new(&own, fd, NULL);
    cr_assert_not_null(stage->server);
}

void stage_init(struct stage *stage)
{
    stage_init_with(stage, &(struct http_config){.tls = NULL});
}

void stage_cleanup(struct stage *stage)
{
    http_free(stage->server);
    loop_end(&stage->loop);
}

void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

int ask(const struct stage *stage, const char *path)
{
    char request[128];
    int fd = tcp_connect(stage->bound.port);
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    say(fd, request);
    return fd;
}

const char *hear(struct stage *stage, int fd, int ms)
{
    static char text[8192];
    char byte;
    size_t len = 0;
    run_until(stage, recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0, ms);
    ssize_t got;
    while (len < sizeof text - 1 &&
           (got = recv(fd, text + len, sizeof text - 1 - len, MSG_DONTWAIT)) > 0) {
        len += (size_t)got;
    }
    text[len] = '\0';
    return text;
}

bool is_over(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}
