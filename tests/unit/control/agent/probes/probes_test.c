// SPDX-License-Identifier: Apache-2.0
//
// The table of probes over a real loop and real sockets. What each kind of application answers is
// tried end to end, in tests/e2e/test_probes.py.
#include "control/agent/probes/probes.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/support/loop.h"
#include "tests/unit/support/tcp.h"
#include "tests/unit/support/temp.h"

TestSuite(probes, .timeout = 20, .init = temp_set_up, .fini = temp_tear_down);

struct stage {
    uv_loop_t loop;
    struct probes *probes;
    uint16_t port;
    int app; // listens
    unsigned num_answers;
    unsigned num_good;
    char why[200];
};

static struct probes *load(uv_loop_t *loop, const char *text, struct err *err)
{
    char path[200];
    temp_write(temp_folder, "probes.yaml", text, strlen(text));
    snprintf(path, sizeof path, "%s/probes.yaml", temp_folder);
    return probes_load(loop, path, err);
}

static void init(struct stage *stage)
{
    char text[400];
    struct err err = {{0}, {0}};
    *stage = (struct stage){0};
    uv_loop_init(&stage->loop);
    stage->app = tcp_listen(&stage->port);
    snprintf(text, sizeof text,
             "probes:\n"
             "  - {page: /app-health/web/livez, http: {port: %u, path: /h}}\n"
             "  - {page: /app-health/web/readyz, timeout_seconds: 7, tcp: {port: %u}}\n",
             stage->port, stage->port);
    stage->probes = load(&stage->loop, text, &err);
    cr_assert(stage->probes != NULL, "%s", err.text);
}

static void cleanup(struct stage *stage)
{
    probes_free(stage->probes);
    close(stage->app);
    loop_end(&stage->loop);
}

static void on_answer(void *ctx, bool is_good, const char *why)
{
    struct stage *stage = ctx;
    stage->num_answers++;
    stage->num_good += is_good;
    snprintf(stage->why, sizeof stage->why, "%s", why);
}

static bool ask(struct stage *stage, const char *page, const char *at)
{
    struct ip ip;
    cr_assert(ip_parse(&ip, at, NULL));
    return probes_ask(stage->probes, page, &ip, on_answer, stage);
}

// Answers the next caller of the application.
static void serve(struct stage *stage, const char *answer)
{
    char request[500];
    uv_run(&stage->loop, UV_RUN_NOWAIT);
    int fd = accept(stage->app, NULL, NULL);
    uv_run(&stage->loop, UV_RUN_NOWAIT);
    ssize_t len = recv(fd, request, sizeof request - 1, 0);
    cr_assert(len > 0);
    request[len] = '\0';
    cr_expect_eq(strncmp(request, "GET /h HTTP/1.1\r\nHost: 127.0.0.", 31), 0, "%s", request);
    cr_expect(send(fd, answer, strlen(answer), 0) > 0);
    close(fd);
}

Test(probes, whoever_asks_meanwhile_gets_the_same_answer)
{
    struct stage stage;
    init(&stage);
    for (int i = 0; i < 20; i++) {
        cr_expect(ask(&stage, "/app-health/web/livez", "127.0.0.1"));
    }
    serve(&stage, "HTTP/1.1 204 No Content\r\n\r\n");
    cr_expect(run_until(&stage, stage.num_answers == 20, 5000));
    cr_expect_eq(stage.num_good, 20);
    cr_expect_str_eq(stage.why, "/h answered with status 204");
    cr_expect_eq(probes_num(stage.probes, true), 1);
    cleanup(&stage);
}

