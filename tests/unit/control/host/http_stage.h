// SPDX-License-Identifier: Apache-2.0
//
// An HTTP server under test on a port of 127.0.0.1, with pages /now, /later, which the test
// answers, and /echo, which answers with the body; and what a client says and hears. A mistake of
// the test aborts. stage_init or stage_init_with, then stage_cleanup.
#ifndef TABARD_TESTS_UNIT_CONTROL_HOST_HTTP_STAGE_H
#define TABARD_TESTS_UNIT_CONTROL_HOST_HTTP_STAGE_H

#include <uv.h>

#include "control/host/http.h"
#include "tests/unit/support/loop.h"

struct stage {
    uv_loop_t loop;
    struct http_server *server;
    struct addr bound;
    struct http_request *later;
    uint32_t number;
    unsigned num_asked;
};

// Loop, handler and ctx of the config are the stage's.
void stage_init(struct stage *stage);
void stage_init_with(struct stage *stage, const struct http_config *config);
void stage_cleanup(struct stage *stage);

void say(int fd, const char *text);
int ask(const struct stage *stage, const char *path); // connects, and asks for a page

// hear waits `ms` at most for a byte or the end, and returns all that has come since the last call.
const char *hear(struct stage *stage, int fd, int ms);

bool is_over(int fd); // whether the server has ended a connection

#define expect_has(text, words)                                                                    \
    cr_expect(strstr(text, words) != NULL, "\"%s\" lacks \"%s\"", text, words)

#endif