Test(probes, each_address_is_asked_by_itself_and_not_too_many_at_once)
{
    struct stage stage;
    init(&stage);
    static const char *const at[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"};
    for (int i = 0; i < PROBES_RUNS_MAX; i++) {
        cr_expect(ask(&stage, "/app-health/web/livez", at[i]));
    }
    cr_expect_eq(stage.num_answers, 0);
    cr_expect(ask(&stage, "/app-health/web/livez", "127.0.0.5"));
    cr_expect_eq(stage.num_answers, 1);
    cr_expect_eq(stage.num_good, 0);
    // The listener is at 127.0.0.1 alone: the other addresses refuse.
    cr_expect(run_until(&stage, stage.num_answers == 4, 5000));
    cr_expect_eq(stage.num_good, 0);
    cr_expect_eq(probes_num(stage.probes, false), 3);
    cleanup(&stage);
}

Test(probes, a_page_that_is_not_in_the_table_is_none)
{
    struct stage stage;
    init(&stage);
    cr_expect_not(ask(&stage, "/app-health/web/startupz", "127.0.0.1"));
    cr_expect_not(ask(&stage, "/app-health/", "127.0.0.1"));
    cr_expect_eq(probes_timeout_max(stage.probes), 7);
    cleanup(&stage);
}

Test(probes, an_application_that_never_answers_is_bad_after_the_probes_own_timeout)
{
    struct stage stage;
    init(&stage);
    uint64_t began = uv_hrtime();
    cr_expect(ask(&stage, "/app-health/web/livez", "127.0.0.1"));
    cr_expect(run_until(&stage, stage.num_answers == 1, 5000));
    cr_expect_str_eq(stage.why, "no whole answer in 1 s");
    cr_expect_geq(uv_hrtime() - began, UINT64_C(990000000));
    cleanup(&stage);
}

Test(probes, who_waits_at_the_end_is_answered)
{
    struct stage stage;
    init(&stage);
    cr_expect(ask(&stage, "/app-health/web/livez", "127.0.0.1"));
    uv_run(&stage.loop, UV_RUN_NOWAIT);
    probes_free(stage.probes);
    stage.probes = NULL;
    cr_expect_eq(stage.num_answers, 1);
    cr_expect_str_eq(stage.why, "the sidecar is ending");
    cleanup(&stage);
}

// Criterion copies the rows into another process, so they hold their texts.
struct refusal {
    char text[200];
    char why[120];
};

ParameterizedTestParameters(probes, a_wrong_table_is_refused_where_it_is_wrong)
{
    static struct refusal refusals[] = {
        {"probes: [{page: /healthz/ready, tcp: {port: 1}}]",
         "1:17: probes[0].page: \"/healthz/ready\" is not /app-health/CONTAINER/KIND"},
        {"probes: [{page: /app-health/a/livez}]", "1:10: probes[0]: one of http, tcp and grpc"},
        {"probes: [{page: /app-health/a/livez, tcp: {port: 1-9}}]", "probes[0].tcp.port: "},
        {"probes: [{page: /app-health/a/livez, grpc: {port: 0}}]", "probes[0].grpc.port: "},
        {"probes: [{page: /app-health/a/livez, http: {port: 1}}]", "probes[0].http.path: "},
        {"probes: [{page: /app-health/a/livez, http: {port: 1, path: /, "
         "headers: [{name: \"a b\", value: c}]}}]",
         "probes[0].http.headers[0]: \"a b\" is no name of a header"},
        {"probes: [{page: /app-health/a/livez, http: {port: 1, path: /, "
         "headers: [{name: a, value: \"b\\r\\nc: d\"}]}}]",
         "probes[0].http.headers[0]: the value of a has a control character in it"},
        {"probes: [{page: /app-health/a/livez, timeout_seconds: 4000, tcp: {port: 1}}]",
         "probes[0].timeout_seconds: 4000 s; 3600 are the most"},
        {"probes: [{page: /app-health/a/z, tcp: {port: 1}}, {page: /app-health/a/z, tcp: {port: "
         "1}}]",
         "probes[1].page: /app-health/a/z is that of probes[0] too"},
        {"nothing: 1", "unknown key \"nothing\""},
    };
    return cr_make_param_array(struct refusal, refusals, sizeof refusals / sizeof refusals[0]);
}

ParameterizedTest(struct refusal *refusal, probes, a_wrong_table_is_refused_where_it_is_wrong)
{
    struct err err = {{0}, {0}};
    cr_expect(load(NULL, refusal->text, &err) == NULL);
    cr_expect(strstr(err.text, refusal->why) != NULL, "%s", err.text);
    cr_expect(strstr(err.text, "/probes.yaml:1:") != NULL, "%s", err.text);
}
